//! Records `tests/vectors/demo_seeded.json`: `cargo run --release --features full --example record_draws > FILE`.
//! Run it again when the demo model changes, and check the vectors on every CPU module.

use mullama::{ContextParams, GenerateOptions, Model, ModelParams, Naming, Result, parse_options};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let context = ContextParams::default().with_n_threads(1).with_n_parallel(1);
    let model = Model::load("demo", ModelParams::default(), context)?;
    let mut cases = Vec::new();
    for (prompt, options) in [
        ("Mullama runs", json!({"seed": 1, "max_tokens": 12})),
        ("The capital of", json!({"seed": 2, "max_tokens": 12, "temperature": 1.2})),
        ("The capital of", json!({"seed": 13, "max_tokens": 12, "temperature": 1.2, "min_p": 0.1})),
        (
            "What is",
            json!({"seed": 4, "max_tokens": 12, "temperature": 1.5, "top_k": 5, "min_p": 0}),
        ),
        ("Once", json!({"seed": 5, "max_tokens": 12, "temperature": 1.0, "repeat_penalty": 1.3})),
        ("Hello", json!({"seed": 6, "max_tokens": 12, "mirostat": 2, "mirostat_tau": 3.0})),
    ] {
        let mut parsed = GenerateOptions::default();
        let Value::Object(arguments) = options.clone() else { unreachable!("written above") };
        parse_options(&mut [&mut parsed], arguments, Naming::Snake)?;
        let completion = model.generate(prompt, &parsed)?;
        cases.push(json!({
            "prompt": prompt,
            "options": options,
            "tokens": completion.tokens,
            "text": completion.text,
        }));
    }
    let lines: Vec<_> = cases.iter().map(|case| format!(" {case}")).collect();
    println!("[\n{}\n]", lines.join(",\n"));
    Ok(())
}
