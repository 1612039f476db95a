//! `mullama devices`

use clap::ArgMatches;
use mullama::{gpu, rpc};
use mullama_base::units;
use serde_json::json;

use crate::failure::Failure;
use crate::terminal::{print, table};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    for worker in arguments.get_many::<String>("rpc").into_iter().flatten() {
        rpc::connect(worker)?;
    }
    let (devices, backends) = (gpu::devices(), gpu::backends());
    if arguments.get_flag("json") {
        let json = json!({ "devices": devices, "backends": backends });
        return Ok(print(format_args!("{json:#}\n"))?);
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
    print(table(&["NAME", "BACKEND", "FREE", "TOTAL", "DESCRIPTION"], &rows))?;
    for device in &devices {
        if let Some(kernels) = &device.kernels {
            print(format_args!("\nKernels of {}: {kernels}\n", device.name))?;
        }
    }
    let failed: Vec<_> = backends.iter().filter(|backend| !backend.loaded).collect();
    if !failed.is_empty() {
        print("\nNot loaded:\n")?;
        for backend in failed {
            let reason = backend.reason.as_deref().unwrap_or_default();
            print(format_args!("  {} ({}): {reason}\n", backend.name, backend.path.display()))?;
        }
    }
    Ok(())
}
