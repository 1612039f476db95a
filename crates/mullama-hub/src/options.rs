//! Translates Ollama's parameters into mullama's options.

use serde_json::{Map, Value};

use crate::Parameters;

/// Ollama's parameters whose option has another name in mullama.
const RENAMED_PARAMETERS: [(&str, &str); 6] = [
    ("num_ctx", "context_size"),
    ("num_batch", "batch_size"),
    ("num_gpu", "n_gpu_layers"),
    ("num_thread", "n_threads"),
    ("num_predict", "max_tokens"),
    ("draft_num_predict", "draft_max"),
];

/// Parameters of Ollama, and their names in other programs.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("num_ctx", "n_ctx"),
    ("num_predict", "n_predict"),
    ("num_predict", "max_new_tokens"),
    ("num_thread", "threads"),
    ("num_gpu", "gpu_layers"),
    ("temperature", "temp"),
    ("repeat_penalty", "repetition_penalty"),
];

/// Ollama's parameters that have no effect in mullama.
const UNUSED: [&str; 8] = [
    "num_keep",
    "tfs_z",
    "numa",
    "low_vram",
    "f16_kv",
    "logits_all",
    "vocab_only",
    "penalize_newline",
];

impl Parameters {
    /// The options that these parameters set, by mullama's names (`context_size` for `num_ctx`),
    /// both for loading and for generation. Parameters that mullama does not use are omitted.
    ///
    /// A value that means the default (`seed -1`, `num_gpu -1`, `num_thread 0`) becomes null.
    pub fn to_options(&self) -> Map<String, Value> {
        let used = self.iter().filter(|(name, _)| !UNUSED.contains(name));
        used.map(|(name, value)| {
            let value = match (name, value.as_i64()) {
                ("seed", Some(..0))
                | ("num_predict" | "num_thread" | "num_ctx" | "num_batch", Some(..=0))
                | ("num_gpu", Some(-1)) => Value::Null,
                ("top_k", Some(..0)) => 0.into(),
                _ => value.clone(),
            };
            let renamed = RENAMED_PARAMETERS.iter().find(|(known, _)| *known == name);
            (renamed.map_or(name, |(_, option)| option).to_owned(), value)
        })
        .collect()
    }

    /// The names of the parameters that mullama does not use.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name).filter(|name| UNUSED.contains(name))
    }

    /// The name of the parameter that sets this option: `num_ctx` for `context_size`. Names of llama.cpp and
    /// Transformers are known too.
    pub fn name_of(option: &str) -> &str {
        RENAMED_PARAMETERS
            .iter()
            .chain(&OTHER_NAMES)
            .find(|(_, known)| *known == option)
            .map_or(option, |(name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_options() {
        let mut parameters = Parameters::default();
        for (name, value) in [
            ("num_ctx", "256"),
            ("draft_num_predict", "4"),
            ("seed", "-1"),
            ("temperature", "0.5"),
            ("stop", "a"),
            ("num_keep", "24"),
            ("num_gpu", "-1"),
            ("top_k", "-1"),
        ] {
            parameters.set(name, value).unwrap();
        }
        let expected = serde_json::json!({
            "draft_max": 4, "context_size": 256, "seed": null, "n_gpu_layers": null, "temperature": 0.5, "stop": ["a"], "top_k": 0,
        });
        assert_eq!(Value::Object(parameters.to_options()), expected);
        assert_eq!(parameters.unused().collect::<Vec<_>>(), ["num_keep"]);
        assert_eq!(Parameters::name_of("max_tokens"), "num_predict");
    }
}
