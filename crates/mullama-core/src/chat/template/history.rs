//! Tool calls and their results in earlier messages, in the form that a template accepts.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use mullama_base::Text;
use serde_json::Value;

use super::capabilities::Capabilities;
use crate::{Error, ErrorKind, Result};

/// Length of the ids that Mistral's templates require.
const ID_LENGTH: usize = 9;
const ID_DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Rejects calls and results that the template would leave out, and replaces ids of calls that it would reject.
pub(super) fn fit_to_template(messages: &mut Value, template: Capabilities) -> Result<()> {
    let messages = messages.as_array_mut().map(Vec::as_mut_slice).unwrap_or_default();
    for (index, message) in messages.iter().enumerate() {
        let lost = if message["role"] == "tool" && template.drops_tool_results {
            "is the result of a tool"
        } else if !calls_in(message).is_empty() && template.drops_tool_calls {
            "has tool calls"
        } else {
            continue;
        };
        let problem = format!(
            "messages[{index}] {lost}, and the model's chat template has no place for that, so the model would not see it"
        );
        return Err(Error::new(ErrorKind::Unsupported, problem).with_hint(Text::with_names(
            "give a template that has one as {chat_template}, or put it into the text of a message",
        )));
    }
    if template.needs_short_call_ids {
        shorten_ids(messages);
    }
    Ok(())
}

fn calls_in(message: &Value) -> &[Value] {
    message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Replaces the ids of calls, and those that results refer to. A missing id gets its number in the chat; results without
/// an id answer the calls in their order.
fn shorten_ids(messages: &mut [Value]) {
    let mut count = 0;
    let mut open = VecDeque::new();
    for message in messages {
        if message["role"] == "tool" {
            let id = match message["tool_call_id"].as_str().filter(|id| !id.is_empty()) {
                Some(id) => {
                    let id = short_id(id);
                    open.retain(|other| *other != id);
                    Some(id)
                }
                None => open.pop_front(),
            };
            message["tool_call_id"] = id.unwrap_or_else(|| short_id("")).into();
        } else if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
            for call in calls {
                count += 1;
                let id = match call["id"].as_str().filter(|id| !id.is_empty()) {
                    Some(id) => short_id(id),
                    None => format!("{count:0ID_LENGTH$}"),
                };
                call["id"] = id.clone().into();
                open.push_back(id);
            }
        }
    }
}

/// An id of nine letters and digits: the same for the same id, and the id itself if it is one already.
fn short_id(id: &str) -> String {
    if id.len() == ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let mut rest = hasher.finish();
    let digits = std::iter::repeat_with(|| {
        let digit = ID_DIGITS[(rest % ID_DIGITS.len() as u64) as usize];
        rest /= ID_DIGITS.len() as u64;
        char::from(digit)
    });
    digits.take(ID_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_of_calls_and_results_stay_equal() {
        let call = |id: Value| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
        let mut messages = json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "tool_calls": [call(json!("call_0123456789abcdef")), call(json!("abcdefghi"))]},
            {"role": "tool", "tool_call_id": "abcdefghi", "content": "2"},
            {"role": "tool", "tool_call_id": "call_0123456789abcdef", "content": "1"},
            {"role": "assistant", "tool_calls": [call(Value::Null), call(json!(""))]},
            {"role": "tool", "content": "3"},
            {"role": "tool", "content": "4"},
        ]);
        shorten_ids(messages.as_array_mut().unwrap());
        let id = |index: usize, call: usize| messages[index]["tool_calls"][call]["id"].clone();
        let result = |index: usize| messages[index]["tool_call_id"].clone();
        assert_eq!(result(2), "abcdefghi");
        assert_eq!([id(1, 0), id(1, 1)], [result(3), result(2)]);
        assert_eq!([id(4, 0), id(4, 1)], [result(5), result(6)]);
        assert_eq!([id(4, 0), id(4, 1)], [json!("000000003"), json!("000000004")]);
        let short = result(3);
        assert!(short.as_str().unwrap().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(short.as_str().unwrap().len(), 9);
    }
}
