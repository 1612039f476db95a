//! Shortens a conversation that does not fit into the context: its oldest turns are left out.
//!
//! A turn is a message of the user with all that follows it up to the next one, so tool calls and their results stay
//! together. System messages stay, and so does the last turn.

use super::message::{Message, Role};
use crate::Result;

/// The part of a conversation that fits into the context.
#[derive(Debug)]
pub(crate) struct Fitted<T> {
    pub prompt: T,
    /// The index of the first message that was not left out. Of those before it, only messages that always stay are
    /// left.
    pub start: usize,
    /// Number of messages that were left out.
    pub messages: usize,
    /// Number of tokens that the prompt is shorter by.
    pub tokens: usize,
}

/// Leaves out the oldest turns so that at most `limit` tokens are left, if that is possible. More than needed are left
/// out, in multiples of `limit / steps` tokens: the next prompts then begin alike, and share what is computed.
///
/// The first `protected` messages stay. `measure` makes a prompt of the messages from an index on, and of those before
/// it that stay, and counts its tokens.
pub(crate) fn fit<T>(
    messages: &[Message],
    protected: usize,
    limit: usize,
    steps: usize,
    mut measure: impl FnMut(&[Message], usize) -> Result<(T, usize)>,
) -> Result<Fitted<T>> {
    let (prompt, whole) = measure(messages, 0)?;
    let mut best = Fitted { prompt, start: 0, messages: 0, tokens: 0 };
    if whole <= limit {
        return Ok(best);
    }
    let step = (limit / steps).max(1);
    let wanted = (whole - limit).div_ceil(step) * step;
    let starts = turn_starts(messages, protected);
    // The fewest turns that are enough, or all but the last.
    let (mut low, mut high) = (1, starts.len());
    let mut is_enough = false;
    while low < high {
        let middle = usize::midpoint(low, high);
        let start = starts[middle];
        let left = from(messages, protected, start);
        let (prompt, size) = measure(&left, start)?;
        let fits = whole.saturating_sub(size) >= wanted;
        if fits || !is_enough {
            let (missing, tokens) = (messages.len() - left.len(), whole.saturating_sub(size));
            best = Fitted { prompt, start, messages: missing, tokens };
            is_enough = fits;
        }
        if fits {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(best)
}

/// The messages from an index on, and those before it that always stay.
fn from(messages: &[Message], protected: usize, start: usize) -> Vec<Message> {
    let (before, rest) = messages.split_at(start);
    let before = before.iter().enumerate().filter(|(index, it)| stays(*index, it, protected));
    before.map(|(_, message)| message).chain(rest).cloned().collect()
}

/// Whether a message is never left out.
pub(crate) fn stays(index: usize, message: &Message, protected: usize) -> bool {
    index < protected || matches!(message.role, Role::System | Role::Developer)
}

/// The indices of the messages with which turns begin.
fn turn_starts(messages: &[Message], protected: usize) -> Vec<usize> {
    let mut others =
        messages.iter().enumerate().filter(|(index, message)| !stays(*index, message, protected));
    let first = others.next().map(|(index, _)| index);
    let later = others.filter(|(_, message)| message.role == Role::User).map(|(index, _)| index);
    first.into_iter().chain(later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A conversation of a system message and `turns` turns of two messages.
    fn conversation(turns: usize) -> Vec<Message> {
        let turn = |turn| [Message::user(format!("question {turn}")), Message::assistant("answer")];
        std::iter::once(Message::system("be brief")).chain((0..turns).flat_map(turn)).collect()
    }

    /// Fits texts, with ten tokens for each message.
    fn texts(messages: &[Message], protected: usize, limit: usize) -> (Vec<String>, usize) {
        let measure = |messages: &[Message], _| {
            Ok((messages.iter().map(Message::text).collect(), messages.len() * 10))
        };
        let fitted = fit(messages, protected, limit, 4, measure).unwrap();
        assert_eq!(fitted.tokens, fitted.messages * 10);
        (fitted.prompt, fitted.messages)
    }

    #[test]
    fn the_oldest_turns_are_left_out() {
        let messages = conversation(10);
        assert_eq!(texts(&messages, 0, 210).1, 0);
        let (left, missing) = texts(&messages, 0, 160);
        // 50 tokens too many; 80 are left out, in two steps of 40.
        assert_eq!((left.len(), missing), (13, 8));
        assert_eq!(left[..2], ["be brief", "question 4"]);
        // The same messages are missing after the next turn.
        let (left, missing) = texts(&conversation(11), 0, 160);
        assert_eq!((left.len(), missing), (15, 8));
        // The last turn stays even if it is too long.
        let (left, missing) = texts(&messages, 0, 5);
        assert_eq!(left, ["be brief", "question 9", "answer"]);
        assert_eq!(missing, 18);
        assert_eq!(texts(&conversation(1), 0, 5).1, 0);
        // Protected messages stay, too.
        let (left, _) = texts(&messages, 3, 160);
        assert_eq!(left[..4], ["be brief", "question 0", "answer", "question 5"]);
    }

    #[test]
    fn tool_calls_stay_with_their_results() {
        let result = Message { role: Role::Tool, ..Message::user("21 degrees") };
        let messages = [
            Message::assistant("Hello!"),
            Message::user("weather?"),
            Message::assistant(""),
            result,
            Message::assistant("warm"),
            Message::system("from now on in French"),
            Message::user("thanks"),
        ];
        let (left, missing) = texts(&messages, 0, 60);
        assert_eq!((left[0].as_str(), missing), ("from now on in French", 5));
        assert_eq!(turn_starts(&messages, 0), [0, 1, 6]);
    }
}
