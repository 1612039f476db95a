//! `mullama show`

use std::fmt::Write as _;

use clap::ArgMatches;
use mullama::hub::{Modelfile, Origin};
use mullama::{
    Error, ErrorKind, GgufHeader, MetadataValue, Naming, Plan, PlanOptions, ResolvedModel, plan,
};
use mullama_base::units;
use serde_json::{Map, Value};

use super::text;
use crate::failure::Failure;
use crate::source;
use crate::terminal::{print, table};

/// Longer metadata values are truncated in the listing; `--json` shows them in full.
const LONGEST_VALUE: usize = 60;

pub fn run(arguments: &ArgMatches) -> Result<(), Failure> {
    let source = text(arguments, "model");
    let found = ResolvedModel::find(source)?;
    let header = GgufHeader::read_split(&found.path)?;
    let asked = |name: &str| arguments.get_flag(name);
    let text = if asked("json") {
        json(source, &found, &header)?
    } else if asked("tensors") {
        tensors(&header)
    } else if asked("template") {
        let template = header.text("tokenizer.chat_template");
        let stored = found.stored.as_ref().and_then(|model| model.template.as_deref());
        template.or(stored).map(line).ok_or_else(|| {
            Error::new(ErrorKind::Template, format!("{source} has no chat template"))
        })?
    } else if asked("system") {
        found.system().map(line).ok_or_else(|| missing_part(source, "system message"))?
    } else if asked("license") {
        license(&found)?.as_deref().map(line).ok_or_else(|| missing_part(source, "license"))?
    } else if asked("parameters") {
        let options = parameters(&found);
        if options.is_empty() {
            return Err(missing_part(source, "parameters of its own").into());
        }
        options
    } else if asked("modelfile") {
        match &found.stored {
            Some(model) => Modelfile::of(model),
            None => Modelfile::from_model(source::from(&found)),
        }
        .to_text()?
    } else {
        format!("{}\n{}\n{}", describe_model(&found)?, local_placement(source), metadata(&header))
    };
    Ok(print(text)?)
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end_matches('\n'))
}

fn missing_part(source: &str, what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{source} has no {what}"))
}

/// The header and the store's data as JSON.
fn json(source: &str, found: &ResolvedModel, header: &GgufHeader) -> Result<String, Error> {
    let internal = |error: serde_json::Error| Error::new(ErrorKind::Internal, error.to_string());
    let mut value: Map<String, Value> =
        serde_json::to_value(header).and_then(serde_json::from_value).map_err(internal)?;
    if let Some(model) = &found.stored {
        let stored = serde_json::json!({
            "name": model.name.to_string(),
            "id": model.id,
            "source": model.origin.name(),
            "size": model.size,
            "parameters": model.parameters,
            "system": model.system,
            "template": model.template,
            "licenses": model.licenses,
            "messages": model.messages,
        });
        value.insert("store".to_owned(), stored);
    }
    if let Ok(plan) = plan_locally(source) {
        value.insert("here".to_owned(), serde_json::to_value(plan).map_err(internal)?);
    }
    Ok(format!("{:#}\n", Value::Object(value)))
}

/// The parameters stored with a model, in the syntax of a Modelfile.
fn parameters(found: &ResolvedModel) -> String {
    let parameters = found.stored.iter().flat_map(|model| model.parameters.iter());
    rows(parameters)
}

/// Options and their values. Null means the default and is omitted.
pub fn options(values: &Map<String, Value>) -> String {
    rows(
        values
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), value)),
    )
}

fn rows<'a>(values: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut text = String::new();
    for (name, value) in values {
        for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
            // Print 0 instead of 0.0.
            let whole = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0);
            let value = whole.map_or_else(|| value.to_string(), |number| number.to_string());
            let _ = writeln!(text, "{name:<24}{value}");
        }
    }
    text
}

/// The licence: from the store, else from the file.
pub fn license(found: &ResolvedModel) -> Result<Option<String>, Error> {
    let stored = found.stored.as_ref().map(|model| model.licenses.join("\n\n"));
    if let Some(stored) = stored.filter(|text| !text.is_empty()) {
        return Ok(Some(stored));
    }
    Ok(GgufHeader::read_metadata(&found.path)?.text("general.license").map(str::to_owned))
}

