//! Commands of other programs, and what is done here in their place.

/// Names, and the answer.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["serve", "server", "start", "launch"],
        "there is no server yet: `mullama run` answers here, and the packages for Python, Node.js and Rust answer in a \
         program",
    ),
    (
        &["ps", "stop", "unload", "load"],
        "no model stays loaded: each `mullama run` loads its own, and frees it when it ends",
    ),
    (
        &["push", "signin", "signout", "login", "logout", "upload"],
        "nothing is uploaded: `mullama cp` and `mullama create` make models here",
    ),
    (
        &["chat", "ask", "generate", "complete", "completion", "cli", "prompt"],
        "`mullama run MODEL` begins a conversation, `mullama run MODEL PROMPT` answers",
    ),
    (&["download", "get", "install", "fetch"], "`mullama pull NAME` downloads a model"),
    (
        &["search"],
        "names are found at https://ollama.com/library and https://huggingface.co/models?library=gguf",
    ),
    (&["models", "tags"], "`mullama list` lists the models that are here"),
    (&["delete", "remove", "uninstall"], "`mullama rm NAME` removes a model"),
    (&["copy", "rename", "mv"], "`mullama cp FROM TO` gives a model a second name"),
    (&["info", "inspect"], "`mullama show MODEL` says what a model is"),
    (&["gpus", "gpu", "backends"], "`mullama devices` lists GPUs and backends"),
    (
        &["fit", "estimate", "memory"],
        "`mullama plan MODEL` says what fits, and how fast it would be",
    ),
    (
        &["bench", "benchmark", "perf"],
        "`mullama run MODEL -v PROMPT` prints rates, `mullama plan --calibrate` measures this machine",
    ),
    (
        &["embed", "embedding", "embeddings", "rerank", "tokenize", "detokenize"],
        "the packages for Python, Node.js and Rust do this: `embed`, `rerank`, `tokenize`",
    ),
    (
        &["quantize", "convert", "imatrix", "perplexity", "finetune", "train"],
        "llama.cpp has programs for this; what they make is run here",
    ),
    (&["update", "upgrade"], "mullama is updated by what installed it: pip, npm, cargo"),
];

/// What is done here in place of a command of another program.
pub fn answer(command: &str) -> Option<&'static str> {
    let command = command.to_ascii_lowercase();
    let found = COMMANDS.iter().find(|(names, _)| names.contains(&command.as_str()));
    found.map(|(_, answer)| *answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::command;

    #[test]
    fn commands_that_are_here_are_no_others() {
        for (names, answer) in COMMANDS {
            for name in *names {
                assert!(command().find_subcommand(name).is_none(), "{name} is here");
            }
            // What an answer names is there.
            for named in answer.split("`mullama ").skip(1) {
                let named = named.split([' ', '`']).next().unwrap();
                assert!(command().find_subcommand(named).is_some(), "{answer}");
            }
        }
        assert!(answer("Serve").is_some() && answer("run").is_none());
    }
}
