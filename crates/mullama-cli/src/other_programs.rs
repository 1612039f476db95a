//! Commands and flags of other programs, and their replacements in mullama. The flags of llama.cpp have a table of their
//! own (`llama_cpp.rs`).

/// Command names, and the message for them.
const COMMANDS: &[(&[&str], &str)] = &[
    (
        &["serve", "server", "start", "launch"],
        "mullama has no server yet; use `mullama run`, or the packages for Python, Node.js and Rust in a program",
    ),
    (
        &["ps", "stop", "unload", "load"],
        "models do not stay loaded: each `mullama run` loads its model and frees it at the end",
    ),
    (
        &["push", "signin", "signout", "login", "logout", "upload"],
        "mullama does not upload models; use `mullama cp` or `mullama create` for local ones",
    ),
    (
        &["chat", "ask", "generate", "complete", "completion", "cli", "prompt"],
        "`mullama run MODEL` starts a chat, `mullama run MODEL PROMPT` answers once",
    ),
    (&["download", "get", "install", "fetch"], "use `mullama pull NAME`"),
    (
        &["search"],
        "names are listed at https://ollama.com/library and https://huggingface.co/models?library=gguf",
    ),
    (&["models", "tags"], "use `mullama list`"),
    (&["delete", "remove", "uninstall"], "use `mullama rm NAME`"),
    (&["copy", "rename", "mv"], "use `mullama cp FROM TO`"),
    (&["info", "inspect"], "use `mullama show MODEL`"),
    (&["gpus", "gpu", "backends"], "use `mullama devices`"),
    (&["fit", "estimate", "memory"], "use `mullama plan MODEL`"),
    (
        &["bench", "benchmark", "perf"],
        "`mullama run MODEL -v PROMPT` prints rates, `mullama plan --calibrate` measures this machine",
    ),
    (
        &["embed", "embedding", "embeddings", "rerank", "tokenize", "detokenize"],
        "use `embed`, `rerank` or `tokenize` in Python, Node.js or Rust",
    ),
    (
        &["quantize", "convert", "imatrix", "perplexity", "finetune", "train"],
        "use the programs of llama.cpp, whose results mullama runs",
    ),
    (&["update", "upgrade"], "update the package with pip, npm or cargo"),
];

/// Names of flags without dashes, and the message for them.
const FLAGS: &[(&[&str], &str)] = &[
    (
        &["keepalive", "keep-alive"],
        "models do not stay loaded: each `mullama run` loads its model and frees it at the end",
    ),
    (&["stream", "streaming", "no-stream"], "answers are always printed while they are generated"),
    (&["hidethinking", "hide-thinking", "no-think"], "use --reasoning=false"),
    (&["nowordwrap", "no-word-wrap"], "lines are not wrapped"),
    (&["ctx", "n-ctx", "num-ctx", "context"], "use --ctx-size"),
    (
        &["q", "quiet", "silent"],
        "messages go to standard error: add 2>/dev/null, or set MULLAMA_LOG=error",
    ),
];

/// The message for a flag of another program, which may have dashes.
pub fn flag(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('-').to_ascii_lowercase().replace('_', "-");
    FLAGS.iter().find(|(names, _)| names.contains(&name.as_str())).map(|(_, answer)| *answer)
}

/// The message for a command of another program.
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
    fn hints_cover_only_unknown_commands_and_name_existing_ones() {
        for (names, answer) in COMMANDS {
            for name in *names {
                assert!(command().find_subcommand(name).is_none(), "{name} is here");
            }
            // The commands that a message mentions exist.
            for named in answer.split("`mullama ").skip(1) {
                let named = named.split([' ', '`']).next().unwrap();
                assert!(command().find_subcommand(named).is_some(), "{answer}");
            }
        }
        assert!(answer("Serve").is_some() && answer("run").is_none());
        assert_eq!(flag("--temperature"), None);
        assert!(flag("--keep_alive").is_some() && flag("-q").is_some());
    }
}
