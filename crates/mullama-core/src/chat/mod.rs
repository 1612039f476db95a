//! Chat: converts messages to a prompt with the model's template, and the answer to a message.

mod message;
mod nul;
mod overflow;
mod pictures;
mod results;
mod schema;
mod stream;
mod template;
mod tool;
mod turn;

pub(crate) use message::PICTURE;
pub use message::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
pub(crate) use overflow::{fit, stays};
pub(crate) use pictures::{count_pictures, has_pictures, picture_place, pictures};
pub use results::{ChatChunk, ChatCompletion, ToolCallDelta};
pub use stream::ChatStream;
pub(crate) use stream::Pieces;
pub(crate) use template::{
    PAST_DEADLINE, Rendered, TEMPLATE_STACK, TEMPLATE_TIME, TOO_LONG, Templates, render,
    template_error,
};
pub use tool::{IntoToolOutput, Tool, ToolOutput, ToolRequest};
pub use turn::{ChatInput, Turn};
