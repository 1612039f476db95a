//! `mullama list`

use std::io::{IsTerminal as _, stderr};

use clap::ArgMatches;
use mullama::hub::{Entry, Origin, Store};
use mullama_base::units;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::format::ago;
use crate::terminal::{print, table, tell};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let mut entries = Store::open()?.list()?;
    if let Some(prefix) = arguments.get_one::<String>("name") {
        let prefix = prefix.to_lowercase();
        entries.retain(|entry| entry.name.to_string().to_lowercase().starts_with(&prefix));
    }
    if arguments.get_flag("json") {
        let models: Vec<_> = entries.iter().map(as_json).collect();
        print(format_args!("{:#}\n", json!({ "models": models })))?;
    } else {
        print(as_table(&entries))?;
        if entries.is_empty() && stderr().is_terminal() {
            tell("none yet: `mullama pull NAME` downloads one, `mullama run demo` needs none");
        }
    }
    Ok(())
}

/// The modification time is in seconds since 1970.
fn as_json(entry: &Entry) -> Value {
    let modified = entry.modified.duration_since(std::time::UNIX_EPOCH);
    json!({
        "name": entry.name.to_string(),
        "id": entry.id,
        "size": entry.size,
        "modified": modified.map_or(0, |time| time.as_secs()),
        "source": entry.origin.name(),
    })
}

/// The source stands there only where there are several.
fn as_table(entries: &[Entry]) -> String {
    let foreign = entries.iter().any(|entry| entry.origin != Origin::Mullama);
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let mut row = vec![
                entry.name.to_string(),
                entry.id.clone(),
                units::decimal(entry.size),
                ago(entry.modified),
            ];
            row.extend(foreign.then(|| entry.origin.name().to_owned()));
            row
        })
        .collect();
    let mut header = vec!["NAME", "ID", "SIZE", "MODIFIED"];
    header.extend(foreign.then_some("SOURCE"));
    table(&header, &rows)
}
