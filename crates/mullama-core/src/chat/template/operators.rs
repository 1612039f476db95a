//! Adds checks to the operators of a template. Minijinja has no hooks for `~`, `==`, `in` and `*`, so their operands,
//! or their result, pass through the filter [`WALKED`], which measures values. Line numbers do not change.

use std::ops::Range;

use super::source::{Part, parts, quoted};

/// Name of the filter that measures a value.
pub(super) const WALKED: &str = "mullama_walked";

/// Maximum number of slices in a template. A slice of a slice recomputes its items, with one step per slice.
const MAX_SLICES: usize = 200;

/// Keywords of expressions.
const KEYWORDS: [&str; 5] = ["if", "else", "and", "or", "not"];

/// Inserts the checks into all expressions of a template.
pub(super) fn checked(source: &str) -> Result<String, String> {
    let mut result = String::with_capacity(source.len());
    let mut line = 1;
    let mut slices = 0;
    for part in parts(source) {
        match part {
            Part::Text(text) => result.push_str(text),
            Part::Tag(tag) => {
                let tokens = tokens(tag);
                let mut checks = Checks { source: tag, first: 0, slices, wrapped: Vec::new() };
                if let Some(word) = checks.keyword_as_variable(&tokens) {
                    return Err(format!("line {line}: `{word}` cannot be the name of a variable"));
                }
                if let Some(parameter) = checks.default_from_parameter(&tokens) {
                    return Err(format!(
                        "line {line}: a parameter's default value refers to the parameter `{parameter}`"
                    ));
                }
                checks.tag(&tokens);
                slices = checks.slices;
                if slices > MAX_SLICES {
                    return Err(format!("line {line}: it has more than {MAX_SLICES} slices"));
                }
                checks.write(&mut result);
            }
        }
        line += part.text().matches('\n').count();
    }
    Ok(result)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Text,
    Number,
    Operator,
}

struct Token {
    range: Range<usize>,
    kind: Kind,
    /// The index of the next token, or for an opening bracket, of the one after its closing bracket.
    after: usize,
}

/// The tokens of a tag, without its delimiters.
fn tokens(tag: &str) -> Vec<Token> {
    let end = tag.len().saturating_sub(2);
    let mut tokens: Vec<Token> = Vec::new();
    let mut open = Vec::new();
    let mut at = 2;
    if matches!(tag.as_bytes().get(at), Some(b'-' | b'+')) {
        at += 1;
    }
    while let Some(character) = tag.get(at..end).and_then(|rest| rest.chars().next()) {
        let rest = &tag[at..end];
        let length_while = |is_part: &dyn Fn(char) -> bool| {
            rest.find(|character| !is_part(character)).unwrap_or(rest.len())
        };
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let (kind, length) = match character {
            _ if character.is_whitespace() => {
                at += character.len_utf8();
                continue;
            }
            '\'' | '"' => (Kind::Text, quoted(rest)),
            '0'..='9' => {
                let whole = length_while(&is_word);
                let fraction = &rest[whole..];
                let is_fraction = fraction.starts_with('.')
                    && fraction[1..].starts_with(|digit: char| digit.is_ascii_digit());
                let digits = |text: &str| text.find(|c| !is_word(c)).unwrap_or(text.len());
                let length = if is_fraction { 1 + digits(&fraction[1..]) } else { 0 };
                (Kind::Number, whole + length)
            }
            _ if is_word(character) => (Kind::Name, length_while(&is_word)),
            _ => {
                let two = ["==", "!=", "<=", ">=", "//", "**"];
                let is_two = two.iter().any(|operator| rest.starts_with(operator));
                (Kind::Operator, if is_two { 2 } else { character.len_utf8() })
            }
        };
        match character {
            '(' | '[' | '{' => open.push(tokens.len()),
            ')' | ']' | '}' => {
                if let Some(opening) = open.pop() {
                    tokens[opening].after = tokens.len() + 1;
                }
            }
            _ => {}
        }
        tokens.push(Token { range: at..at + length, kind, after: tokens.len() + 1 });
        at += length;
    }
    // The sign before the end of a tag trims white space.
    let is_sign =
        |token: &Token| token.range.end == end && matches!(&tag[token.range.clone()], "-" | "+");
    if tokens.last().is_some_and(is_sign) {
        tokens.pop();
    }
    let count = tokens.len();
    for opening in open {
        tokens[opening].after = count;
    }
    tokens
}

