//! Prompt templates: Jinja, which the engine renders, and Go's, which is turned into Jinja.
//!
//! Ollama's templates come in two shapes. One goes through `.Messages`. The other has the text of one
//! turn, `.System`, `.Prompt` and `.Response`, and is rendered for each turn; for the last one, all
//! from `.Response` on is left out, since the model goes on there.
//!
//! What is written has no text between its tags, so it means the same whatever a renderer does with
//! white space around them.

mod emit;
mod parse;

use crate::{Error, ErrorKind, Result};

/// A prompt template.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// Jinja, as in GGUF files.
    Jinja(String),
    /// Go's language, as in Ollama's models.
    Go(String),
}

impl Template {
    /// Tells which language it is in.
    ///
    /// Gives `InvalidArgument` for one that is in neither.
    pub fn parse(text: &str) -> Result<Self> {
        if text.contains("{%") {
            return Ok(Self::Jinja(text.to_owned()));
        }
        parse::template(text).map_err(|problem| {
            Error::new(ErrorKind::InvalidArgument, format!("the template is damaged: {problem}"))
        })?;
        Ok(Self::Go(text.to_owned()))
    }

    /// The template in Jinja, for `messages` with `role` and `content`, and `tools`.
    ///
    /// Gives `Unsupported`, with what it is, for something in a Go template that cannot be turned.
    pub fn to_jinja(&self) -> Result<String> {
        match self {
            Self::Jinja(text) => Ok(text.clone()),
            Self::Go(text) => {
                parse::template(text).and_then(|nodes| emit::jinja(&nodes)).map_err(|problem| {
                    Error::new(
                        ErrorKind::Unsupported,
                        format!("the template cannot be used: {problem}"),
                    )
                    .with_hint(
                        "use a model whose GGUF file has a chat template, or write one in Jinja",
                    )
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use minijinja::{Environment, context};
    use proptest::prelude::*;

    use super::*;

    fn render(template: &str, messages: &[(&str, &str)]) -> String {
        let jinja = Template::parse(template).unwrap().to_jinja().unwrap();
        let mut environment = Environment::new();
        // As the engine does it.
        let mut syntax = minijinja::syntax::SyntaxConfig::builder();
        environment.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build().unwrap());
        let messages: Vec<_> = messages
            .iter()
            .map(|(role, content)| context! { role => *role, content => *content })
            .collect();
        environment
            .render_str(&jinja, context! { messages, add_generation_prompt => true })
            .unwrap_or_else(|error| panic!("{error:#}\n{jinja}"))
    }

    const CHAT: [(&str, &str); 4] =
        [("system", "S"), ("user", "U1"), ("assistant", "A1"), ("user", "U2")];

    #[test]
    fn a_template_of_turns_is_rendered_for_each() {
        let template = "{{ if .System }}<|system|>\n{{ .System }}<|end|>\n{{ end }}\
            {{ if .Prompt }}<|user|>\n{{ .Prompt }}<|end|>\n{{ end }}\
            <|assistant|>\n{{ .Response }}<|end|>\n";
        assert_eq!(
            render(template, &CHAT),
            "<|system|>\nS<|end|>\n<|user|>\nU1<|end|>\n<|assistant|>\nA1<|end|>\n\
             <|user|>\nU2<|end|>\n<|assistant|>\n"
        );
        assert_eq!(
            render("[INST] {{ .System }} {{ .Prompt }} [/INST]", &CHAT[1..2]),
            "[INST]  U1 [/INST]"
        );
        assert_eq!(render("{{ .Prompt }}", &CHAT[1..]), "U1A1U2");
    }

    #[test]
    fn a_template_of_messages_is_rendered_once() {
        let template = r#"{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_end|>
<|im_start|>assistant
{{ end }}
{{- end }}"#;
        assert_eq!(
            render(template, &CHAT),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU1<|im_end|>\n\
             <|im_start|>assistant\nA1<|im_end|>\n<|im_start|>user\nU2<|im_end|>\n\
             <|im_start|>assistant\n"
        );
    }

    #[test]
    fn both_shapes_in_one_take_the_messages() {
        let template = r#"
{{- if .Messages }}{{ if or .System .Tools }}<s>{{ .System }}</s>{{ end }}
{{- range .Messages }}{{ if eq .Role "user" }}[{{ .Content }}]
{{- else if eq .Role "assistant" "tool" }}({{ .Content }}){{ end }}{{ end }}
{{- else }}{{ .Prompt }}{{ end }}{{ .Response }}"#;
        assert_eq!(render(template, &CHAT), "<s>S</s>[U1](A1)[U2]");
    }

    #[test]
    fn variables_keep_to_their_blocks() {
        let template = r#"
{{- $found := "no" -}}
{{ range $i, $m := .Messages }}{{ $n := len $m.Content -}}
{{ if gt $n 1 }}{{ $found = $m.Content }}{{ end -}}
{{ range $i, $x := slice $.Messages 2 }}{{ $i }}{{ end }}:{{ $i }} {{ end -}}
{{ $found }}"#;
        assert_eq!(render(template, &CHAT), "01:0 01:1 01:2 01:3 U2");
    }

    #[test]
    fn texts_are_kept_to_the_letter() {
        for text in ["  \n a  ", "a'b\"c\\d", "{ % # }", "é\t\r\n", "{{\"{{\"}}{{ `}}` }}"] {
            let shown = text.replace("{{\"{{\"}}{{ `}}` }}", "{{}}");
            assert_eq!(
                render(&format!("{text}{{{{ .Prompt }}}}"), &CHAT[1..2]),
                format!("{shown}U1")
            );
        }
        assert_eq!(render("a {{- /* note */ -}} b{{ .Prompt }}", &CHAT[1..2]), "abU1");
    }

    #[test]
    fn what_cannot_be_honoured_is_named() {
        for (template, what) in [
            ("{{ nosuch .Prompt }}", "nosuch"),
            ("{{ .Nonsense }}", ".Nonsense"),
            ("{{ template \"x\" }}", "template"),
            ("{{ printf \"%d\" 1 }}", "printf"),
        ] {
            let error = Template::parse(template).unwrap().to_jinja().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(what), "{error}");
        }
        for damaged in ["{{ if .X }}", "{{ end }}", "{{ .X", "{{ ( }}", "{{ \"a }}", "{{ else }}"] {
            let error = Template::parse(damaged).expect_err(damaged);
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{damaged}");
        }
        let jinja = "{% for m in messages %}{{ m.content }}{% endfor %}";
        assert_eq!(Template::parse(jinja).unwrap().to_jinja().unwrap(), jinja);
    }

    proptest! {
        #[test]
        fn whatever_is_turned_can_be_rendered(
            template in concat!(
                r#"(\{\{-? (if|range|end|else|\.Prompt|\.Messages|\.Role|eq|\$x|:=|"a"|1|\(|\)| )*"#,
                r" -?\}\}|x| |\n){0,8}",
            ),
        ) {
            if let Ok(jinja) = Template::parse(&template).and_then(|t| t.to_jinja()) {
                let mut environment = Environment::new();
                prop_assert!(environment.add_template("t", &jinja).is_ok(), "{}\n{}", template, jinja);
            }
        }
    }
}