/// The description of a model.
pub fn describe_model(found: &ResolvedModel) -> Result<String, Error> {
    let header = GgufHeader::read_split(&found.path)?;
    let stored = found.stored.as_ref();
    let weights: u64 =
        header.tensors.iter().map(|tensor| tensor.shape.iter().product::<u64>()).sum();
    let named = || stored.map(|model| model.config.file_type.clone()).filter(|ty| !ty.is_empty());
    let number = |key: &str| header.architecture_number(key).map(|number| number.to_string());
    let license = license(found)?;
    let facts = [
        ("name", header.text("general.name").map(shorten)),
        ("architecture", header.text("general.architecture").map(shorten)),
        ("parameters", Some(units::approximate(weights))),
        ("quantization", header.quantisation().map(str::to_owned).or_else(named)),
        ("size", Some(units::binary(header.file_size))),
        ("layers", number("block_count")),
        ("context length", number("context_length")),
        ("embedding length", number("embedding_length")),
        ("tensors", Some(header.tensors.len().to_string())),
        ("license", license.map(|text| shorten(text.lines().next().unwrap_or_default()))),
        ("stored as", stored.map(|model| model.name.to_string())),
        ("id", stored.map(|model| model.id.clone())),
        (
            "source",
            stored
                .filter(|model| model.origin != Origin::Mullama)
                .map(|model| model.origin.name().to_owned()),
        ),
        ("system", found.system().map(shorten)),
    ];
    let facts: Vec<_> =
        facts.into_iter().filter_map(|(name, value)| Some(vec![name.to_owned(), value?])).collect();
    let mut text = table(&["MODEL", ""], &facts);
    let options = parameters(found);
    if !options.is_empty() {
        text += "\nPARAMETERS\n";
        text += &options;
    }
    Ok(text)
}

/// The placement of the model on this machine, with its own options.
fn local_placement(source: &str) -> String {
    let plan = match plan_locally(source) {
        Ok(plan) => plan,
        // A model that cannot be planned can still be described.
        Err(error) => {
            return table(&["HERE", ""], &[vec!["cannot run".into(), error.to_string()]]);
        }
    };
    let fits = match &plan.refusal {
        Some(reason) => format!("no: {}", reason.replace('\n', "; ")),
        None => "yes".into(),
    };
    let mut rows =
        vec![vec!["fits".into(), fits], vec!["context".into(), plan.context_size.to_string()]];
    if !plan.devices.is_empty() {
        let layers = format!("{} of {}", plan.n_gpu_layers, plan.n_layers);
        rows.push(vec!["layers on GPUs".into(), layers]);
    }
    if let (Some(verdict), Some(predicted)) = (plan.verdict, &plan.predicted) {
        let speed = format!("{:.1} tokens/s: {verdict}", predicted.decode_tps);
        rows.push(vec!["predicted".into(), speed]);
    }
    for device in plan.devices.iter().chain([&plan.host]) {
        let needed = device.weights + device.kv + device.compute;
        let of =
            format!("{} of {} that are free", units::binary(needed), units::binary(device.free));
        rows.push(vec![format!("memory of {}", device.name), of]);
    }
    rows.extend(plan.advice.iter().map(|advice| vec!["advice".into(), advice.clone()]));
    table(&["HERE", ""], &rows)
}

fn plan_locally(source: &str) -> Result<Plan, Error> {
    plan(source, &PlanOptions::default().with_alternatives(false).with_naming(Naming::Flag))
}

fn metadata(header: &GgufHeader) -> String {
    let metadata: Vec<_> = header
        .metadata
        .iter()
        .map(|(key, value)| vec![key.clone(), shorten(&format_value(value))])
        .collect();
    table(&["METADATA", ""], &metadata)
}

fn tensors(header: &GgufHeader) -> String {
    let rows: Vec<_> = header
        .tensors
        .iter()
        .map(|tensor| {
            let shape: Vec<_> = tensor.shape.iter().map(u64::to_string).collect();
            vec![
                tensor.name.clone(),
                tensor.ty.to_string(),
                shape.join(" x "),
                units::binary(tensor.size),
            ]
        })
        .collect();
    table(&["TENSOR", "TYPE", "SHAPE", "SIZE"], &rows)
}

fn format_value(value: &MetadataValue) -> String {
    match value {
        MetadataValue::Bool(value) => value.to_string(),
        MetadataValue::Int(value) => value.to_string(),
        MetadataValue::Uint(value) => value.to_string(),
        MetadataValue::Float(value) => value.to_string(),
        MetadataValue::Text(value) => value.clone(),
        MetadataValue::Array { length, .. } => format!("[{length} values]"),
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
