//! Device descriptions, and their conversion to simulated devices for dry runs.

use std::str::FromStr;

use mullama_base::Text;
use mullama_base::units::{self, invalid_size, parse_bandwidth, parse_compute, size};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Map, Value};

use super::hardware;
use crate::device::{DeviceSet, NO_DEVICE, SimulatedGpu, check_backend};
use crate::{Error, Result};

/// Smallest accepted memory size given as a number. Smaller numbers are rejected, since the unit was probably
/// forgotten.
pub(super) const SMALLEST_MEMORY: u64 = 1 << 20;

/// Maximum number of devices, which is that of the engine (`llama_max_devices`).
const MAX_DEVICES: usize = 16;

/// A described GPU, which need not exist.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DeviceSpec {
    /// The name of the card: `RTX 4090`.
    pub description: String,
    /// Memory size in bytes, all of it free.
    pub memory: u64,
    /// The backend that drives it, by its name in `MULLAMA_BACKEND`: `cuda`, `vulkan`. Backends differ in alignment and
    /// padding, and not all of them can compute and copy at the same time.
    pub backend: String,
    /// Peak memory bandwidth in bytes per second, if known.
    pub bandwidth: Option<f64>,
    /// Dense 16-bit operations per second, if known.
    pub compute: Option<f64>,
    /// Bandwidth of the link to system RAM in bytes per second, if known.
    pub link: Option<f64>,
    /// Total size in bytes of the memory that it shares with the CPU, if it does.
    pub shared_memory: Option<u64>,
    /// The source of its figures, if they are published.
    pub source: Option<String>,
}

impl DeviceSpec {
    /// A GPU with the given memory size in bytes, driven by CUDA.
    pub fn new(memory: u64) -> Self {
        Self {
            description: format!("simulated GPU of {}", units::memory(memory)),
            memory,
            backend: "cuda".to_owned(),
            bandwidth: None,
            compute: None,
            link: hardware::link("PCIe 4.0 x16"),
            shared_memory: None,
            source: None,
        }
    }

    /// The simulated device for dry runs.
    pub(super) fn simulated(&self) -> SimulatedGpu {
        SimulatedGpu {
            backend: self.backend.clone(),
            description: self.description.clone(),
            memory: self.memory,
        }
    }

    /// A card by name: `RTX 4090`, `RTX 4060 Ti 16GB`, `M4 Max 64GB`.
    ///
    /// Names and figures are in `data/hardware.json`, with sources. An unknown name is an error that suggests similar
    /// names.
    pub fn preset(name: &str) -> Result<Self> {
        let (preset, memory) = hardware::find(name)?;
        let gpu = if preset.unified { working_set(memory) } else { memory };
        Ok(Self {
            description: format!("{} ({})", preset.name, units::memory(memory)),
            backend: preset.backend.clone(),
            bandwidth: Some(preset.bandwidth()),
            compute: Some(preset.compute()),
            link: preset.link(),
            shared_memory: preset.unified.then_some(memory),
            source: Some(preset.source.clone()),
            ..Self::new(gpu)
        })
    }

    /// Sets the backend.
    #[must_use]
    pub fn with_backend(mut self, backend: impl Into<String>) -> Self {
        self.backend = backend.into();
        self
    }

    /// Sets its memory bandwidth, in bytes per second.
    #[must_use]
    pub fn with_bandwidth(mut self, bandwidth: f64) -> Self {
        self.bandwidth = Some(bandwidth);
        self
    }

    /// Sets its compute, in dense 16-bit operations per second.
    #[must_use]
    pub fn with_compute(mut self, compute: f64) -> Self {
        self.compute = Some(compute);
        self
    }

