//! Bindings to `shim/mullama_shim.h`, which says what each function takes and gives.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use llama_cpp_sys_2::{
    ggml_backend_dev_t, llama_adapter_lora, llama_batch, llama_context, llama_context_params,
    llama_ftype, llama_model, llama_model_params, llama_seq_id, llama_token, llama_vocab,
};
use serde::Deserialize;

#[repr(C)]
struct RawTemplates {
    _private: [u8; 0],
}

#[repr(C)]
struct RawParser {
    _private: [u8; 0],
}

#[repr(C)]
struct RawSimulated {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn mullama_string_free(text: *mut c_char);
    fn mullama_install();
    fn mullama_rpc_protocol(version: *mut u8);
    fn mullama_model_load_from_file(
        path: *const c_char,
        params: *const llama_model_params,
        result: *mut *mut llama_model,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_init_from_model(
        model: *mut llama_model,
        params: *const llama_context_params,
        result: *mut *mut llama_context,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_adapter_lora_init(
        model: *mut llama_model,
        path: *const c_char,
        result: *mut *mut llama_adapter_lora,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_state_seq_get_data(
        context: *mut llama_context,
        data: *mut u8,
        size: usize,
        sequence: c_int,
        written: *mut usize,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_state_seq_set_data(
        context: *mut llama_context,
        data: *const u8,
        size: usize,
        sequence: c_int,
        read: *mut usize,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_decode(
        context: *mut llama_context,
        batch: *const llama_batch,
        status: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_tokenize(
        vocab: *const llama_vocab,
        text: *const c_char,
        text_len: c_int,
        tokens: *mut llama_token,
        n_tokens_max: c_int,
        add_special: bool,
        parse_special: bool,
        count: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_detokenize(
        vocab: *const llama_vocab,
        tokens: *const llama_token,
        n_tokens: c_int,
        text: *mut c_char,
        text_len_max: c_int,
        remove_special: bool,
        unparse_special: bool,
        length: *mut c_int,
        out: *mut *mut c_char,
    ) -> c_int;
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
    fn mullama_check_grammar(
        vocab: *const llama_vocab,
        gbnf: *const c_char,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_check_pattern(pattern: *const c_char, out: *mut *mut c_char) -> c_int;
    fn mullama_pattern_matches(
        pattern: *const c_char,
        text: *const c_char,
        matches: *mut bool,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_shape_tensors(
        header: *const c_void,
        size: usize,
        file_type: c_int,
        is_tied: bool,
        has_biases: bool,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_quantised_tensors(
        model: *const llama_model,
        header: *const c_void,
        size: usize,
        file_type: c_int,
        out: *mut *mut c_char,
    ) -> c_int;
    fn mullama_memory_breakdown(context: *const llama_context, out: *mut *mut c_char) -> c_int;
    fn mullama_simulated_device_new(
        name: *const c_char,
        description: *const c_char,
        free: usize,
        total: usize,
        profile: *const SimulatedProfile,
    ) -> *mut RawSimulated;
    fn mullama_simulated_device_handle(device: *mut RawSimulated) -> ggml_backend_dev_t;
    fn mullama_simulated_device_free(device: *mut RawSimulated);
}

/// A message of the C++ side: the text of the exception that was caught there.
pub type ShimResult<T> = Result<T, String>;

/// Calls a shim function and takes over the text that it leaves in `*out`.
fn call(function: impl FnOnce(*mut *mut c_char) -> c_int) -> ShimResult<String> {
    let mut out = ptr::null_mut();
    let status = function(&raw mut out);
    let text = if out.is_null() {
        String::from("out of memory")
    } else {
        // SAFETY: the shim leaves a NUL-terminated string, which is ours to free, once.
        unsafe {
            let text = CStr::from_ptr(out).to_string_lossy().into_owned();
            mullama_string_free(out);
            text
        }
    };
    if status == 0 { Ok(text) } else { Err(text) }
}

/// Silences llama-common's own logger, and sets the trap for failed assertions that the guarded
/// functions here rely on. Call once, before anything else of the engine.
pub fn install() {
    // SAFETY: no arguments; the caller runs it once.
    unsafe { mullama_install() }
}

/// The version of the protocol that the engine speaks with RPC workers: major, minor, patch.
pub fn rpc_protocol() -> [u8; 3] {
    let mut version = [0; 3];
    // SAFETY: three bytes are written.
    unsafe { mullama_rpc_protocol(version.as_mut_ptr()) };
    version
}

/// `llama_model_load_from_file`, guarded: a failed assertion is an error. May give null.
///
/// # Safety
/// What `params` points to must be valid for the duration of the call.
pub unsafe fn model_load_from_file(
    path: &CStr,
    params: &llama_model_params,
) -> ShimResult<*mut llama_model> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller vouches for `params`.
    call(|out| unsafe {
        mullama_model_load_from_file(path.as_ptr(), params, &raw mut result, out)
    })?;
    Ok(result)
}

/// `llama_init_from_model`, guarded: a failed assertion is an error. May give null.
///
/// # Safety
/// `model` must be valid, and outlive the context.
pub unsafe fn init_from_model(
    model: *mut llama_model,
    params: &llama_context_params,
) -> ShimResult<*mut llama_context> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller vouches for `model`.
    call(|out| unsafe { mullama_init_from_model(model, params, &raw mut result, out) })?;
    Ok(result)
}

/// `llama_adapter_lora_init`, guarded: a failed assertion is an error. May give null.
///
/// # Safety
/// `model` must be valid and outlive the adapter, and no context of it may be computing.
pub unsafe fn adapter_lora_init(
    model: *mut llama_model,
    path: &CStr,
) -> ShimResult<*mut llama_adapter_lora> {
    let mut result = ptr::null_mut();
    // SAFETY: the caller vouches for `model`.
    call(|out| unsafe { mullama_adapter_lora_init(model, path.as_ptr(), &raw mut result, out) })?;
    Ok(result)
}

/// `llama_decode`, guarded: an assertion that fails on this thread is an error.
///
/// # Safety
/// `context` must be valid and not in use; the arrays of `batch` must have `n_tokens` entries.
pub unsafe fn decode(context: *mut llama_context, batch: &llama_batch) -> ShimResult<c_int> {
    let mut status = 0;
    // SAFETY: the caller vouches for both.
    call(|out| unsafe { mullama_decode(context, batch, &raw mut status, out) })?;
    Ok(status)
}

/// `llama_state_seq_get_data`, guarded: gives how many bytes were written, 0 where it failed.
///
/// # Safety
/// `context` must be valid and not in use.
pub unsafe fn state_seq_get_data(
    context: *mut llama_context,
    data: &mut [u8],
    sequence: llama_seq_id,
) -> ShimResult<usize> {
    let mut written = 0;
    let (start, size) = (data.as_mut_ptr(), data.len());
    // SAFETY: the caller vouches for `context`; the slice is described as it is.
    call(|out| unsafe {
        mullama_state_seq_get_data(context, start, size, sequence, &raw mut written, out)
    })?;
    Ok(written)
}

/// `llama_state_seq_set_data`, guarded: gives how many bytes were read, 0 where it failed.
///
/// # Safety
/// `context` must be valid and not in use.
pub unsafe fn state_seq_set_data(
    context: *mut llama_context,
    data: &[u8],
    sequence: llama_seq_id,
) -> ShimResult<usize> {
    let mut read = 0;
    let (start, size) = (data.as_ptr(), data.len());
    // SAFETY: as above.
    call(|out| unsafe {
        mullama_state_seq_set_data(context, start, size, sequence, &raw mut read, out)
    })?;
    Ok(read)
}

/// `llama_tokenize`, guarded: an exception or a failed assertion is an error.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn tokenize(
    vocab: *const llama_vocab,
    text: &str,
    tokens: &mut [llama_token],
    add_special: bool,
    parse_special: bool,
) -> ShimResult<c_int> {
    let mut count = 0;
    // SAFETY: the caller vouches for `vocab`; pointers and lengths describe the slices, whose lengths
    // the engine counts in `c_int`.
    call(|out| unsafe {
        mullama_tokenize(
            vocab,
            text.as_ptr().cast(),
            c_int::try_from(text.len()).unwrap_or(c_int::MAX),
            tokens.as_mut_ptr(),
            c_int::try_from(tokens.len()).unwrap_or(c_int::MAX),
            add_special,
            parse_special,
            &raw mut count,
            out,
        )
    })?;
    Ok(count)
}

/// `llama_detokenize`, guarded: an exception or a failed assertion is an error.
///
/// # Safety
/// `vocab` must be valid, and every token one of its own.
pub unsafe fn detokenize(
    vocab: *const llama_vocab,
    tokens: &[llama_token],
    text: &mut [u8],
    remove_special: bool,
    unparse_special: bool,
) -> ShimResult<c_int> {
    let mut length = 0;
    // SAFETY: as for `tokenize`.
    call(|out| unsafe {
        mullama_detokenize(
            vocab,
            tokens.as_ptr(),
            c_int::try_from(tokens.len()).unwrap_or(c_int::MAX),
            text.as_mut_ptr().cast(),
            c_int::try_from(text.len()).unwrap_or(c_int::MAX),
            remove_special,
            unparse_special,
            &raw mut length,
            out,
        )
    })?;
    Ok(length)
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

/// Whether a text is a grammar for tokens of this vocabulary; else what is wrong with it.
///
/// # Safety
/// `vocab` must be valid.
pub unsafe fn check_grammar(vocab: *const llama_vocab, gbnf: &CStr) -> ShimResult<()> {
    // SAFETY: the caller vouches for `vocab`; the string outlives the call.
    call(|out| unsafe { mullama_check_grammar(vocab, gbnf.as_ptr(), out) }).map(drop)
}

/// Whether the engine takes a pattern over the names of tensors; else the reason.
pub fn check_pattern(pattern: &CStr) -> ShimResult<()> {
    // SAFETY: a NUL-terminated string that outlives the call.
    call(|out| unsafe { mullama_check_pattern(pattern.as_ptr(), out) }).map(drop)
}

/// Whether a pattern over the names of tensors matches this one, as the engine tries it.
pub fn pattern_matches(pattern: &CStr, text: &CStr) -> ShimResult<bool> {
    let mut matches = false;
    // SAFETY: NUL-terminated strings that outlive the call; the out pointers live on this stack.
    call(|out| unsafe {
        mullama_pattern_matches(pattern.as_ptr(), text.as_ptr(), &raw mut matches, out)
    })?;
    Ok(matches)
}

/// The tensors of a model whose metadata this header has, as a quantisation makes them, in JSON:
/// `[[name, type, [length, ...]], ...]`.
pub fn shape_tensors(
    header: &[u8],
    file_type: llama_ftype,
    is_tied: bool,
    has_biases: bool,
) -> ShimResult<String> {
    let (start, size) = (header.as_ptr().cast(), header.len());
    // SAFETY: so many bytes, which outlive the call.
    call(|out| unsafe {
        mullama_shape_tensors(start, size, file_type as c_int, is_tied, has_biases, out)
    })
}

/// The tensors that this header lists, as a quantisation makes them, in JSON as above.
///
/// # Safety
/// `model` must be valid.
pub unsafe fn quantised_tensors(
    model: *const llama_model,
    header: &[u8],
    file_type: llama_ftype,
) -> ShimResult<String> {
    let (start, size) = (header.as_ptr().cast(), header.len());
    // SAFETY: the caller vouches for `model`; so many bytes, which outlive the call.
    call(|out| unsafe { mullama_quantised_tensors(model, start, size, file_type as c_int, out) })
}

/// Bytes of weights, KV cache and compute buffers per buffer type, as JSON.
///
/// # Safety
/// `context` must be valid, and not in use on another thread.
pub unsafe fn memory_breakdown(context: *const llama_context) -> ShimResult<String> {
    // SAFETY: the caller vouches for `context`.
    call(|out| unsafe { mullama_memory_breakdown(context, out) })
}

/// What a device's backend asks of the engine's memory planning.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the engine's")]
pub struct SimulatedProfile {
    /// Tensors start at multiples of so many bytes.
    pub alignment: usize,
    /// Rows of quantised tensors end at multiples of so many elements; 0 where they need not.
    pub row_padding: usize,
    /// Computations run beside the program.
    pub is_async: bool,
    /// The backend has host memory of its own kind for transfers.
    pub host_buffer: bool,
    /// The backend can use memory that the program owns.
    pub buffer_from_host_ptr: bool,
    /// Streams can wait for each other.
    pub events: bool,
}

/// A GPU that is not there, for dry runs and nothing else. It is in no registry.
#[derive(Debug)]
pub struct SimulatedDevice(NonNull<RawSimulated>);

// SAFETY: the C++ object is only read after construction.
unsafe impl Send for SimulatedDevice {}
// SAFETY: as above.
unsafe impl Sync for SimulatedDevice {}

impl SimulatedDevice {
    /// A device with so many bytes of memory.
    ///
    /// # Errors
    /// Where a text contains a NUL byte.
    pub fn new(
        name: &str,
        description: &str,
        free: usize,
        total: usize,
        profile: SimulatedProfile,
    ) -> ShimResult<Self> {
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let description = CString::new(description).map_err(|error| error.to_string())?;
        // SAFETY: NUL-terminated texts and a struct, all copied by the call.
        let device = unsafe {
            mullama_simulated_device_new(
                name.as_ptr(),
                description.as_ptr(),
                free,
                total,
                &raw const profile,
            )
        };
        NonNull::new(device).map(Self).ok_or_else(|| String::from("out of memory"))
    }

    /// The device, as the engine knows it. It must not be used when `self` is gone.
    pub fn handle(&self) -> ggml_backend_dev_t {
        // SAFETY: `self` owns a valid object.
        unsafe { mullama_simulated_device_handle(self.0.as_ptr()) }
    }
}

impl Drop for SimulatedDevice {
    fn drop(&mut self) {
        // SAFETY: `self` owns the object and gives it up here.
        unsafe { mullama_simulated_device_free(self.0.as_ptr()) }
    }
}
