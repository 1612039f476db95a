//! `mullama plan`

use std::io::{Write as _, stdout};

use clap::ArgMatches;
use mullama::{Error, Naming, Plan, PlanOptions, plan};
use serde_json::{Map, Value, json};

use super::text;
use crate::failure::Failure;
use crate::options::read_plan;
use crate::terminal::{bytes, table};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let source = text(arguments, "model");
    let given = read_plan(arguments)?;
    let devices: Vec<_> = arguments.get_many::<String>("device").into_iter().flatten().collect();
    let listed = |devices: &[&str]| -> Result<PlanOptions, Error> {
        let mut given = given.clone();
        if !devices.is_empty() {
            given.insert("devices".to_owned(), devices.into());
        }
        PlanOptions::parse(given, Naming::Snake)
    };
    let mut out = stdout().lock();
    if let Some(machines) = arguments.get_many::<String>("compare") {
        let mut plans = Vec::new();
        for machine in machines {
            let devices: Vec<_> = machine.split('+').map(str::trim).collect();
            plans.push((machine.as_str(), plan(source, &listed(&devices)?)?));
        }
        return if arguments.get_flag("json") {
            let plans: Map<String, Value> =
                plans.iter().map(|(machine, plan)| ((*machine).to_owned(), json!(plan))).collect();
            Ok(writeln!(out, "{:#}", Value::from(plans))?)
        } else {
            Ok(out.write_all(comparison(&plans).as_bytes())?)
        };
    }
    let devices: Vec<_> = devices.iter().map(|device| device.as_str()).collect();
    let plan = plan(source, &listed(&devices)?)?;
    if arguments.get_flag("json") {
        writeln!(out, "{:#}", json!(plan))?;
    } else if arguments.get_flag("explain") {
        write!(out, "{plan}\n{}", plan.explain())?;
    } else {
        write!(out, "{plan}")?;
    }
    Ok(())
}

/// Plans side by side, one a row.
fn comparison(plans: &[(&str, Plan)]) -> String {
    let rows: Vec<_> = plans
        .iter()
        .map(|(machine, plan)| {
            let used = plan.devices.iter().map(|device| bytes(device.total()));
            vec![
                (*machine).to_owned(),
                if plan.fits { "yes" } else { "no" }.to_owned(),
                format!("{} of {}", plan.n_gpu_layers, plan.n_layers),
                plan.context_size.to_string(),
                used.collect::<Vec<_>>().join(" + "),
                bytes(plan.host.total()),
            ]
        })
        .collect();
    table(&["MACHINE", "FITS", "GPU LAYERS", "CONTEXT", "ON GPUS", "IN MEMORY"], &rows)
}
