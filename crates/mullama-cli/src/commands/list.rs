//! `mullama list`

use std::io::{IsTerminal as _, stderr};
use std::time::UNIX_EPOCH;

use clap::ArgMatches;
use mullama::hub::{BUILT_IN, Entry, Origin, Store};
use mullama_base::units;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::format::format_age;
use crate::terminal::{print, print_message, table};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let entries = Store::open()?.list()?;
    let is_empty = entries.is_empty();
    let mut rows: Vec<_> = entries.iter().map(Row::of).chain(Row::built_in()).collect();
    if let Some(prefix) = arguments.get_one::<String>("name") {
        let prefix = prefix.to_lowercase();
        rows.retain(|row| row.name.to_lowercase().starts_with(&prefix));
    }
    if arguments.get_flag("json") {
        let models: Vec<_> = rows.iter().map(Row::as_json).collect();
        print(format_args!("{:#}\n", json!({ "models": models })))?;
    } else {
        print(as_table(&rows))?;
        if is_empty && stderr().is_terminal() {
            print_message("`mullama pull NAME` downloads a model");
        }
    }
    Ok(())
}

/// A model that can be run.
struct Row {
    name: String,
    id: String,
    size: u64,
    /// When it was stored, in seconds since 1970 and as text.
    modified: (u64, String),
    source: &'static str,
}

impl Row {
    fn of(entry: &Entry) -> Self {
        let seconds = entry.modified.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self {
            name: entry.name.to_string(),
            id: entry.id.clone(),
            size: entry.size,
            modified: (seconds, format_age(entry.modified)),
            source: entry.origin.name(),
        }
    }

    /// The built-in model, if its file is available.
    fn built_in() -> Option<Self> {
        let file = std::fs::metadata(mullama::resolve(BUILT_IN).ok()?).ok()?;
        Some(Self {
            name: BUILT_IN.to_owned(),
            id: "-".to_owned(),
            size: file.len(),
            modified: (0, "built in".to_owned()),
            source: "built-in",
        })
    }

    fn as_json(&self) -> Value {
        json!({
            "name": self.name,
            "id": self.id,
            "size": self.size,
            "modified": self.modified.0,
            "source": self.source,
        })
    }
}

/// Formats a table. The column SOURCE is shown only if there are models of other programs.
fn as_table(rows: &[Row]) -> String {
    let foreign = |row: &Row| ![Origin::Mullama.name(), "built-in"].contains(&row.source);
    let has_foreign = rows.iter().any(foreign);
    let cells = |row: &Row| {
        let mut cells = vec![
            row.name.clone(),
            row.id.clone(),
            units::decimal(row.size),
            row.modified.1.clone(),
        ];
        cells.extend(has_foreign.then(|| row.source.to_owned()));
        cells
    };
    let mut header = vec!["NAME", "ID", "SIZE", "MODIFIED"];
    header.extend(has_foreign.then_some("SOURCE"));
    table(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}