    /// Parses a description of one or several equal devices: an optional count, a card's name or a memory size, then
    /// optional properties. Examples: `2x RTX 3090`, `24GiB`, `24GiB, backend=vulkan, bandwidth=576GB/s`.
    pub fn list(text: &str) -> Result<Vec<Self>> {
        let (head, rest) = text.split_once(',').unwrap_or((text, ""));
        let (count, name) = hardware::count(head.trim()).unwrap_or((1, head.trim()));
        if !(1..=16).contains(&count) {
            return Err(Error::option("devices", format!("`{text}`: from 1 to 16 devices")));
        }
        let looks_like_size = name.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        let mut spec = match units::parse_size(name) {
            Some(0) => return Err(invalid_size("devices", name)),
            Some(bytes) => Self::new(bytes),
            None if looks_like_size => return Err(invalid_size("devices", name)),
            None => Self::preset(name)?,
        };
        let mut changes = Map::new();
        for pair in rest.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::option("devices", format!("`{}` is not NAME=VALUE", pair.trim()))
            })?;
            changes.insert(key.trim().to_owned(), value.trim().into());
        }
        spec.change(&changes)?;
        Ok(vec![spec; count as usize])
    }

    /// Parses a description in JSON: a string as for [`Self::list`], or an object with the keys `name` or `memory`,
    /// `backend`, `bandwidth`, `compute`, `link` and `count`.
    pub fn from_json(value: &Value) -> Result<Vec<Self>> {
        match value {
            Value::String(text) => Self::list(text),
            Value::Object(fields) => {
                let mut fields = fields.clone();
                let count = fields.remove("count").unwrap_or(1.into());
                let count = count.as_u64().filter(|count| (1..=16).contains(count));
                let count = count
                    .ok_or_else(|| Error::option("devices", "`count`: a number from 1 to 16"))?;
                let name = fields.remove("name");
                let mut spec = match &name {
                    Some(Value::String(name)) => Self::preset(name)?,
                    Some(_) => {
                        return Err(Error::option(
                            "devices",
                            Text::with_names("{name}: expected a text"),
                        ));
                    }
                    None if fields.contains_key("memory") => Self::new(0),
                    None => {
                        return Err(Error::option(
                            "devices",
                            Text::with_names("an object needs `memory` or {name}"),
                        ));
                    }
                };
                spec.change(&fields)?;
                Ok(vec![spec; count as usize])
            }
            _ => Err(Error::option("devices", "expected a text or an object")
                .with_hint("\"RTX 4090\", \"24GiB\", or {\"memory\": \"24GiB\", ...}")),
        }
    }

    fn change(&mut self, fields: &Map<String, Value>) -> Result<()> {
        for (key, value) in fields {
            let problem = |what: &str| Error::option("devices", format!("`{key}`: {what}"));
            let text = value.as_str().ok_or_else(|| problem("expected a text with a unit"));
            match key.as_str() {
                "memory" => {
                    self.memory = memory_size("devices", value)?;
                    self.description = Self::new(self.memory).description;
                }
                "backend" => self.backend = text?.to_lowercase(),
                "bandwidth" => {
                    let rate = parse_bandwidth(text?);
                    self.bandwidth = Some(rate.ok_or_else(|| problem("such as 936GB/s"))?);
                }
                "compute" => {
                    let rate = parse_compute(text?);
                    self.compute = Some(rate.ok_or_else(|| problem("such as 165TFLOPS"))?);
                }
                "link" => {
                    let text = text?;
                    let rate = parse_bandwidth(text).or_else(|| hardware::link(text));
                    let hint = "such as 25GB/s or PCIe 4.0 x16";
                    self.link = Some(rate.ok_or_else(|| problem(hint))?);
                }
                _ => {
                    return Err(problem("there is no such property").with_hint(
                        "one of name, memory, backend, bandwidth, compute, link, count",
                    ));
                }
            }
        }
        check_backend(&self.backend)
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    /// Parses a description of a single device, in the syntax of [`DeviceSpec::list`].
    fn from_str(text: &str) -> Result<Self> {
        match <[Self; 1]>::try_from(Self::list(text)?) {
            Ok([one]) => Ok(one),
            Err(_) => Err(Error::option("devices", format!("`{text}` stands for several devices"))),
        }
    }
}

/// The part of shared memory that a GPU may use. On Apple devices: two thirds if the memory is smaller than 36 GiB,
/// otherwise three quarters (`recommendedMaxWorkingSetSize`, which Metal devices report as their memory size).
fn working_set(memory: u64) -> u64 {
    if memory < 36 << 30 { memory / 3 * 2 } else { memory / 4 * 3 }
}

/// Parses a size: a string with a unit, or a number of bytes.
fn memory_size(option: &str, value: &Value) -> Result<u64> {
    match value {
        Value::String(text) => size(option, text),
        Value::Number(number) => number
            .as_u64()
            .filter(|bytes| *bytes >= SMALLEST_MEMORY)
            .ok_or_else(|| invalid_size(option, &number.to_string())),
        _ => Err(invalid_size(option, &value.to_string())),
    }
}

/// A number of bytes per second. Other languages pass a string: `90GB/s`, or a type of memory, `2x DDR5-5600`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bandwidth(pub f64);

impl From<f64> for Bandwidth {
    fn from(rate: f64) -> Self {
        Self(rate)
    }
}

impl Serialize for Bandwidth {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}B/s", self.0))
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let rate = parse_bandwidth(&text).or_else(|| hardware::memory_bandwidth(&text));
        let problem = || format!("`{text}` is not a bandwidth: write 90GB/s, or 2x DDR5-5600");
        rate.map(Self).ok_or_else(|| de::Error::custom(problem()))
    }
}

/// The GPUs to plan for: devices of this machine by name, or descriptions.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct DeviceList(pub(super) Vec<DeviceChoice>);

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum DeviceChoice {
    /// The value as the user passed it.
    Written(Value),
    Described(DeviceSpec),
}

