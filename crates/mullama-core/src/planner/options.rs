//! The options of planning.

use serde::Serialize;
use serde_json::{Map, Value};

use super::spec::{Bandwidth, DeviceList, SMALLEST_MEMORY};
use crate::options::{ByteSize, ContextParams, FlagForm, ModelParams, option_type, options};
use crate::{Naming, Result, parse_options};

option_type! {
    DeviceList: "str | Mapping[str, object] | Sequence[str | Mapping[str, object]]",
        "string | DeviceDescription | (string | DeviceDescription)[]", FlagForm::Json;
    Bandwidth: "str", "string", FlagForm::Text("RATE");
}

options! {
    /// Options of a plan, in addition to those of loading.
    pub struct PlanFields {
        /// The GPUs to plan for: names of this machine's devices, or descriptions such as `RTX
        /// 4090`, `2x RTX 3060 12GB`, `M4 Max 64GB`, `24GiB`, or an object with `memory` or `name`,
        /// and `backend`, `bandwidth`, `compute`, `link`, `count`. Default: those of this machine.
        devices <- DeviceList,
        /// System RAM, as a size with a unit (`64GiB`) or in bytes. Default: the free memory of
        /// this machine; for a described device with shared memory, the part that the device does
        /// not use.
        host_memory <- ByteSize; in ByteSize(SMALLEST_MEMORY)..,
        /// The bandwidth of system RAM, such as `80GB/s` or `2x DDR5-5600`. Default: measured on
        /// this machine.
        host_bandwidth <- Bandwidth,
        /// Whether other settings and quantisations are planned too if the model does not fit on
        /// GPUs completely.
        alternatives: bool = true,
    }
}

/// All options of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Placement options; those that are not set are chosen as when a model is loaded.
    pub model: ModelParams,
    /// Context options, likewise.
    pub context: ContextParams,
    /// The hardware.
    pub hardware: PlanFields,
    /// The style of option names in the plan's texts.
    #[serde(skip)]
    pub naming: Naming,
}

impl PlanOptions {
    /// Parses options by name, as passed from another language.
    pub fn parse(arguments: Map<String, Value>, naming: Naming) -> Result<Self> {
        let mut options = Self { naming, ..Self::default() };
        // Planning and loading both have `devices`; the first entry in the list, that of planning,
        // receives it.
        parse_options(
            &mut [&mut options.hardware, &mut options.model, &mut options.context],
            arguments,
            naming,
        )?;
        Ok(options)
    }

    /// Whether all devices are described, so that this machine's GPUs need not be queried.
    pub(super) fn are_devices_described(&self) -> bool {
        self.hardware.devices.as_ref().is_some_and(DeviceList::are_described)
    }

    /// Sets the placement options.
    #[must_use]
    pub fn with_model(mut self, model: ModelParams) -> Self {
        self.model = model;
        self
    }

    /// Sets the context options.
    #[must_use]
    pub fn with_context(mut self, context: ContextParams) -> Self {
        self.context = context;
        self
    }

    /// Sets the GPUs to plan for.
    #[must_use]
    pub fn with_devices(mut self, devices: impl Into<DeviceList>) -> Self {
        self.hardware.devices = Some(devices.into());
        self
    }

    /// Sets the style of option names in the plan's texts.
    #[must_use]
    pub fn with_naming(mut self, naming: Naming) -> Self {
        self.naming = naming;
        self
    }

    /// Sets whether other settings and quantisations are planned too.
    #[must_use]
    pub fn with_alternatives(mut self, wanted: bool) -> Self {
        self.hardware.alternatives = Some(wanted);
        self
    }

    /// Sets the size of system RAM in bytes.
    #[must_use]
    pub fn with_host_memory(mut self, bytes: u64) -> Self {
        self.hardware.host_memory = Some(ByteSize(bytes));
        self
    }
}
