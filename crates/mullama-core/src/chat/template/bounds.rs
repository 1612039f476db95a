//! The limits of a request's renderings, and the values that only its templates receive.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use minijinja::ErrorKind;

use super::marks::Marks;
use crate::CancelToken;

/// Fuel of one rendering: a unit pays for a step, or for 64 bytes. A conversation of 10,000 messages takes about two
/// million.
pub(super) const FUEL: u64 = 5_000_000;
/// Total time for all renderings of a request.
pub(crate) const MAX_TIME: Duration = Duration::from_secs(5);
/// The reason if the request's deadline has passed.
pub(crate) const PAST_DEADLINE: &str = "it takes longer than the request's timeout allows";
/// The reason if [`MAX_TIME`] has passed.
pub(crate) const TOO_LONG: &str = "it takes too long";

/// Limits for all renderings of a request. The engine renders templates on trial and discards the errors, so they are
/// recorded here.
pub(super) struct RenderBounds {
    cancel: CancelToken,
    given: RenderInputs,
    until: Instant,
    /// The most recent error.
    reason: RefCell<Option<String>>,
    /// Whether a limit was reached, after which nothing is rendered.
    is_final: Cell<bool>,
}

/// Values that only the templates receive for a request, not the engine.
#[derive(Default)]
pub(super) struct RenderInputs {
    /// The tools with their original definitions.
    pub tools: Vec<serde_json::Value>,
    /// Replacements of special tokens.
    pub marks: Option<Marks>,
}

impl RenderInputs {
    /// Restores the parameters of tools to those of their definitions.
    fn put_into(&self, tools: &mut [serde_json::Value]) {
        let name = |tool: &serde_json::Value| tool["function"]["name"].clone();
        for tool in tools {
            let defined = self.tools.iter().find(|defined| name(defined) == name(tool));
            if let Some(parameters) = defined.and_then(|it| it["function"].get("parameters")) {
                tool["function"]["parameters"] = parameters.clone();
            }
        }
    }
}

thread_local! {
    static BOUNDS: RefCell<Option<RenderBounds>> = const { RefCell::new(None) };
}

impl RenderBounds {
    /// Runs `work` within the limits. If it fails, returns the error of the rendering that caused it.
    pub fn run_within<T>(
        cancel: CancelToken,
        given: RenderInputs,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let bounds = Self {
            cancel,
            given,
            until: Instant::now() + MAX_TIME,
            reason: RefCell::default(),
            is_final: Cell::new(false),
        };
        BOUNDS.set(Some(bounds));
        let result = work();
        let bounds = BOUNDS.take();
        let (is_final, reason) = bounds
            .map(|bounds| (bounds.is_final.get(), bounds.reason.into_inner()))
            .unwrap_or_default();
        match (result, reason) {
            (Ok(_), Some(reason)) if is_final => Err(reason),
            (Err(_), Some(reason)) => Err(reason),
            (result, _) => result,
        }
    }

    pub fn note(reason: &str, is_final: bool) {
        BOUNDS.with_borrow(|bounds| match bounds {
            Some(bounds) if !bounds.is_final.get() => {
                bounds.is_final.set(is_final);
                bounds.reason.replace(Some(reason.to_owned()));
            }
            _ => {}
        });
    }

    /// Adjusts a template's variables to the request: restores the tools' parameters, and inserts the marks.
    pub fn override_variables(variables: &mut serde_json::Value) {
        BOUNDS.with_borrow(|bounds| {
            let (Some(bounds), Some(variables)) = (bounds, variables.as_object_mut()) else {
                return;
            };
            if let Some(serde_json::Value::Array(tools)) = variables.get_mut("tools") {
                bounds.given.put_into(tools);
            }
            let Some(marks) = &bounds.given.marks else { return };
            for (name, value) in variables {
                if !matches!(name.as_str(), "bos_token" | "eos_token") {
                    marks.put_into(value);
                }
            }
        });
    }

    /// Fails if a limit of the request has been reached.
    pub fn check() -> Result<(), minijinja::Error> {
        BOUNDS.with_borrow(|bounds| {
            let Some(bounds) = bounds else { return Ok(()) };
            let reason = if bounds.is_final.get() {
                "it exceeded a limit before"
            } else if bounds.cancel.is_past_deadline() {
                PAST_DEADLINE
            } else if bounds.cancel.is_cancelled() {
                "the request was cancelled"
            } else if Instant::now() > bounds.until {
                TOO_LONG
            } else {
                return Ok(());
            };
            Err(invalid(reason))
        })
    }
}

/// An error of a template.
pub(super) fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, reason)
}
