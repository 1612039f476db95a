//! Generates the tables of llama.cpp's flags in `docs/coming-from/llama-cpp.md`.

use std::fmt::Write as _;

use crate::llama_cpp::{self, Flag, GROUPS, Meaning};
use crate::reference::{code, escaped, write_or_check};

/// Start and end marks of the tables in the page.
const START: &str = "<!-- table: llama-cpp-flags -->\n";
const END: &str = "<!-- end -->";

/// The equivalent of a flag in mullama, as a table cell.
fn here(flag: &Flag) -> String {
    let same = |ours: &str| flag.names.iter().any(|name| name.strip_prefix("--") == Some(ours));
    let ours = |ours: &str| code(&format!("--{ours}"));
    match &flag.meaning {
        Meaning::Model(_) => format!("the model: {}", code("mullama run MODEL")),
        Meaning::File => format!("the file in the repository: {}", code("hf.co/USER/REPO:FILE")),
        Meaning::Ours(name) | Meaning::Converted(name, _)
            if same(name) && flag.names.len() == 1 =>
        {
            "the same flag".to_owned()
        }
        Meaning::Ours(name) | Meaning::Converted(name, _) | Meaning::Fixed(name, "") => ours(name),
        Meaning::Rewritten(name, _) => format!("{}, with a converted value", ours(name)),
        Meaning::Fixed(name, value) => ours(&format!("{name}={value}")),
        Meaning::Several(_, _) => format!("{} and {}", ours("use-mmap"), ours("use-mlock")),
        Meaning::Read(name) => format!("{}, with the text of the file", ours(name)),
        Meaning::Half(name, index) => {
            format!("{}: the {} of two types", ours(name), ["first", "second"][*index])
        }
        Meaning::Entries(name, _) => format!("{}, as JSON", ours(name)),
        Meaning::Already(reason) => format!("always or by default: {}", escaped(reason)),
        Meaning::Unused(reason) => format!("no effect: {}", escaped(reason)),
        Meaning::Refused(reason) => format!("rejected: {}", escaped(reason)),
        Meaning::Server => format!("rejected: {}", escaped(llama_cpp::SERVER)),
        Meaning::Tool => format!("rejected: {}", escaped(llama_cpp::TOOL)),
    }
}

#[test]
fn the_reference_page_of_llama_cpp_is_what_the_table_says() {
    let mut tables = String::new();
    for (heading, flags) in GROUPS {
        let _ = write!(tables, "\n### {heading}\n\n| llama.cpp | mullama |\n| --- | --- |\n");
        for flag in *flags {
            let names: Vec<_> = flag.names.iter().map(|name| code(name)).collect();
            let _ = writeln!(tables, "| {} | {} |", names.join(", "), here(flag));
        }
    }
    write_or_check("coming-from/llama-cpp.md", |page| {
        let (before, rest) = page.split_once(START).expect("the page has the table");
        let (_, after) = rest.split_once(END).expect("the table ends");
        format!("{before}{START}{tables}\n{END}{after}")
    });
}
