//! The templates of one model. mullama renders them; the engine determines the format of answers.

use std::sync::{Arc, OnceLock};

use mullama_sys as sys;
use mullama_sys::shim::{ChatParser, ChatTemplates};
use serde_json::{Value, json};

use super::bounds::{RenderBounds, RenderInputs};
use super::capabilities::Capabilities;
use super::jinja::{Jinja, STACK};
use super::marks::Marks;
use crate::engine::{Specials, Vocab, with_stack};
use crate::options::check_template;
use crate::{CancelToken, Error, ErrorKind, Result};

/// A name that files may contain in place of a template.
const CHATML: &str = "chatml";
const CHATML_TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The chat templates of one model, compiled.
pub(crate) struct Templates {
    engine: ChatTemplates<Jinja>,
    capabilities: Capabilities,
    /// The capabilities of the template for chats with tools, if it is a separate one.
    with_tools: Option<Capabilities>,
    can_think: bool,
    /// Found in the vocabulary on first use.
    specials: OnceLock<Arc<Specials>>,
}

impl Templates {
    /// Compiles a template, and the one for chats with tools if any, for a model with this vocabulary.
    pub fn new(vocab: &Vocab, source: &str, tool_use: Option<&str>) -> Result<Self> {
        Self::compile(&SpecialTokens::of(vocab), source, tool_use, &CancelToken::new())
    }

    /// Compiles the template of a request.
    pub fn of_option(vocab: &Vocab, source: &str, cancel: &CancelToken) -> Result<Self> {
        check_template(source)?;
        Self::compile(&SpecialTokens::of(vocab), source, None, cancel)
    }

    fn compile(
        tokens: &SpecialTokens,
        source: &str,
        tool_use: Option<&str>,
        cancel: &CancelToken,
    ) -> Result<Self> {
        let source = if source == CHATML { CHATML_TEMPLATE } else { source };
        let compile = || {
            let template = Jinja::new(source)?;
            let tool_use = tool_use.map(Jinja::new).transpose()?;
            let capabilities = Capabilities::of(&template);
            let with_tools = tool_use.as_ref().map(Capabilities::of);
            let describe = |template: &Jinja, capabilities: Capabilities| {
                json!({
                    "source": template.source(),
                    "names": template.names(),
                    "caps": capabilities,
                })
            };
            let description = json!({
                "default": describe(&template, capabilities),
                "tool_use": tool_use.as_ref().zip(with_tools).map(|(it, can)| describe(it, can)),
                "bos_token": tokens.bos,
                "eos_token": tokens.eos,
                "add_bos": tokens.adds_bos,
                "add_eos": tokens.adds_eos,
            });
            let engine = ChatTemplates::new(&description.to_string(), template, tool_use)?;
            // A template that rejects the test conversation is still valid.
            let can_think = engine.can_think().unwrap_or(false);
            let specials = OnceLock::new();
            Ok(Self { engine, capabilities, with_tools, can_think, specials })
        };
        compiled(compile, cancel)
    }

    /// Rejects the template of an option if it cannot be compiled.
    pub fn check(source: &str) -> Result<()> {
        compiled(|| Jinja::new(source).map(drop), &CancelToken::new())
    }

    /// What the template supports that renders chats with tools, or without.
    pub(super) fn capabilities(&self, has_tools: bool) -> Capabilities {
        self.with_tools.filter(|_| has_tools).unwrap_or(self.capabilities)
    }

    /// Whether tools are rendered into the prompt.
    pub fn take_tools(&self) -> bool {
        self.capabilities(true).tools
    }

    /// Whether answers may start with reasoning that can be switched off.
    pub fn can_think(&self) -> bool {
        self.can_think
    }

    /// The special tokens of the vocabulary.
    pub fn specials(&self, vocab: &Vocab) -> &Arc<Specials> {
        self.specials.get_or_init(|| Arc::new(Specials::of(vocab)))
    }

    /// Renders a request; the thread needs [`STACK`]. Returns the shim's result and the parser for the model's answer.
    /// `tools` are the request's tools as the template receives them.
    pub fn apply(
        &self,
        request: &Value,
        tools: &[Value],
        marks: Option<&Marks>,
        cancel: &CancelToken,
    ) -> Result<(String, ChatParser), String> {
        let given = RenderInputs { tools: tools.to_vec(), marks: marks.cloned() };
        RenderBounds::run_within(cancel.clone(), given, || self.engine.apply(&request.to_string()))
    }
}

/// Runs a function that compiles templates, with the stack and within the bounds that they need.
fn compiled<T: Send>(
    compile: impl FnOnce() -> Result<T, String> + Send,
    cancel: &CancelToken,
) -> Result<T> {
    with_stack(STACK, || {
        RenderBounds::run_within(cancel.clone(), RenderInputs::default(), compile)
    })?
    .map_err(|reason| {
        Error::new(ErrorKind::Template, format!("the chat template is invalid: {reason}"))
    })
}

/// The tokens that a vocabulary adds around a text.
#[derive(Default)]
struct SpecialTokens {
    bos: String,
    eos: String,
    adds_bos: bool,
    adds_eos: bool,
}

impl SpecialTokens {
    fn of(vocab: &Vocab) -> Self {
        // SAFETY: a valid vocabulary; read-only calls.
        let (bos, eos, adds_bos) = unsafe {
            let vocab = vocab.as_ptr();
            (
                sys::llama_vocab_bos(vocab),
                sys::llama_vocab_eos(vocab),
                sys::llama_vocab_get_add_bos(vocab),
            )
        };
        let text = |token| {
            let mut piece = Vec::new();
            if vocab.check(token).is_ok() {
                vocab.piece(token, true, &mut piece);
            }
            String::from_utf8_lossy(&piece).into_owned()
        };
        Self { bos: text(bos), eos: text(eos), adds_bos, adds_eos: vocab.adds_end() }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