/// The parts of a tag that are checked.
struct Checks<'a> {
    source: &'a str,
    /// Index of the first token of an expression.
    first: usize,
    /// Number of slices in the template so far.
    slices: usize,
    wrapped: Vec<Range<usize>>,
}

impl Checks<'_> {
    fn text(&self, token: &Token) -> &str {
        &self.source[token.range.clone()]
    }

    fn is(&self, token: &Token, text: &str) -> bool {
        token.kind != Kind::Text && self.text(token) == text
    }

    /// The keyword that a tag assigns to. Minijinja allows it, Jinja does not.
    fn keyword_as_variable(&self, tokens: &[Token]) -> Option<&str> {
        let is_loop = tokens.first().is_some_and(|first| self.is(first, "for"));
        let targets = if is_loop { self.targets(tokens).end } else { 0 };
        (1..tokens.len()).find_map(|index| {
            let token = &tokens[index];
            let is_keyword = token.kind == Kind::Name
                && (KEYWORDS.contains(&self.text(token))
                    || ["in", "is"].contains(&self.text(token)))
                && !self.is(&tokens[index - 1], ".")
                && !self.is(&tokens[index - 1], "|");
            let is_assigned = || {
                let next = tokens.get(index + 1);
                let ends = ["=", ",", ")"];
                let is_target = index < targets
                    || (index == targets
                        && is_loop
                        && (index == 1 || matches!(self.text(&tokens[index - 1]), "," | "(")));
                is_target || next.is_some_and(|next| ends.iter().any(|end| self.is(next, end)))
            };
            (is_keyword && is_assigned()).then(|| self.text(token))
        })
    }

    /// The parameter that the default value of a macro's other parameter refers to. Minijinja does not find its value.
    fn default_from_parameter(&self, tokens: &[Token]) -> Option<&str> {
        let [first, _, opening, ..] = tokens else { return None };
        if !self.source.starts_with("{%") || !self.is(first, "macro") || !self.is(opening, "(") {
            return None;
        }
        // A bracket that is not closed is rejected later.
        let inner = 3..opening.after.saturating_sub(1).max(3);
        let mut names = Vec::new();
        for part in self.split(tokens, inner, &[","]) {
            let (name, default) = tokens[part].split_first()?;
            for (index, token) in default.iter().enumerate() {
                let follows = |sign| index > 0 && self.is(&default[index - 1], sign);
                let is_variable = token.kind == Kind::Name && !follows(".") && !follows("|");
                if is_variable && names.contains(&self.text(token)) {
                    return Some(self.text(token));
                }
            }
            names.push(self.text(name));
        }
        None
    }

    /// The variables of a loop.
    fn targets(&self, tokens: &[Token]) -> Range<usize> {
        let found = tokens.iter().position(|token| self.is(token, "in"));
        1..found.unwrap_or(tokens.len())
    }

    fn tag(&mut self, tokens: &[Token]) {
        let mut end = tokens.len();
        if self.source.starts_with("{%")
            && let Some(first) = tokens.first()
        {
            self.first = 1;
            if self.is(first, "for") {
                self.first = self.targets(tokens).end + 1;
                let is_last = |token: &Token| self.is(token, "recursive");
                if end >= 2 && is_last(&tokens[end - 1]) && self.ends_value(tokens, end - 2) {
                    end -= 1;
                }
            }
        }
        self.group(tokens, self.first.min(end)..end);
    }

    /// The expressions between two brackets.
    fn group(&mut self, tokens: &[Token], range: Range<usize>) {
        let mut start = range.start;
        let mut index = range.start;
        while index < range.end {
            if self.ends_expression(tokens, index, range.start) {
                self.comparison(tokens, start..index);
                start = index + 1;
            }
            let after = tokens[index].after.min(range.end);
            if after > index + 1 {
                self.bracket(tokens, index, index + 1..after - 1);
            }
            index = after;
        }
        self.comparison(tokens, start..range.end);
    }

    fn ends_expression(&self, tokens: &[Token], index: usize, first: usize) -> bool {
        let token = &tokens[index];
        match token.kind {
            Kind::Operator => matches!(self.text(token), "," | "=" | ":"),
            Kind::Name => {
                let before = index.checked_sub(1).filter(|before| *before >= first);
                let follows = |text| before.is_some_and(|before| self.is(&tokens[before], text));
                let is_negated_in = || {
                    tokens.get(index + 1).is_some_and(|next| self.is(next, "in"))
                        && self.text(token) == "not"
                };
                KEYWORDS.contains(&self.text(token))
                    && !follows(".")
                    && !follows("is")
                    && !is_negated_in()
            }
            _ => false,
        }
    }

    /// Handles the contents of a bracket, and brackets that look up values.
    fn bracket(&mut self, tokens: &[Token], opening: usize, inner: Range<usize>) {
        self.group(tokens, inner.clone());
        let follows_value = opening > 0 && self.ends_value(tokens, opening - 1);
        let parts = self.split(tokens, inner.clone(), &[",", ":"]);
        let has_colon = parts.iter().any(|part| {
            tokens.get(part.end).is_some_and(|token| part.end < inner.end && self.is(token, ":"))
        });
        match self.text(&tokens[opening]) {
            // A key is hashed, or compared.
            "[" if follows_value && !has_colon => self.wrap(tokens, &inner),
            "[" if follows_value => self.slices += 1,
            "{" => {
                for part in parts {
                    if part.end < inner.end && self.is(&tokens[part.end], ":") {
                        self.wrap(tokens, &part);
                    }
                }
            }
            // `loop.changed` compares its arguments.
            "(" if follows_value && self.is(&tokens[opening - 1], "changed") => {
                for part in parts {
                    self.wrap(tokens, &part);
                }
            }
            _ => {}
        }
    }

    /// Whether a token ends a value, so that a bracket or a sign after it belongs to the value.
    fn ends_value(&self, tokens: &[Token], index: usize) -> bool {
        if index < self.first {
            return false;
        }
        let token = &tokens[index];
        match token.kind {
            Kind::Text | Kind::Number => true,
            Kind::Operator => matches!(self.text(token), ")" | "]" | "}"),
            Kind::Name => {
                let text = self.text(token);
                let is_word = KEYWORDS.contains(&text) || ["in", "is"].contains(&text);
                let follows = |word| index > 0 && self.is(&tokens[index - 1], word);
                !is_word || follows(".")
            }
        }
    }

    /// Whether a token is the name of a test. A sign after it begins the test's argument.
    fn is_test(&self, tokens: &[Token], index: usize) -> bool {
        let is = |back: usize, word| index >= back && self.is(&tokens[index - back], word);
        is(1, "is") || (is(1, "not") && is(2, "is"))
    }

    /// Splits tokens at operators outside brackets.
    fn split(
        &self,
        tokens: &[Token],
        range: Range<usize>,
        operators: &[&str],
    ) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let (mut start, mut index) = (range.start, range.start);
        while index < range.end {
            let token = &tokens[index];
            let before = index.checked_sub(1).filter(|before| *before >= range.start);
            let is_operator = token.kind != Kind::Text
                && operators.contains(&self.text(token))
                && match self.text(token) {
                    // No sign, and no `*` that unpacks.
                    "+" | "-" | "*" => before.is_some_and(|before| {
                        self.ends_value(tokens, before) && !self.is_test(tokens, before)
                    }),
                    "in" => {
                        let is_name = |name| before.is_some_and(|it| self.is(&tokens[it], name));
                        !self.is_test(tokens, index) && !is_name(".") && !is_name("|")
                    }
                    _ => true,
                };
            if is_operator {
                let is_not_in =
                    self.is(token, "in") && before.is_some_and(|it| self.is(&tokens[it], "not"));
                parts.push(start..if is_not_in { index - 1 } else { index });
                start = index + 1;
            }
            index = token.after.min(range.end).max(index + 1);
        }
        parts.push(start..range.end);
        parts
    }

    /// A constant, which needs no check.
    fn is_constant(&self, tokens: &[Token], range: &Range<usize>) -> bool {
        match &tokens[range.clone()] {
            [] => true,
            [token] => {
                let words = ["true", "false", "none", "True", "False", "None"];
                token.kind == Kind::Text
                    || token.kind == Kind::Number
                    || words.contains(&self.text(token))
            }
            [sign, number] => self.is(sign, "-") && number.kind == Kind::Number,
            _ => false,
        }
    }

    fn comparison(&mut self, tokens: &[Token], range: Range<usize>) {
        let parts = self.split(tokens, range, &["==", "!=", "<", "<=", ">", ">=", "in"]);
        match &parts[..] {
            // A comparison with a constant takes no time, unless the constant is a text that is searched.
            [left, right] if self.is_constant(tokens, left) || self.is_constant(tokens, right) => {
                if self.is(&tokens[right.start.max(1) - 1], "in") {
                    self.wrap(tokens, left);
                }
            }
            [_] => {}
            parts => parts.iter().for_each(|part| self.wrap(tokens, part)),
        }
        for part in parts {
            self.sum(tokens, part);
        }
    }

    fn sum(&mut self, tokens: &[Token], range: Range<usize>) {
        let parts = self.split(tokens, range, &["+", "-"]);
        // A sum with a text is a text, and one with a number is a number.
        if parts.len() > 1 && !parts.iter().any(|part| self.is_constant(tokens, part)) {
            for part in &parts {
                self.wrap(tokens, part);
            }
        }
        for part in parts {
            let operands = self.split(tokens, part, &["~"]);
            for operand in &operands {
                if operands.len() > 1 {
                    self.wrap(tokens, operand);
                }
                let factors = self.split(tokens, operand.clone(), &["*"]);
                let is_text = |factor: &Range<usize>| matches!(&tokens[factor.clone()], [token] if token.kind == Kind::Text);
                if factors.len() > 1 && operands.len() == 1 && !factors.iter().any(is_text) {
                    self.wrap(tokens, operand);
                }
            }
        }
    }

    fn wrap(&mut self, tokens: &[Token], range: &Range<usize>) {
        let mut range = range.clone();
        let unpacks = |token: &Token| self.is(token, "*") || self.is(token, "**");
        if !range.is_empty() && unpacks(&tokens[range.start]) {
            range.start += 1;
        }
        if !self.is_constant(tokens, &range) {
            let (start, end) = (&tokens[range.start].range, &tokens[range.end - 1].range);
            self.wrapped.push(start.start..end.end);
        }
    }

    fn write(mut self, result: &mut String) {
        // The same part may be an operand of two operators.
        self.wrapped.sort_by_key(|part| (part.start, part.end));
        self.wrapped.dedup();
        let mut marks: Vec<(usize, bool)> = Vec::new();
        for part in &self.wrapped {
            marks.push((part.start, true));
            marks.push((part.end, false));
        }
        marks.sort_unstable();
        let mut at = 0;
        for (place, opens) in marks {
            result.push_str(&self.source[at..place]);
            at = place;
            if opens {
                result.push('(');
            } else {
                result.push_str(")|");
                result.push_str(WALKED);
            }
        }
        result.push_str(&self.source[at..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_that_operators_traverse_are_wrapped() {
        for (source, expected) in [
            ("{{ a ~ 'b' ~ c.d[0](e)|f }}", "{{ «a» ~ 'b' ~ «c.d[0](e)|f» }}"),
            ("{{- a == 'b' -}}", "{{- a == 'b' -}}"),
            ("{{ a == b }}", "{{ «a» == «b» }}"),
            ("{{ a < b < 1 }}", "{{ «a» < «b» < 1 }}"),
            ("{{ a not in b and not c }}", "{{ «a» not in «b» and not c }}"),
            ("{% if a is not in b %}", "{% if a is not in b %}"),
            ("{% if a in 'b' or c %}", "{% if «a» in 'b' or c %}"),
            ("{% if 'a' in b %}", "{% if 'a' in b %}"),
            ("{% if a in ['b', c ~ d] %}", "{% if «a» in «['b', «c» ~ «d»]» %}"),
            ("{% for a in b + c if d != e %}", "{% for a in «b» + «c» if «d» != «e» %}"),
            ("{% for a, b in c.items() %}", "{% for a, b in c.items() %}"),
            ("{% set a = b + 'c' + d -%}", "{% set a = b + 'c' + d -%}"),
            ("{% set a = -b + -c %}", "{% set a = «-b» + «-c» %}"),
            ("{{ a * 2 + 1 }}", "{{ «a * 2» + 1 }}"),
            ("{{ a ~ b * c }}", "{{ «a» ~ «b * c» }}"),
            ("{{ 'a' * b ** c }}", "{{ 'a' * b ** c }}"),
            ("{{ f(a=b ~ c, d) if e else g ~ h }}", "{{ f(a=«b» ~ «c», d) if e else «g» ~ «h» }}"),
            ("{{ a[b] }}{{ a[b:c] }}{{ [b] }}", "{{ a[«b»] }}{{ a[b:c] }}{{ [b] }}"),
            ("{{ a[-1]['b'][0] }}", "{{ a[-1]['b'][0] }}"),
            ("{{ {a: b, 'c': d} }}", "{{ {«a»: b, 'c': d} }}"),
            ("{{ loop.changed(a, 1) }}", "{{ loop.changed(«a», 1) }}"),
            ("{{ a.in ~ b.if }}", "{{ «a.in» ~ «b.if» }}"),
            ("{{ (a ~ b) ~ '~' }}", "{{ «(«a» ~ «b»)» ~ '~' }}"),
            (
                "{# a ~ b #}a ~ b{% raw %}{{ a ~ b }}{% endraw %}{{ a ~ b }}",
                "{# a ~ b #}a ~ b{% raw %}{{ a ~ b }}{% endraw %}{{ «a» ~ «b» }}",
            ),
            ("{% macro a(b, c=d ~ e) %}", "{% macro a(b, c=«d» ~ «e») %}"),
            ("{{ a.0.b ~ 1.5 }}", "{{ «a.0.b» ~ 1.5 }}"),
            ("{{ a is eq -b }}{{ a is in b ~ c }}", "{{ a is eq -b }}{{ «a is in b» ~ «c» }}"),
            ("{{ f(*a ~ b) }}", "{{ f(*«a» ~ «b») }}"),
            ("{{ {'a': {'b': 1}} ~ c }}", "{{ «{'a': {'b': 1}}» ~ «c» }}"),
            ("{% for a in b recursive %}", "{% for a in b recursive %}"),
            ("{% raw %}{{ ' {% endraw %}{{ a ~ b }}", "{% raw %}{{ ' {% endraw %}{{ «a» ~ «b» }}"),
        ] {
            let expected = expected.replace('«', "(").replace('»', ")|mullama_walked");
            assert_eq!(checked(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn number_of_slices_is_limited() {
        let slices = |count| format!("{{{{ a{} }}}}\n{{{{ a[1:] }}}}", "[0:]".repeat(count));
        assert_eq!(checked(&slices(199)), Ok(slices(199)));
        assert!(checked(&slices(200)).is_err_and(|failure| failure.starts_with("line 2: ")));
    }

    #[test]
    fn keywords_are_rejected_as_variables() {
        for source in [
            "{% set else = a %}",
            "{% set a, if = b %}",
            "{% for in in a %}",
            "{% for a, in in b %}",
            "{% macro a(is) %}",
            "{% with or = a %}",
        ] {
            let failure = checked(&format!("\n{source}")).expect_err(source);
            assert!(failure.starts_with("line 2: "), "{failure}");
        }
    }

    #[test]
    fn defaults_from_other_parameters_are_rejected() {
        for open in ["{% macro a( %}", "{% macro a(b %}", "{% macro a(", "{% macro a(, %}"] {
            assert!(checked(open).is_ok(), "{open}");
        }
        let failure = checked("\n{% macro m(a, b=[a.c]) %}{% endmacro %}").unwrap_err();
        assert!(failure.starts_with("line 2: ") && failure.contains("`a`"), "{failure}");
        for source in
            ["{% macro m(a, b=x.a, c='a', d=x|a) %}", "{% macro m() %}", "{{ macro(a, b=a) }}"]
        {
            assert!(checked(source).is_ok(), "{source}");
        }
    }
}
