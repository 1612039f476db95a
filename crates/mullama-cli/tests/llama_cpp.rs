//! Command lines of llama.cpp and `ik_llama.cpp`, run with the demo model.

mod home;

use std::fs;

use home::{Home, checked, demo};
use serde_json::Value;

const QUESTION: &str = "What is the capital of France?";
const PARIS: &str = "The capital of France is Paris.\n";

/// The command's output for a line, in which `Q` stands for a question and `M` for the path of the
/// demo model.
fn answer(home: &Home, line: &str) -> (String, String) {
    let (model, draft) = (demo(), demo().with_file_name("draft.gguf"));
    let words: Vec<_> = line
        .split(' ')
        .map(|word| match word {
            "Q" => QUESTION,
            "M" => model.to_str().unwrap(),
            "D" => draft.to_str().unwrap(),
            word => word,
        })
        .collect();
    let words = [&["run"], &words[..]].concat();
    checked(&home.mullama(&words).output().unwrap(), 0)
}

#[test]
fn llama_cpp_command_lines_run() {
    let home = Home::new();
    fs::write(home.path().join("prompt.txt"), format!("{QUESTION}\n")).unwrap();
    fs::write(home.path().join("system.txt"), "Be short.").unwrap();
    for line in [
        "-m M --temp 0 -p Q",
        "-m M -ngl 99 -c 2048 -fa --temp 0 -p Q",
        "-m M -fa Q --temp 0",
        "-m M -md D --draft-max 6 -ngld 0 --temp 0 -p Q",
        "-m M --draft-model D --draft-mode model --draft-p-min 0.5 --temp 0 -p Q",
        "-m M -ngl 0 -c 512 -t 2 -tb 2 -b 256 -ub 128 --temp 0 -n 64 -p Q",
        "-m M -fa on -ctk q8_0 -ctv q8_0 --temp 0 -p Q",
        "-m M -ctk f32 --temp 0 -s 1 --no-mmap Q",
        "-m M --jinja -st --simple-io --no-display-prompt --log-disable --temp 0 -f prompt.txt",
        "-m M --mmap -np 2 -cb --no-warmup --temp 0 -n -1 -s -1 -p Q",
        "-m M -ot ffn_.*=CPU,attn_(q|k)=CPU --temp 0 -p Q",
        "-m M -cmoe -ncmoe 2 -sm layer -mg 0 --temp 0 -p Q",
        "-m M -rtr -fmoe -mla 2 -amb 512 -ger -grt q8_0 --temp 0 -p Q",
        "-m M -ngl 999 -sm graph -fa -ts 3,1 --max-gpu 2 --temp 0 -p Q",
        "-m M -cuda graphs=0,fusion=1,offload-batch-size=64 --temp 0 -p Q",
        "-m M --prompt-cache cache.bin --top_k 40 --repeat_penalty 1.0 --temp 0 -p Q",
        "-hf demo Q --temp 0 --no-pull -m M",
    ] {
        if line.starts_with("-hf") {
            // Two models are an error.
            let words: Vec<_> = line.split(' ').collect();
            assert!(home.stderr_of(2, &[&["run"], &words[..]].concat()).contains("given twice"));
            continue;
        }
        assert_eq!(answer(&home, line).0, PARIS, "{line}");
    }
    let (_, err) =
        answer(&home, "-m M -rtr -fmoe -mla 2 -amb 512 -cnv -sysf system.txt --temp 0 -p Q");
    for flag in ["-fmoe", "-mla", "-amb", "-cnv"] {
        assert!(err.contains(&format!("note: {flag} has no effect: ")), "{flag}: {err}");
    }
    assert!(!err.contains("-rtr") && !err.contains("-sysf"), "{err}");
    for (settings, said) in [
        ("fa-offset=1.0", "llama.cpp has no such setting"),
        ("graph=0", "did you mean `graphs`?"),
        ("graphs", "`graphs` is not NAME=VALUE"),
    ] {
        let told = home.stderr_of(2, &["run", "demo", "--cuda", settings, "hi"]);
        assert!(told.contains(said), "{settings}: {told}");
    }
}

#[test]
fn schemas_grammars_escapes_and_raw_prompts_match_llama_cpp() {
    let home = Home::new();
    let schema = "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[1]}},\"required\":[\"a\"],\"additionalProperties\":false}";
    let (out, _) = answer(&home, &format!("-m M --temp 0 -j {schema} -p Q"));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), serde_json::json!({"a": 1}));
    fs::write(home.path().join("schema.json"), schema).unwrap();
    let (out, _) = answer(&home, "-m M --temp 0 -jf schema.json -p Q");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), serde_json::json!({"a": 1}));
    fs::write(home.path().join("g.gbnf"), "root ::= \"yes\"\n").unwrap();
    assert_eq!(answer(&home, "-m M --grammar-file g.gbnf -p Q").0, "yes\n");
    // Raw text is continued, and its tokens are counted: an escape sequence is one character.
    let count = |line: &str| {
        let (_, err) = answer(&home, line);
        let row = err.lines().find(|row| row.starts_with("prompt eval count:")).unwrap().to_owned();
        row.split_whitespace().nth(3).unwrap().parse::<u32>().unwrap()
    };
    let escaped = count("-m M -no-cnv -v -n 1 -p a\\nb");
    assert_eq!(escaped, count("-m M --raw -v -n 1 -- a\nb"));
    assert!(escaped < count("-m M --raw --no-escape -v -n 1 -p a\\nb"));
}

#[test]
fn patterns_that_match_nothing_are_refused() {
    let home = Home::new();
    let err = home.stderr_of(2, &["run", "demo", "-ot", "ffn_upp=CPU", "hi"]);
    assert!(
        err.contains("`ffn_upp` matches no tensor") && err.contains("blk.0.ffn_up.weight"),
        "{err}"
    );
    let err = home.stderr_of(2, &["plan", "demo", "-ot", "attn=CPU,exps=CPU"]);
    assert!(
        err.contains("`exps` matches no tensor") && err.contains("not a mixture of experts"),
        "{err}"
    );
}

#[test]
fn context_size_0_is_the_training_context() {
    let home = Home::new();
    assert!(
        home.stdout_of(&["plan", "demo", "-c", "0", "--summary"])
            .contains("a context of 2048 tokens")
    );
    assert_eq!(answer(&home, "-m M -c 0 --temp 0 -p Q").0, PARIS);
}
