//! Modelfiles and their templates, generated from rules and damaged. Valid ones are written and parsed again, and a
//! model is created from them and loaded.

use std::fs;
use std::path::Path;

use mullama::hub::{Caches, CreateOptions, Modelfile, Name, Store, Template};
use mullama::{Message, ModelParams};
use mullama_testkit::fixture;

use super::{brief_chat, load};
use crate::grammar::Grammar;
use crate::input::Input;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

const SOUND: &[&str] = &[
    "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ if .Prompt }}<|im_start|>user\n\
     {{ .Prompt }}<|im_end|>\n{{ end }}<|im_start|>assistant\n{{ .Response }}",
    "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}{{ .Role }}: {{ .Content }}\
     {{ if and $last (ne .Role \"assistant\") }}assistant: {{ end }}{{- end }}",
    "{{ if .Tools }}{{ range .Tools }}{{ json . }}{{ end }}{{ end }}{{ range .Messages }}{{ .Content }}\
     {{ range .ToolCalls }}{{ .Function.Name }} {{ .Function.Arguments }}{{ end }}{{ end }}",
];

pub fn start(folder: &Path) -> Fuzz {
    let (go, files) = (
        Grammar::read(include_str!("../../corpus/go_template.txt")),
        Grammar::read(include_str!("../../corpus/modelfile.txt")),
    );
    let base = fixture("tiny");
    let store = Store::at(folder.join("store")).with_caches(Caches::none());
    Box::new(move |input| {
        let mut outcome = Outcome::default();
        let rng = &mut input.rng;
        let mut template = match rng.u8(..3) {
            0 => mutate::pick(SOUND, rng).to_owned(),
            _ => go.make("template", rng),
        };
        for _ in 0..rng.usize(..4) {
            mutate::text(&mut template, SOUND, rng);
        }
        input.save("template.txt", &template);
        if let Some(read) = outcome.decide("template", Template::parse(&template))
            && let Some(jinja) = outcome.decide("translate", read.to_jinja())
        {
            input.save("template.jinja", &jinja);
            render(&base, jinja, &mut outcome);
        }

        let rng = &mut input.rng;
        let mut text = files.make("file", rng);
        for _ in 0..rng.usize(..3) {
            mutate::text(&mut text, &[], rng);
        }
        let mut bytes = text.into_bytes();
        if rng.u8(..8) == 0 {
            mutate::bytes(&mut bytes, &[], rng);
        }
        input.save("Modelfile", &bytes);
        if let Some(modelfile) = outcome.see("Modelfile", Modelfile::from_bytes(&bytes)) {
            again(&modelfile, &mut outcome);
            if input.rng.u8(..4) == 0 {
                make(&store, &base, &modelfile, input, &mut outcome);
            }
        }
        outcome
    })
}

fn render(base: &Path, jinja: String, outcome: &mut Outcome) {
    let params = ModelParams::default().with_vocab_only(true).with_chat_template(jinja);
    // A template without any statement is not Jinja.
    let Some(model) = outcome.see("load", load(base, params)) else { return };
    for messages in [
        vec![Message::user("Hi")],
        vec![
            Message::system("Be brief."),
            Message::user("go"),
            Message::assistant("x"),
            Message::user("b"),
        ],
    ] {
        outcome.see("render", model.apply_chat_template(&messages, &brief_chat(), true));
    }
}

/// Checks that a Modelfile is equal after it was written and parsed.
fn again(modelfile: &Modelfile, outcome: &mut Outcome) {
    if let Some(text) = outcome.see("write", modelfile.to_text()) {
        match Modelfile::parse(&text) {
            Ok(read) if read == *modelfile => {}
            read => outcome.wrong(format!("written, it is another: {text:?}: {read:?}")),
        }
    }
}

fn make(store: &Store, base: &Path, modelfile: &Modelfile, input: &Input, outcome: &mut Outcome) {
    let _ = fs::copy(base, input.path("model.gguf"));
    let name = Name::parse("made").expect("it is a name");
    let options = CreateOptions::default().with_folder(input.path(""));
    if outcome.see("create", store.create(&name, modelfile, options)).is_some() {
        outcome.see("list", store.list());
        if let Some(model) = outcome.see("load", load("made", ModelParams::default())) {
            outcome.see("chat", model.chat(&[Message::user("Hi")], &brief_chat()));
        }
        outcome.see("remove", store.remove(&name));
    }
}
