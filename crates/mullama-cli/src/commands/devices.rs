//! `mullama devices`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use mullama::{gpu, rpc};
use mullama_base::units;
use serde_json::json;

use crate::failure::Failure;
use crate::terminal::table;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    for worker in arguments.get_many::<String>("rpc").into_iter().flatten() {
        rpc::connect(worker)?;
    }
    let (devices, backends) = (gpu::devices(), gpu::backends());
    let mut out = stdout().lock();
    if arguments.get_flag("json") {
        let json = json!({ "devices": devices, "backends": backends });
        writeln!(out, "{json:#}")?;
        return Ok(());
    }
    let rows: Vec<_> = devices
        .iter()
        .map(|device| {
            vec![
                device.name.clone(),
                device.backend.clone(),
                units::binary(device.memory_free),
                units::binary(device.memory_total),
                device.description.clone(),
            ]
        })
        .collect();
    out.write_all(table(&["NAME", "BACKEND", "FREE", "TOTAL", "DESCRIPTION"], &rows).as_bytes())?;
    let failed: Vec<_> = backends.iter().filter(|backend| !backend.loaded).collect();
    if !failed.is_empty() {
        writeln!(out, "\nNot loaded:")?;
        for backend in failed {
            let reason = backend.reason.as_deref().unwrap_or_default();
            writeln!(out, "  {} ({}): {reason}", backend.name, backend.path.display())?;
        }
    }
    Ok(())
}
