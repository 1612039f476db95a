//! `mullama show`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use mullama::{Error, ErrorKind, GgufHeader, MetadataValue, resolve};

use crate::failure::Failure;
use crate::terminal::{bytes, table};

/// Longer metadata values are cut in the listing; `--json` has them whole.
const LONGEST_VALUE: usize = 60;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let source = arguments.get_one::<String>("model").expect("the parser requires it");
    let path = resolve(source)?;
    let header = GgufHeader::read(&path)?;
    let mut out = stdout().lock();
    if arguments.get_flag("json") {
        let json = serde_json::to_string_pretty(&header)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
        writeln!(out, "{json}")?;
    } else if arguments.get_flag("template") {
        let template = header.text("tokenizer.chat_template").ok_or_else(|| {
            Error::new(ErrorKind::Template, format!("{source} has no chat template"))
        })?;
        writeln!(out, "{template}")?;
    } else if arguments.get_flag("tensors") {
        out.write_all(tensors(&header).as_bytes())?;
    } else {
        out.write_all(summary(&header).as_bytes())?;
    }
    Ok(())
}

fn summary(header: &GgufHeader) -> String {
    let parameters: u64 =
        header.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum();
    let number = |key: &str| header.architecture_number(key).map(|number| number.to_string());
    let facts = [
        ("name", header.text("general.name").map(str::to_owned)),
        ("architecture", header.text("general.architecture").map(str::to_owned)),
        ("parameters", Some(parameters.to_string())),
        ("size", Some(bytes(header.file_size))),
        ("layers", number("block_count")),
        ("context length", number("context_length")),
        ("embedding length", number("embedding_length")),
        ("tensors", Some(header.tensors.len().to_string())),
        ("license", header.text("general.license").map(str::to_owned)),
    ];
    let facts: Vec<_> =
        facts.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect();
    let metadata: Vec<_> = header
        .metadata
        .iter()
        .map(|(key, value)| vec![key.clone(), shorten(&shown(value))])
        .collect();
    format!("{}\n{}", table(&["MODEL", ""], &facts), table(&["METADATA", ""], &metadata))
}

fn tensors(header: &GgufHeader) -> String {
    let rows: Vec<_> = header
        .tensors
        .iter()
        .map(|tensor| {
            let shape: Vec<_> = tensor.shape.iter().map(u64::to_string).collect();
            vec![tensor.name.clone(), tensor.ty.clone(), shape.join(" x "), bytes(tensor.size)]
        })
        .collect();
    table(&["TENSOR", "TYPE", "SHAPE", "SIZE"], &rows)
}

fn shown(value: &MetadataValue) -> String {
    match value {
        MetadataValue::Bool(value) => value.to_string(),
        MetadataValue::Int(value) => value.to_string(),
        MetadataValue::Uint(value) => value.to_string(),
        MetadataValue::Float(value) => value.to_string(),
        MetadataValue::Text(value) => value.clone(),
        MetadataValue::Array { length } => format!("[{length} values]"),
        _ => String::new(),
    }
}

fn shorten(text: &str) -> String {
    let line = text.replace('\n', "\\n");
    match line.char_indices().nth(LONGEST_VALUE) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}
