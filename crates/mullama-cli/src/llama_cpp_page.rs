//! Generates the tables of llama.cpp's flags in `docs/coming-from/llama-cpp.md`.

use std::fmt::Write as _;

use crate::llama_cpp::{self, Flag, FlagMapping, GROUPS};
use crate::reference::{code, escaped, write_or_check};

/// Start and end marks of the tables in the page.
const TABLE_START: &str = "<!-- table: llama-cpp-flags -->\n";
const TABLE_END: &str = "<!-- end -->";

/// The equivalent of a flag in mullama, as a table cell.
fn describe_flag(flag: &Flag) -> String {
    let same = |ours: &str| flag.names.iter().any(|name| name.strip_prefix("--") == Some(ours));
    let ours = |ours: &str| code(&format!("--{ours}"));
    match &flag.meaning {
        FlagMapping::Model(_) => format!("the model: {}", code("mullama run MODEL")),
        FlagMapping::File => {
            format!("the file in the repository: {}", code("hf.co/USER/REPO:FILE"))
        }
        FlagMapping::Ours(name) | FlagMapping::Converted(name, _)
            if same(name) && flag.names.len() == 1 =>
        {
            "the same flag".to_owned()
        }
        FlagMapping::Ours(name)
        | FlagMapping::Converted(name, _)
        | FlagMapping::Fixed(name, "") => ours(name),
        FlagMapping::Rewritten(name, _) => format!("{}, with a converted value", ours(name)),
        FlagMapping::Fixed(name, value) => ours(&format!("{name}={value}")),
        FlagMapping::Several(_, _) => format!("{} and {}", ours("use-mmap"), ours("use-mlock")),
        FlagMapping::Read(name) => format!("{}, with the text of the file", ours(name)),
        FlagMapping::Half(name, index) => {
            format!("{}: the {} of two types", ours(name), ["first", "second"][*index])
        }
        FlagMapping::Entries(name, _) => format!("{}, as JSON", ours(name)),
        FlagMapping::Already(reason) => format!("always or by default: {}", escaped(reason)),
        FlagMapping::Unused(reason) => format!("no effect: {}", escaped(reason)),
        FlagMapping::Refused(reason) => format!("rejected: {}", escaped(reason)),
        FlagMapping::Server => format!("rejected: {}", escaped(llama_cpp::SERVER)),
        FlagMapping::Tool => format!("rejected: {}", escaped(llama_cpp::TOOL)),
    }
}

#[test]
fn llama_cpp_reference_page_matches_the_flag_table() {
    let mut tables = String::new();
    for (heading, flags) in GROUPS {
        let _ = write!(tables, "\n### {heading}\n\n| llama.cpp | mullama |\n| --- | --- |\n");
        for flag in *flags {
            let names: Vec<_> = flag.names.iter().map(|name| code(name)).collect();
            let _ = writeln!(tables, "| {} | {} |", names.join(", "), describe_flag(flag));
        }
    }
    write_or_check("coming-from/llama-cpp.md", |page| {
        let (before, rest) = page.split_once(TABLE_START).expect("the page has the table");
        let (_, after) = rest.split_once(TABLE_END).expect("the table ends");
        format!("{before}{TABLE_START}{tables}\n{TABLE_END}{after}")
    });
}
