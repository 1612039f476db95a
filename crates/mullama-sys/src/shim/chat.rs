//! Chat templates: their capabilities, rendering prompts, and parsing answers.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};

use super::{ShimResult, call};

#[repr(C)]
struct RawTemplates {
    _private: [u8; 0],
}

#[repr(C)]
struct RawParser {
    _private: [u8; 0],
}

type Render = unsafe extern "C" fn(*const c_void, *const c_char, *mut c_void) -> c_int;

unsafe extern "C" {
    fn mullama_text_set(text: *mut c_void, bytes: *const c_char, length: usize);
    fn mullama_chat_templates_init(
        description: *const c_char,
        render: Render,
        renderer: *const c_void,
        tool_use_renderer: *const c_void,
        templates: *mut *mut RawTemplates,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_templates_free(templates: *mut RawTemplates);
    fn mullama_chat_templates_can_think(
        templates: *const RawTemplates,
        thinks: *mut bool,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_templates_apply(
        templates: *const RawTemplates,
        request: *const c_char,
        parser: *mut *mut RawParser,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_parse(
        parser: *const RawParser,
        text: *const c_char,
        text_len: usize,
        is_partial: bool,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_parser_set_prompt(
        parser: *mut RawParser,
        prompt: *const c_char,
        prompt_len: usize,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_parser_free(parser: *mut RawParser);
}

/// Renders a template with variables, given as a JSON object.
pub trait Renderer: Send + Sync {
    /// Returns the rendered text, or the reason for a failure.
    fn render(&self, variables: &str) -> Result<String, String>;
}

/// The engine's chat parsers for the templates of one model. All rendering, of requests and for the analysis of answer
/// formats, is done by the renderers.
pub struct ChatTemplates<R> {
    templates: NonNull<RawTemplates>,
    /// The renderers of the template and of the template for chats with tools. C++ points to them.
    _renderers: Box<(R, Option<R>)>,
}

// SAFETY: after construction, the C++ object is only read (`const` throughout the shim), and rendering stores its state
// on the stack.
unsafe impl<R: Renderer> Send for ChatTemplates<R> {}
// SAFETY: as above.
unsafe impl<R: Renderer> Sync for ChatTemplates<R> {}

impl<R: Renderer> ChatTemplates<R> {
    /// Creates templates from `description`, whose format is documented in the shim's header.
    pub fn new(description: &str, template: R, tool_use: Option<R>) -> ShimResult<Self> {
        let description = CString::new(description).map_err(|error| error.to_string())?;
        let renderers = Box::new((template, tool_use));
        let tool_use = renderers.1.as_ref().map_or(ptr::null(), ptr::from_ref);
        let mut templates = ptr::null_mut();
        // SAFETY: the renderers have the type that `render` expects, and outlive the templates, since both are owned by
        // the result; the out pointers point to local variables.
        call(|out| unsafe {
            mullama_chat_templates_init(
                description.as_ptr(),
                render::<R>,
                ptr::from_ref(&renderers.0).cast(),
                tool_use.cast(),
                &raw mut templates,
                out,
            )
        })?;
        let templates = NonNull::new(templates).ok_or_else(|| String::from("no template"))?;
        Ok(Self { templates, _renderers: renderers })
    }

    /// Whether answers may begin with reasoning that can be disabled.
    pub fn can_think(&self) -> ShimResult<bool> {
        let mut thinks = false;
        // SAFETY: `self` owns a valid object.
        call(|out| unsafe {
            mullama_chat_templates_can_think(self.templates.as_ptr(), &raw mut thinks, out)
        })?;
        Ok(thinks)
    }

    /// Renders a request (JSON). Returns the result (JSON) and a parser for the model's answer.
    pub fn apply(&self, request: &str) -> ShimResult<(String, ChatParser)> {
        let request = CString::new(request).map_err(|error| error.to_string())?;
        let mut parser = ptr::null_mut();
        // SAFETY: `self` owns a valid object, `request` outlives the call.
        let result = call(|out| unsafe {
            mullama_chat_templates_apply(
                self.templates.as_ptr(),
                request.as_ptr(),
                &raw mut parser,
                out,
            )
        })?;
        let parser = NonNull::new(parser).ok_or_else(|| String::from("no parser"))?;
        Ok((result, ChatParser(parser)))
    }
}

impl<R> Drop for ChatTemplates<R> {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object, and frees it before the renderers.
        unsafe { mullama_chat_templates_free(self.templates.as_ptr()) }
    }
}

/// Calls a renderer for the shim. Panics are caught, since they must not reach C++.
unsafe extern "C" fn render<R: Renderer>(
    renderer: *const c_void,
    variables: *const c_char,
    text: *mut c_void,
) -> c_int {
    // SAFETY: the renderer that `ChatTemplates::new` passed, and a NUL-terminated string.
    let (renderer, variables) =
        unsafe { (&*renderer.cast::<R>(), CStr::from_ptr(variables).to_string_lossy()) };
    let rendered = panic::catch_unwind(AssertUnwindSafe(|| renderer.render(&variables)));
    let rendered = rendered.unwrap_or_else(|_| {
        Err(String::from("its rendering failed because of a defect in mullama"))
    });
    let (given, status) = match &rendered {
        Ok(rendered) => (rendered, 0),
        Err(reason) => (reason, -1),
    };
    // SAFETY: the shim's text object, and bytes that are copied.
    unsafe { mullama_text_set(text, given.as_ptr().cast(), given.len()) };
    status
}

/// Parses the output of a model into a message: text, reasoning, tool calls.
#[derive(Debug)]
pub struct ChatParser(NonNull<RawParser>);

// SAFETY: the C++ object is only read, except through a unique reference.
unsafe impl Send for ChatParser {}
// SAFETY: as above.
unsafe impl Sync for ChatParser {}

impl ChatParser {
    /// Sets the end of the prompt that belongs to the model's answer; answers are parsed together with it.
    pub fn set_generation_prompt(&mut self, prompt: &str) -> ShimResult<()> {
        // SAFETY: `self` owns a valid object; pointer and length describe `prompt`, which is copied.
        call(|out| unsafe {
            mullama_chat_parser_set_prompt(
                self.0.as_ptr(),
                prompt.as_ptr().cast(),
                prompt.len(),
                out,
            )
        })
        .map(drop)
    }

    /// Parses the output generated so far; `is_partial` means that more may follow.
    pub fn parse(&self, text: &str, is_partial: bool) -> ShimResult<String> {
        // SAFETY: `self` owns a valid object; pointer and length describe `text`.
        call(|out| unsafe {
            mullama_chat_parse(self.0.as_ptr(), text.as_ptr().cast(), text.len(), is_partial, out)
        })
    }
}

impl Drop for ChatParser {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and frees it here.
        unsafe { mullama_chat_parser_free(self.0.as_ptr()) }
    }
}
