//! The hardware of a plan: devices, memory budgets and rates.

use std::collections::BTreeMap;

use super::calibrate::Calibration;
use super::options::PlanOptions;
use super::spec::{DeviceSpec, Devices};
use super::speed::Rates;
use crate::Result;
use crate::device::{DeviceSet, HOST, simulate};
use crate::engine::WeightSettings;
use crate::options::ModelParams;
use crate::placement::{Budgets, is_device_order_automatic};

/// The hardware of a plan.
pub(super) struct PlanEnvironment {
    /// The model options, including the names of the devices.
    pub params: ModelParams,
    pub weights: WeightSettings,
    pub budgets: Budgets,
    /// Whether the devices are those of this machine, not described ones.
    pub are_local: bool,
    /// Rates by device name, for the devices whose performance is known.
    pub rates: BTreeMap<String, Rates>,
}

impl PlanEnvironment {
    pub fn new(options: &PlanOptions) -> Result<Self> {
        let PlanOptions { model, hardware, .. } = options;
        let mut params = model.clone();
        let here = if options.are_devices_described() {
            DeviceSet::default()
        } else {
            DeviceSet::of(model)?
        };
        let listed = hardware.devices.as_ref().map(|list| list.resolve(&here)).transpose()?;
        let (devices, specs) = match listed {
            None => (here, None),
            Some(Devices::Here(names)) => {
                params.devices = Some(names);
                (here, None)
            }
            Some(Devices::Described(specs)) => {
                let devices =
                    simulate(&specs.iter().map(DeviceSpec::simulated).collect::<Vec<_>>())?;
                // In the order of the descriptions.
                params.devices = Some(devices.gpus.iter().map(|gpu| gpu.name()).collect());
                (devices, Some(specs))
            }
        };
        let weights = WeightSettings::resolve(&params, &devices)?;
        let mut budgets = Budgets::of(&weights, is_device_order_automatic(&params))?;
        let shared = specs.iter().flatten().find_map(remaining_shared_memory);
        if let Some(bytes) = hardware.host_memory.map(|size| size.0).or(shared) {
            budgets.host.free = bytes;
        }
        let host = Calibration::of_host();
        let shared = specs.iter().flatten().find(|spec| spec.shared_memory.is_some());
        let bandwidth = shared.and_then(|spec| spec.bandwidth);
        let host = match hardware.host_bandwidth.map(|rate| rate.0).or(bandwidth) {
            Some(bandwidth) => host.of_host(bandwidth),
            None => host,
        };
        let mut rates: BTreeMap<_, _> = [(HOST.to_owned(), host)].into();
        for (index, gpu) in devices.gpus.iter().enumerate() {
            let known = match &specs {
                Some(specs) => Rates::of_spec(&specs[index]),
                None => Calibration::of_gpu(*gpu),
            };
            rates.extend(known.map(|known| (gpu.name(), known)));
        }
        Ok(Self { params, weights, budgets, are_local: specs.is_none(), rates })
    }
}

/// The part of the shared memory that a device leaves to the CPU, in bytes.
fn remaining_shared_memory(spec: &DeviceSpec) -> Option<u64> {
    spec.shared_memory.map(|shared| shared.saturating_sub(spec.memory))
}
