//! Writes the page that has the flags of llama.cpp and what they are here, `docs/reference/llama-cpp.md`.

use std::fmt::Write as _;

use crate::llama_cpp::{self, Flag, GROUPS, Meaning};
use crate::reference::{code, escaped, write_or_check};

const HEAD: &str = r#"# Coming from llama.cpp

<!-- Written by `make reference` from the table of the command: change that, not this. -->

`mullama run` and `mullama plan` understand the command lines of llama.cpp and of ik_llama.cpp: what comes after
`llama-cli`, `llama-server` or `main` can be put after `mullama run`, or after `mullama plan` to see where the model would
go.

```bash
mullama run -m demo -ngl 99 -c 2048 -fa -ctk q8_0 -ctv q8_0 --temp 0 -p "What is the capital of France?"
mullama plan -m demo -ngl 99 -c 2048 -fa --temp 0 --port 8080
```

- A flag that changes nothing here is accepted, and a line on standard error says so with the reason. One that asks for
  what cannot be done is refused with what can be done instead. `mullama plan` passes over flags of sampling, of the
  prompt and of servers.
- A flag takes the argument after it only if it needs a value: `-fa "Hello!"` is flash attention and a prompt. A flag of
  several letters is one flag, as `-ngl`, and never a letter with its value. Flags may have `_` for `-`, and
  `--flag=value` for `--flag value`; a letter and a number need no space, as in `-c4096`.
- `-ngl` above the number of the model's layers, as 99 or 999, puts as many on GPUs as fit, and says so where these are
  not all. `-ngl -1` and `-ngl all` mean all to the letter: what does not fit is refused.
- `-ot` takes several patterns with commas between them (`-ot "exps=CPU,attn=CUDA0"`); commas in brackets belong to a
  pattern. A pattern that matches no tensor of the model is refused, with the nearest names.
- The text of `-p` and `-f` has escapes, such as `\n`, unless `--no-escape` is given. Other prompts are taken as they
  are.
- Short forms, such as `-t`, `-c` and `-ngl`, are listed with our flags in
  [Command line](command-line.md#loading).

"#;

/// What a flag is here, for a cell of a table.
fn here(flag: &Flag) -> String {
    let same = |ours: &str| flag.names.iter().any(|name| name.strip_prefix("--") == Some(ours));
    let ours = |ours: &str| code(&format!("--{ours}"));
    match &flag.meaning {
        Meaning::Model(_) => format!("the model: {}", code("mullama run MODEL")),
        Meaning::File => format!("the file of the repository: {}", code("hf.co/USER/REPO:FILE")),
        Meaning::Ours(name) | Meaning::Converted(name, _)
            if same(name) && flag.names.len() == 1 =>
        {
            "the same".to_owned()
        }
        Meaning::Ours(name) | Meaning::Converted(name, _) => ours(name),
        Meaning::Fixed(name, "") => ours(name),
        Meaning::Rewritten(name, _) => format!("{}, in its own form", ours(name)),
        Meaning::Fixed(name, value) => ours(&format!("{name}={value}")),
        Meaning::Several(_, _) => format!("{} and {}", ours("use-mmap"), ours("use-mlock")),
        Meaning::Read(name) => format!("{}, with the text of the file", ours(name)),
        Meaning::Half(name, index) => {
            format!("{}: the {} of its two types", ours(name), ["first", "second"][*index])
        }
        Meaning::Entries(name, _) => format!("{}, which takes JSON", ours(name)),
        Meaning::Already(reason) => format!("needs nothing: {}", escaped(reason)),
        Meaning::Unused(reason) => format!("changes nothing: {}", escaped(reason)),
        Meaning::Refused(reason) => format!("refused: {}", escaped(reason)),
        Meaning::Server => format!("refused: {}", escaped(llama_cpp::SERVER)),
        Meaning::Tool => format!("refused: {}", escaped(llama_cpp::TOOL)),
    }
}

#[test]
fn the_reference_page_of_llama_cpp_is_what_the_table_says() {
    let mut page = HEAD.to_owned();
    for (heading, flags) in GROUPS {
        let _ = write!(page, "## {heading}\n\n| llama.cpp | Here |\n| --- | --- |\n");
        for flag in *flags {
            let names: Vec<_> = flag.names.iter().map(|name| code(name)).collect();
            let _ = writeln!(page, "| {} | {} |", names.join(", "), here(flag));
        }
        page.push('\n');
    }
    write_or_check("llama-cpp.md", &format!("{}\n", page.trim_end()));
}