impl<T: IntoIterator<Item = DeviceSpec>> From<T> for DeviceList {
    fn from(specs: T) -> Self {
        Self(specs.into_iter().map(DeviceChoice::Described).collect())
    }
}

impl<'de> Deserialize<'de> for DeviceList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = match Value::deserialize(deserializer)? {
            Value::Array(items) if items.len() > MAX_DEVICES => {
                return Err(de::Error::custom(too_many()));
            }
            Value::Array(items) => items,
            one => vec![one],
        };
        Ok(Self(written.into_iter().map(DeviceChoice::Written).collect()))
    }
}

fn too_many() -> String {
    format!("at most {MAX_DEVICES} devices are allowed")
}

/// A resolved list of devices.
pub(super) enum Devices {
    /// Names of devices of this machine.
    Here(Vec<String>),
    Described(Vec<DeviceSpec>),
}

impl DeviceList {
    /// Whether all entries are descriptions. Anything else may be the name of a device of this machine.
    pub(super) fn are_described(&self) -> bool {
        self.0.iter().all(|choice| match choice {
            DeviceChoice::Written(value) => DeviceSpec::from_json(value).is_ok(),
            DeviceChoice::Described(_) => true,
        })
    }

    /// Resolves the list to devices of this machine or to descriptions. A mixture of both is an error.
    pub(super) fn resolve(&self, here: &DeviceSet) -> Result<Devices> {
        let named = |choice: &DeviceChoice| match choice {
            DeviceChoice::Written(Value::String(text)) => {
                here.known.iter().any(|device| device.name() == *text).then(|| text.clone())
            }
            _ => None,
        };
        if let [DeviceChoice::Written(Value::String(name))] = &*self.0
            && name == NO_DEVICE
        {
            return Ok(Devices::Here(Vec::new()));
        }
        let names: Vec<_> = self.0.iter().filter_map(named).collect();
        if !names.is_empty() && names.len() == self.0.len() {
            return Ok(Devices::Here(names));
        }
        if let Some(name) = names.first() {
            let problem = format!(
                "{name} is a device of this machine, and others in the list are descriptions"
            );
            return Err(Error::option("devices", problem)
                .with_hint("list only devices of this machine or only descriptions; the name of its card describes this one"));
        }
        let mut specs = Vec::new();
        for choice in &self.0 {
            match choice {
                DeviceChoice::Written(value) => specs.extend(DeviceSpec::from_json(value)?),
                DeviceChoice::Described(spec) => specs.push(spec.clone()),
            }
        }
        if specs.len() > MAX_DEVICES {
            return Err(Error::option("devices", too_many()));
        }
        Ok(Devices::Described(specs))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;

    fn refused(value: impl Into<Value>) -> String {
        let error = DeviceSpec::from_json(&value.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        error.report()
    }

    #[test]
    fn devices_are_described_by_text_or_object() {
        let cards = DeviceSpec::list("2x RTX 3090").unwrap();
        assert_eq!(
            (cards.len(), cards[0].memory, cards[0].backend.as_str()),
            (2, 24 << 30, "cuda")
        );
        assert_eq!(cards[0].bandwidth, Some(936e9));
        let plain = DeviceSpec::list("24GiB, backend=vulkan, bandwidth=576GB/s").unwrap();
        assert_eq!((plain[0].memory, plain[0].bandwidth), (24 << 30, Some(576e9)));
        assert_eq!(plain[0].backend, "vulkan");
        let object =
            json!({"memory": "8GiB", "backend": "rocm", "compute": "20TFLOPS", "count": 2});
        let objects = DeviceSpec::from_json(&object).unwrap();
        assert_eq!((objects.len(), objects[1].compute), (2, Some(20e12)));
        let apple: DeviceSpec = "M4 Max 64GB".parse().unwrap();
        assert_eq!((apple.memory, apple.shared_memory), (48 << 30, Some(64 << 30)));
    }

    #[test]
    fn implausible_devices_are_rejected() {
        assert!(refused("24").contains("24GiB"));
        assert!(refused("-8GiB").contains("-8GiB"));
        assert!(refused("0GiB").contains("0GiB"));
        assert!(refused("RTX 4900").contains("RTX 4090"));
        assert!(refused(24).contains("24GiB"));
        assert!(refused(json!({"memory": 24})).contains("24GiB"));
        assert!(refused(json!({"memory": "8GiB", "backend": "abacus"})).contains("vulkan"));
        assert!(refused(json!({"memory": "8GiB", "colour": "red"})).contains("bandwidth"));
        assert!(refused(json!({"memory": "8GiB", "bandwidth": "fast"})).contains("936GB/s"));
        assert!(refused(json!({"backend": "cuda"})).contains("memory"));
        assert!(refused("99x RTX 4090").contains("16"));
        assert!(refused(json!([1])).contains("24GiB"));
    }
}
