//! Option names in the style of each front end.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::printable;
use crate::shorten::omitted_range;

/// The style in which a language writes option names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Naming {
    /// `max_tokens`
    #[default]
    Snake,
    /// `maxTokens`
    Camel,
    /// `--max-tokens`
    Flag,
}

impl Naming {
    /// Converts the name of an option from snake case to this style.
    pub fn style(self, name: &str) -> String {
        match self {
            Naming::Snake => name.to_owned(),
            Naming::Flag => format!("--{}", name.replace('_', "-")),
            Naming::Camel => {
                let mut parts = name.split('_');
                let mut styled = parts.next().unwrap_or_default().to_owned();
                for part in parts {
                    let mut letters = part.chars();
                    styled.extend(letters.next().map(|first| first.to_ascii_uppercase()));
                    styled.push_str(letters.as_str());
                }
                styled
            }
        }
    }
}

/// A message that may contain option names. It records their positions, so that each front end can
/// write them in its own style.
///
/// ```
/// use mullama_base::{Naming, Text};
///
/// let hint = Text::with_names("load the model with a larger {context_size}");
/// assert_eq!(hint.to_string(), "load the model with a larger `context_size`");
/// assert_eq!(hint.render(Naming::Camel), "load the model with a larger `contextSize`");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// The text, with names in snake case.
    text: String,
    /// The byte ranges of the names, in order.
    names: Vec<Range<usize>>,
}

impl Text {
    /// Creates a text from a template with option names in braces. The braces become backticks.
    pub fn with_names(template: &'static str) -> Self {
        let mut text = Self::default();
        for (index, piece) in template.split(['{', '}']).enumerate() {
            if index % 2 == 0 {
                text.text.push_str(piece);
            } else {
                text.text.push('`');
                text.push_name(piece);
                text.text.push('`');
            }
        }
        text
    }

    /// Creates a text that consists of one option name.
    pub fn name(name: &str) -> Self {
        let mut text = Self::default();
        text.push_name(name);
        text
    }

    fn push_name(&mut self, name: &str) {
        let start = self.text.len();
        self.text.push_str(name);
        self.names.push(start..self.text.len());
    }

    /// The text with another one after it.
    #[must_use]
    pub fn and(mut self, other: impl Into<Self>) -> Self {
        self.append(&other.into());
        self
    }

    /// Appends a text with its names.
    pub(crate) fn append(&mut self, other: &Self) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.names.extend(other.names.iter().map(|name| name.start + start..name.end + start));
    }

    /// The text with `to` in place of each occurrence of `from`. Occurrences in option names are not replaced.
    pub(crate) fn replaced(&self, from: &str, to: &str) -> Self {
        self.mapped(|part| part.replace(from, to), str::to_owned)
    }

    /// The text, safe to print on a terminal: see [`printable`].
    pub(crate) fn printable(self) -> Self {
        if matches!(printable(&self.text), Cow::Borrowed(_)) {
            return self;
        }
        let printable = |part: &str| printable(part).into_owned();
        self.mapped(printable, printable)
    }

    /// The text with functions applied to the parts between names, and to the names.
    fn mapped(&self, of_text: impl Fn(&str) -> String, of_name: impl Fn(&str) -> String) -> Self {
        let mut text = Self::default();
        let mut end = 0;
        for name in &self.names {
            text.text.push_str(&of_text(&self.text[end..name.start]));
            text.push_name(&of_name(&self.text[name.clone()]));
            end = name.end;
        }
        text.text.push_str(&of_text(&self.text[end..]));
        text
    }

    /// The text, shortened like [`shortened`](crate::shortened).
    pub(crate) fn shortened(mut self) -> Self {
        if let Some((range, note)) = omitted_range(&self.text) {
            self.names.retain(|name| name.end <= range.start || name.start >= range.end);
            for name in self.names.iter_mut().filter(|name| name.start >= range.end) {
                let length = name.len();
                name.start = name.start - range.len() + note.len();
                name.end = name.start + length;
            }
            self.text.replace_range(range, &note);
        }
        self
    }

    /// The text with names in snake case.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text with names in this style.
    pub fn render(&self, naming: Naming) -> String {
        let mut rendered = String::with_capacity(self.text.len());
        let mut end = 0;
        for name in &self.names {
            rendered.push_str(&self.text[end..name.start]);
            rendered.push_str(&naming.style(&self.text[name.clone()]));
            end = name.end;
        }
        rendered + &self.text[end..]
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self { text, names: Vec::new() }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        text.into_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_each_style() {
        let styles = [Naming::Snake, Naming::Camel, Naming::Flag];
        let written = |name| styles.map(|naming| naming.style(name));
        assert_eq!(written("max_tokens"), ["max_tokens", "maxTokens", "--max-tokens"]);
        assert_eq!(written("stop"), ["stop", "stop", "--stop"]);
        assert_eq!(written("n_gpu_layers"), ["n_gpu_layers", "nGpuLayers", "--n-gpu-layers"]);
        let size = Text::name("context_size").and("=512 fits");
        assert_eq!(size.render(Naming::Flag), "--context-size=512 fits");
    }

    #[test]
    fn naming_style_changes_only_option_names() {
        let mut text = Text::from("`top_k` {top_k}: ");
        text.append(&Text::with_names("{top_k} or {top_p}"));
        assert_eq!(text.to_string(), "`top_k` {top_k}: `top_k` or `top_p`");
        assert_eq!(text.render(Naming::Snake), text.as_str());
        assert_eq!(text.render(Naming::Camel), "`top_k` {top_k}: `topK` or `topP`");
        assert_eq!(Text::name("top_k").render(Naming::Camel), "topK");
        assert_eq!(Text::with_names("").as_str(), "");
        let mut hostile = Text::from("\x1b[2J ");
        hostile.append(&Text::name("top_k\x07"));
        assert_eq!(hostile.printable().render(Naming::Camel), "\\u001b[2J topK\\u0007");
        let replaced = Text::with_names("/a/top: {top_k} of /a/top").replaced("/a/top", "demo");
        assert_eq!(replaced.render(Naming::Camel), "demo: `topK` of demo");
    }

    #[test]
    fn names_in_shortened_texts_follow_the_naming_style() {
        let mut text = Text::with_names("{top_k} is `");
        text.append(&Text::from("x".repeat(1 << 20)));
        text.append(&Text::name("min_p"));
        text.append(&Text::from("x".repeat(1 << 20)));
        text.append(&Text::with_names("`, not {top_p} or {n_ctx}"));
        let shown = text.shortened().render(Naming::Camel);
        assert!(shown.starts_with("`topK` is `xxx"), "{shown}");
        assert!(shown.ends_with("xxx`, not `topP` or `nCtx`"), "{shown}");
        assert!(shown.len() < 5000);
        let name = Text::name(&"a_b".repeat(1 << 20)).shortened();
        assert_eq!(name.render(Naming::Camel), name.as_str());
    }
}
