//! `mullama plan`

use std::io::{IsTerminal as _, stderr};

use clap::ArgMatches;
use mullama::{
    Error, Naming, Plan, PlanOptions, PlanSource, Prediction, Shape, Sweep, calibrate, plan, sweep,
};
use mullama_base::units;
use serde_json::{Map, Value, json};

use super::text;
use crate::failure::Failure;
use crate::options::read_plan;
use crate::plot;
use crate::terminal::{print, table, tell_in_place};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    if arguments.get_flag("calibrate") {
        let shown = stderr().is_terminal();
        let measured = calibrate(|what, done| {
            if shown {
                tell_in_place(format_args!("measuring {what} {:.0} %", done * 100.0));
            }
        })?;
        if shown {
            tell_in_place("");
        }
        print(measured)?;
        if !arguments.contains_id("model") && !arguments.contains_id("shape") {
            return Ok(());
        }
    }
    let source = match arguments.get_one::<String>("shape") {
        Some(shape) => shape.parse::<Shape>()?.into(),
        None => PlanSource::from(text(arguments, "model")),
    };
    let given = read_plan(arguments)?;
    let devices: Vec<_> = arguments.get_many::<String>("device").into_iter().flatten().collect();
    let listed = |devices: &[&str]| -> Result<PlanOptions, Error> {
        let mut given = given.clone();
        if !devices.is_empty() {
            given.insert("devices".to_owned(), devices.into());
        }
        PlanOptions::parse(given, Naming::Snake)
    };
    if let Some(machines) = arguments.get_many::<String>("compare") {
        let mut plans = Vec::new();
        for machine in machines {
            let devices: Vec<_> = machine.split('+').map(str::trim).collect();
            plans.push((machine.as_str(), plan(source.clone(), &listed(&devices)?)?));
        }
        return if arguments.get_flag("json") {
            let plans: Map<String, Value> =
                plans.iter().map(|(machine, plan)| ((*machine).to_owned(), json!(plan))).collect();
            Ok(print(format_args!("{:#}\n", Value::from(plans)))?)
        } else {
            let plans: Vec<_> = plans.iter().map(|(machine, plan)| (*machine, plan)).collect();
            Ok(print(rows("MACHINE", &plans))?)
        };
    }
    let devices: Vec<_> = devices.iter().map(|device| device.as_str()).collect();
    if let Some(what) = arguments.get_one::<Sweep>("sweep") {
        let plans = sweep(source, &listed(&devices)?, *what)?;
        if let Some(file) = arguments.get_one::<String>("svg") {
            plot::write(file, *what, &plans)?;
        }
        return if arguments.get_flag("json") {
            let plans: Map<String, Value> =
                plans.iter().map(|(setting, plan)| (setting.clone(), json!(plan))).collect();
            Ok(print(format_args!("{:#}\n", Value::from(plans)))?)
        } else {
            let plans: Vec<_> =
                plans.iter().map(|(setting, plan)| (setting.as_str(), plan)).collect();
            Ok(print(rows(plot::name(*what), &plans))?)
        };
    }
    let options = listed(&devices)?;
    if arguments.get_flag("summary") {
        let plan = plan(source, &options.with_alternatives(false))?;
        return Ok(print(format_args!("{}\n", plan.summary()))?);
    }
    let plan = plan(source, &options)?;
    if arguments.get_flag("json") {
        print(format_args!("{:#}\n", json!(plan)))?;
    } else if arguments.get_flag("explain") {
        print(format_args!("{plan}\n{}", plan.explain()))?;
    } else {
        print(plan)?;
    }
    Ok(())
}

/// Plans one a row, after what differs.
fn rows(what: &str, plans: &[(&str, &Plan)]) -> String {
    let rows: Vec<_> = plans
        .iter()
        .map(|(setting, plan)| {
            let used = plan.devices.iter().map(|device| units::binary(device.total()));
            let used = used.collect::<Vec<_>>().join(" + ");
            let speed = |of: fn(&Prediction) -> f64| {
                let predicted = plan.predicted.as_ref();
                predicted
                    .map_or_else(|| "-".to_owned(), |predicted| format!("{:.1}", of(predicted)))
            };
            vec![
                (*setting).to_owned(),
                if plan.fits { "yes" } else { "no" }.to_owned(),
                format!("{} of {}", plan.n_gpu_layers, plan.n_layers),
                plan.context_size.to_string(),
                if used.is_empty() { "-".to_owned() } else { used },
                units::binary(plan.host.total()),
                speed(|predicted| predicted.decode_tps),
                speed(|predicted| predicted.prefill_tps),
            ]
        })
        .collect();
    let header =
        [what, "FITS", "GPU LAYERS", "CONTEXT", "ON GPUS", "IN MEMORY", "TOKENS/S", "PROMPT/S"];
    table(&header, &rows)
}
