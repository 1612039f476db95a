//! `mullama plan`

use std::io::{IsTerminal as _, stderr};

use clap::ArgMatches;
use mullama::{
    Error, ErrorKind, Naming, Plan, PlanOptions, PlanSource, Prediction, Shape, Sweep, Verdict,
    calibrate, plan, sweep,
};
use mullama_base::{units, wrapped};
use serde_json::{Map, Value, json};

use super::text;
use crate::failure::Failure;
use crate::options::read_plan;
use crate::plot;
use crate::terminal::{print, print_message, print_progress, table, width};

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    if arguments.get_flag("calibrate") {
        let shown = stderr().is_terminal();
        let measured = calibrate(|what, done| {
            if shown {
                print_progress(format_args!("measuring {what} {:.0} %", done * 100.0));
            }
        })?;
        if shown {
            print_progress("");
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
    let devices = arguments.get_many::<String>("device").into_iter().flatten();
    let devices: Vec<_> = devices.flat_map(|devices| split_devices(devices)).collect();
    let all = arguments.get_flag("all");
    let listed = |devices: &[&str]| -> Result<PlanOptions, Error> {
        let mut given = given.clone();
        if !devices.is_empty() {
            given.insert("devices".to_owned(), devices.into());
        }
        Ok(PlanOptions::parse(given, Naming::Snake)?.with_naming(Naming::Flag))
    };
    if let Some(machines) = arguments.get_many::<String>("compare") {
        let mut plans = Vec::new();
        for machine in machines {
            let devices: Vec<_> = machine.split('+').map(str::trim).collect();
            plans.push((machine.as_str(), plan(source.clone(), &listed(&devices)?)?));
        }
        let plans: Vec<_> = plans.iter().map(|(machine, plan)| (*machine, plan)).collect();
        // The user named these machines, so show all of them.
        return print_comparison("MACHINE", &plans, true, arguments.get_flag("json"));
    }
    let devices: Vec<_> = devices.iter().map(String::as_str).collect();
    if let Some(what) = arguments.get_one::<Sweep>("sweep") {
        let plans = sweep(source, &listed(&devices)?, *what)?;
        if let Some(file) = arguments.get_one::<String>("svg") {
            plot::write(file, *what, &plans)?;
        }
        let plans: Vec<_> = plans.iter().map(|(setting, plan)| (setting.as_str(), plan)).collect();
        return print_comparison(plot::name(*what), &plans, all, arguments.get_flag("json"));
    }
    let options = listed(&devices)?;
    if arguments.get_flag("summary") {
        let plan = plan(source, &options.with_alternatives(false))?;
        print(format_args!("{}\n", plan.summary()))?;
        return fail_unless_one_fits([&plan]);
    }
    let plan = plan(source, &options)?;
    if arguments.get_flag("json") {
        print(format_args!("{:#}\n", json!(plan)))?;
    } else {
        let width = width();
        print(plan.text(width, all))?;
        if arguments.get_flag("explain") {
            let reasons = format!("\n{}", plan.explain());
            print(width.map_or_else(|| reasons.clone(), |width| wrapped(&reasons, width)))?;
        }
    }
    fail_unless_one_fits([&plan])
}

/// Splits the devices of a flag at commas. A part with `=` belongs to the device before it.
fn split_devices(text: &str) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for part in text.split(',') {
        match devices.last_mut() {
            Some(last) if part.contains('=') => {
                last.push(',');
                last.push_str(part);
            }
            _ => devices.push(part.trim().to_owned()),
        }
    }
    devices
}

/// Succeeds if at least one plan fits.
fn fail_unless_one_fits<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> Result<(), Failure> {
    if plans.into_iter().any(|plan| plan.fits) {
        Ok(())
    } else {
        Err(Failure::Told(ErrorKind::DoesNotFit))
    }
}

/// Prints plans that differ in one setting. Those that do not fit are omitted, unless `all` is set.
fn print_comparison(
    what: &str,
    plans: &[(&str, &Plan)],
    all: bool,
    as_json: bool,
) -> Result<(), Failure> {
    if as_json {
        let plans: Map<String, Value> =
            plans.iter().map(|(setting, plan)| ((*setting).to_owned(), json!(plan))).collect();
        print(format_args!("{:#}\n", Value::from(plans)))?;
    } else {
        let shown: Vec<_> = plans.iter().filter(|(_, plan)| all || plan.fits).copied().collect();
        print(rows(what, &shown))?;
        let hidden = plans.len() - shown.len();
        if hidden > 0 {
            print_message(format_args!(
                "{hidden} settings do not fit and are not listed; use --all"
            ));
        }
    }
    fail_unless_one_fits(plans.iter().map(|(_, plan)| *plan))
}

/// Formats plans as table rows, starting with the setting that differs.
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
                plan.verdict.map_or("-", Verdict::name).replace('_', " "),
            ]
        })
        .collect();
    let header = [
        what,
        "FITS",
        "GPU LAYERS",
        "CONTEXT",
        "ON GPUS",
        "IN MEMORY",
        "TOKENS/S",
        "PROMPT/S",
        "GOOD FOR",
    ];
    table(&header, &rows)
}
