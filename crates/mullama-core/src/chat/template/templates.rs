//! The templates of one model: rendering is ours, what answers look like the engine finds out.

use std::sync::{Arc, OnceLock};

use mullama_sys as sys;
use mullama_sys::shim::{ChatParser, ChatTemplates};
use serde_json::{Value, json};

use super::capabilities::Capabilities;
use super::jinja::{Bounds, Given, Jinja, STACK};
use super::marks::Marks;
use crate::engine::{Specials, Vocab, with_stack};
use crate::{CancelToken, Error, ErrorKind, Result};

/// What a file may say in place of a template.
const CHATML: &str = "chatml";
const CHATML_TEMPLATE: &str = "{% for message in messages %}\
    {{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The chat templates of one model, compiled.
pub(crate) struct Templates {
    engine: ChatTemplates<Jinja>,
    capabilities: Capabilities,
    /// Of the template for chats with tools, where that is one of its own.
    with_tools: Option<Capabilities>,
    can_think: bool,
    /// Looked for in the vocabulary when a chat needs them.
    specials: OnceLock<Arc<Specials>>,
}

impl Templates {
    /// Compiles a template, and the one for chats with tools, for a model with this vocabulary.
    pub fn new(vocab: &Vocab, source: &str, tool_use: Option<&str>) -> Result<Self> {
        Self::with_tokens(&SpecialTokens::of(vocab), source, tool_use)
    }

    fn with_tokens(tokens: &SpecialTokens, source: &str, tool_use: Option<&str>) -> Result<Self> {
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
            // A template that refuses the question that this asks is no less of a template.
            let can_think = engine.can_think().unwrap_or(false);
            let specials = OnceLock::new();
            Ok(Self { engine, capabilities, with_tools, can_think, specials })
        };
        with_stack(STACK, || Bounds::hold(CancelToken::new(), Given::default(), compile))?.map_err(
            |reason| {
                Error::new(ErrorKind::Template, format!("the chat template is invalid: {reason}"))
            },
        )
    }

    /// Whether tools reach the prompt.
    pub fn take_tools(&self) -> bool {
        self.with_tools.unwrap_or(self.capabilities).tools
    }

    /// Whether answers may begin with reasoning that can be switched off.
    pub fn can_think(&self) -> bool {
        self.can_think
    }

    /// The special tokens of the vocabulary that the templates are for.
    pub fn specials(&self, vocab: &Vocab) -> &Arc<Specials> {
        self.specials.get_or_init(|| Arc::new(Specials::of(vocab)))
    }

    /// Renders a request, on a thread with [`STACK`]; gives the result and the parser for the model's answer, as the
    /// shim has them. `tools` are those of the request, as the template is given them.
    pub fn apply(
        &self,
        request: &Value,
        tools: &[Value],
        marks: Option<&Marks>,
        cancel: &CancelToken,
    ) -> Result<(String, ChatParser), String> {
        let given = Given { tools: tools.to_vec(), marks: marks.cloned() };
        Bounds::hold(cancel.clone(), given, || self.engine.apply(&request.to_string()))
    }
}

/// What a vocabulary puts around a text.
#[derive(Default)]
struct SpecialTokens {
    bos: String,
    eos: String,
    adds_bos: bool,
    adds_eos: bool,
}

impl SpecialTokens {
    fn of(vocab: &Vocab) -> Self {
        // SAFETY: a valid vocabulary; plain questions.
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
