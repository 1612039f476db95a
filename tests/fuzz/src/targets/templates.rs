//! Chat templates, generated from rules or taken from the testkit and damaged, rendered with all kinds of messages, and
//! used for an answer.

use std::path::Path;

use mullama::{Message, ModelParams};
use mullama_testkit::{fixture, templates};
use serde_json::Value;

use super::{brief_chat, load};
use crate::grammar::Grammar;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

const SOUND: &[&str] = &[
    templates::THINKING,
    templates::TAGGED,
    templates::HEADERS,
    templates::BRACKETS,
    templates::NO_SYSTEM,
    templates::STRICT,
];

pub fn start(_: &Path) -> Fuzz {
    let jinja = Grammar::read(include_str!("../../corpus/jinja.txt"));
    let lists = Grammar::read_json(include_str!("../../corpus/messages.txt"));
    let path = fixture("tiny");
    Box::new(move |input| {
        let rng = &mut input.rng;
        let mut template = match rng.u8(..3) {
            0 => mutate::pick(SOUND, rng).to_owned(),
            _ => jinja.make("template", rng),
        };
        for _ in 0..rng.usize(..4) {
            mutate::text(&mut template, SOUND, rng);
        }
        let conversations: Vec<String> = (0..3).map(|_| lists.make("messages", rng)).collect();
        let tools = lists.make("tools", rng);
        input.save("template.jinja", &template);
        input.save("messages.json", conversations.join("\n"));
        input.save("tools.json", &tools);

        let mut outcome = Outcome::default();
        let params = ModelParams::default().with_chat_template(template);
        let Some(model) = outcome.decide("load", load(&path, params)) else { return outcome };
        let tools: Option<Vec<Value>> = serde_json::from_str(&tools).ok();
        let read =
            |text: &String| Message::list_from_json(serde_json::from_str(text).unwrap_or_default());
        for (index, text) in conversations.iter().enumerate() {
            let Some(messages) = outcome.see("messages", read(text)) else { continue };
            let mut options = brief_chat();
            if index > 0 {
                options.chat.tools.clone_from(&tools);
            }
            let rendered = model.apply_chat_template(&messages, &options, input.rng.bool());
            // The first decides whether the template is accepted.
            if index == 0 {
                outcome.decide("render", rendered);
            } else {
                outcome.see("render", rendered);
            }
            outcome.see("chat", model.chat(&messages, &options));
        }
        let _ = model.capabilities();
        outcome
    })
}
