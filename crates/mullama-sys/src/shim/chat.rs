//! Chat templates: what they say of themselves, prompts, and what a model said in them.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};

use llama_cpp_sys_2::llama_model;

use super::{ShimResult, call};

#[repr(C)]
struct RawTemplates {
    _private: [u8; 0],
}

#[repr(C)]
struct RawParser {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn mullama_chat_templates_init(
        model: *const llama_model,
        source: *const c_char,
        templates: *mut *mut RawTemplates,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_chat_templates_free(templates: *mut RawTemplates);
    fn mullama_chat_templates_describe(
        templates: *const RawTemplates,
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
    fn mullama_chat_parser_free(parser: *mut RawParser);
}

/// The compiled chat templates of one model.
#[derive(Debug)]
pub struct ChatTemplates(NonNull<RawTemplates>);

// SAFETY: after construction the C++ object is only read (`const` throughout the shim), and
// rendering keeps its state on the stack.
unsafe impl Send for ChatTemplates {}
// SAFETY: as above.
unsafe impl Sync for ChatTemplates {}

impl ChatTemplates {
    /// Compiles the model's own template, or `source` in its place.
    ///
    /// # Safety
    /// `model` must be valid for the duration of the call.
    pub unsafe fn new(model: *const llama_model, source: Option<&CStr>) -> ShimResult<Self> {
        let mut templates = ptr::null_mut();
        let source = source.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the caller vouches for `model`; the out pointers live on this stack.
        call(|out| unsafe { mullama_chat_templates_init(model, source, &raw mut templates, out) })?;
        NonNull::new(templates).map(Self).ok_or_else(|| String::from("no template"))
    }

    /// What the templates can do, as JSON.
    pub fn describe(&self) -> ShimResult<String> {
        // SAFETY: `self` owns a valid object.
        call(|out| unsafe { mullama_chat_templates_describe(self.0.as_ptr(), out) })
    }

    /// Renders a request (JSON); gives the result (JSON) and the parser for the model's answer.
    pub fn apply(&self, request: &str) -> ShimResult<(String, ChatParser)> {
        let request = CString::new(request).map_err(|error| error.to_string())?;
        let mut parser = ptr::null_mut();
        // SAFETY: `self` owns a valid object, `request` outlives the call.
        let result = call(|out| unsafe {
            mullama_chat_templates_apply(self.0.as_ptr(), request.as_ptr(), &raw mut parser, out)
        })?;
        let parser = NonNull::new(parser).ok_or_else(|| String::from("no parser"))?;
        Ok((result, ChatParser(parser)))
    }
}

impl Drop for ChatTemplates {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and gives it up here.
        unsafe { mullama_chat_templates_free(self.0.as_ptr()) }
    }
}

/// Turns what a model says into a message: text, reasoning, tool calls.
#[derive(Debug)]
pub struct ChatParser(NonNull<RawParser>);

// SAFETY: the C++ object is only read after construction.
unsafe impl Send for ChatParser {}
// SAFETY: as above.
unsafe impl Sync for ChatParser {}

impl ChatParser {
    /// Parses what has been generated so far; `is_partial` while more may come.
    pub fn parse(&self, text: &str, is_partial: bool) -> ShimResult<String> {
        // SAFETY: `self` owns a valid object; pointer and length describe `text`.
        call(|out| unsafe {
            mullama_chat_parse(self.0.as_ptr(), text.as_ptr().cast(), text.len(), is_partial, out)
        })
    }
}

impl Drop for ChatParser {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and gives it up here.
        unsafe { mullama_chat_parser_free(self.0.as_ptr()) }
    }
}
