//! The placement of a model: the part on each device.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::HOST;
use crate::{Error, ErrorKind, Result};

/// The placement of a loaded model: the devices with a part of it; system RAM is last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The part on each device.
    pub devices: Vec<DeviceShare>,
}

/// The part of a model on one device, in allocated bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceShare {
    /// The device's name; `CPU` is system RAM.
    pub name: String,
    /// Number of layers; the output layer counts as one.
    pub layers: u32,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of KV cache.
    pub kv: u64,
    /// Bytes of compute buffers.
    pub compute: u64,
    /// Bytes of the draft model: its weights, KV cache and compute buffers.
    pub draft: u64,
    /// Bytes of the projector: its weights and compute buffers. They are allocated when it is
    /// loaded (`load_projector`).
    pub projector: u64,
}

impl DeviceShare {
    /// Total bytes.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.compute + self.draft + self.projector
    }
}

/// How the name of the engine's device for split mode `tensor` begins, which combines several GPUs
/// (ggml-backend-meta.cpp).
const COMBINED_DEVICE: &str = "Meta(";

/// One line of the shim's memory breakdown.
#[derive(Deserialize)]
pub(crate) struct BufferShare {
    buffer_type: String,
    device: Option<String>,
    host: bool,
    /// Bytes of the largest buffer of this type.
    max_size: u64,
    model: u64,
    context: u64,
    compute: u64,
}

impl BufferShare {
    /// Parses the breakdown.
    pub fn read(breakdown: &str) -> Result<Vec<Self>> {
        serde_json::from_str(breakdown).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the memory breakdown is unreadable: {error}"))
        })
    }

    /// Adjusts the sizes of planned buffers to what will be allocated: the Vulkan backend allocates each buffer in
    /// system RAM larger than requested (ggml-vulkan.cpp).
    pub fn allocated(mut self) -> Self {
        const OVERHEAD: u64 = 32;
        if self.buffer_type == "Vulkan_Host" {
            for bytes in [&mut self.model, &mut self.context, &mut self.compute] {
                *bytes += OVERHEAD * bytes.div_ceil(self.max_size.max(1));
            }
        }
        self
    }
}

impl Placement {
    /// Combines the engine's breakdown of a context's memory with the layers that it reported.
    pub(crate) fn new(shares: &[BufferShare], layers: &BTreeMap<String, u32>) -> Self {
        let mut devices: Vec<DeviceShare> = Vec::new();
        let mut share_of = |name: &str| -> usize {
            devices.iter().position(|share| share.name == name).unwrap_or_else(|| {
                devices.push(DeviceShare { name: name.to_owned(), ..DeviceShare::default() });
                devices.len() - 1
            })
        };
        let mut additions = Vec::new();
        for share in shares {
            // Memory that a GPU can access but the host owns counts as the host's.
            let name = share.device.as_deref().filter(|_| !share.host).unwrap_or(HOST);
            additions.push((share_of(name), share));
        }
        let counted: Vec<_> = layers.iter().map(|(name, count)| (share_of(name), *count)).collect();
        for (index, share) in additions {
            devices[index].weights += share.model;
            devices[index].kv += share.context;
            devices[index].compute += share.compute;
        }
        for (index, count) in counted {
            devices[index].layers += count;
        }
        devices.retain(|share| share.layers > 0 || share.total() > 0);
        let mut placement = Self { devices };
        placement.sort();
        placement
    }

    /// Divides the part on the engine's combined device among its GPUs, given with their shares: in split mode `tensor`,
    /// each has a part of every layer. Planned sizes of weights and KV cache are those of all GPUs together; allocated
    /// ones are those of the GPU with most of it. Compute buffers are as large on each GPU. Small tensors, such as
    /// norms, are on every GPU and are not counted again.
    pub(crate) fn spread(mut self, gpus: &[(String, f64)], is_planned: bool) -> Self {
        let is_combined = |share: &DeviceShare| share.name.starts_with(COMBINED_DEVICE);
        let Some(index) = self.devices.iter().position(is_combined) else { return self };
        let combined = self.devices.remove(index);
        let largest = gpus.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        let unit = if is_planned { 1.0 } else { largest };
        for (name, share) in gpus {
            let part = |bytes: u64| (bytes as f64 * share / unit).ceil() as u64;
            self.devices.push(DeviceShare {
                name: name.clone(),
                layers: if *share > 0.0 { combined.layers } else { 0 },
                weights: part(combined.weights),
                kv: part(combined.kv),
                compute: combined.compute,
                ..DeviceShare::default()
            });
        }
        self.sort();
        self
    }

    /// The weights only, without a context.
    pub(crate) fn weights_only(mut self) -> Self {
        for share in &mut self.devices {
            (share.kv, share.compute) = (0, 0);
        }
        self.without_empty()
    }

    /// The context only, without its weights, plus the given bytes of outputs in system RAM.
    pub(crate) fn context_only(mut self, outputs: u64) -> Self {
        for share in &mut self.devices {
            (share.layers, share.weights) = (0, 0);
        }
        let host =
            DeviceShare { name: HOST.to_owned(), compute: outputs, ..DeviceShare::default() };
        self.plus(Self { devices: vec![host] }).without_empty()
    }

    /// Bytes of weights in system RAM.
    pub(crate) fn host_weights(&self) -> u64 {
        self.devices.iter().find(|share| share.name == HOST).map_or(0, |share| share.weights)
    }

    /// Raises each compute buffer to at least the size of another placement's.
    pub(crate) fn with_compute_of(mut self, other: &Self) -> Self {
        for share in &mut self.devices {
            let other = other.devices.iter().find(|other| other.name == share.name);
            share.compute = share.compute.max(other.map_or(0, |other| other.compute));
        }
        self
    }

    /// Extrapolates KV cache and compute buffers: adds `times` the difference to a smaller placement.
    pub(crate) fn extrapolated(mut self, smaller: &Self, times: f64) -> Self {
        let grown = |bytes: u64, before: u64| {
            bytes.saturating_add((bytes.saturating_sub(before) as f64 * times) as u64)
        };
        for share in &mut self.devices {
            let before = smaller.devices.iter().find(|before| before.name == share.name);
            share.kv = grown(share.kv, before.map_or(0, |before| before.kv));
            share.compute = grown(share.compute, before.map_or(0, |before| before.compute));
        }
        self
    }

    /// Adds a draft model.
    pub(crate) fn with_draft(self, draft: &Self) -> Self {
        let share = |share: &DeviceShare| DeviceShare {
            name: share.name.clone(),
            draft: share.total(),
            ..DeviceShare::default()
        };
        self.and(Self { devices: draft.devices.iter().map(share).collect() })
    }

    /// The sum with another placement.
    pub(crate) fn and(self, other: Self) -> Self {
        let mut both = self.plus(other);
        both.sort();
        both
    }

    /// The placement of a projector, which is in system RAM.
    pub(crate) fn of_projector(bytes: u64) -> Self {
        let share =
            DeviceShare { name: HOST.to_owned(), projector: bytes, ..DeviceShare::default() };
        Self { devices: vec![share] }.without_empty()
    }

    /// Sorts the devices by name, system RAM last.
    fn sort(&mut self) {
        self.devices.sort_by(|a, b| (a.name == HOST, &a.name).cmp(&(b.name == HOST, &b.name)));
    }

    /// The sum of both placements.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        for added in other.devices {
            match self.devices.iter_mut().find(|share| share.name == added.name) {
                Some(share) => {
                    share.layers += added.layers;
                    share.weights += added.weights;
                    share.kv += added.kv;
                    share.compute += added.compute;
                    share.draft += added.draft;
                    share.projector += added.projector;
                }
                None => self.devices.push(added),
            }
        }
        self
    }

    fn without_empty(mut self) -> Self {
        self.devices.retain(|share| share.layers > 0 || share.total() > 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(name: &str, layers: u32, weights: u64, kv: u64, compute: u64) -> DeviceShare {
        DeviceShare {
            name: name.to_owned(),
            layers,
            weights,
            kv,
            compute,
            ..DeviceShare::default()
        }
    }

    #[test]
    fn host_buffers_count_as_system_ram() {
        let breakdown = r#"[
            {"buffer_type": "CPU", "device": "CPU", "host": true, "max_size": 99, "model": 1, "context": 2, "compute": 4},
            {"buffer_type": "G0_Host", "device": "G0", "host": true, "max_size": 99, "model": 0, "context": 0, "compute": 8},
            {"buffer_type": "G0", "device": "G0", "host": false, "max_size": 99, "model": 16, "context": 32, "compute": 64}
        ]"#;
        let layers = [("CPU".to_owned(), 3), ("G0".to_owned(), 5)].into();
        let placement = Placement::new(&BufferShare::read(breakdown).unwrap(), &layers);
        assert_eq!(placement.devices, [share("G0", 5, 16, 32, 64), share("CPU", 3, 1, 2, 12)]);
    }

    #[test]
    fn a_combined_device_is_divided_among_its_gpus() {
        let host = share(HOST, 2, 5, 5, 5);
        let combined =
            Placement { devices: vec![share("Meta(G1,G0)", 7, 400, 80, 10), host.clone()] };
        let gpus = [("G1".to_owned(), 0.75), ("G0".to_owned(), 0.25)];
        let planned = combined.clone().spread(&gpus, true);
        assert_eq!(
            planned.devices,
            [share("G0", 7, 100, 20, 10), share("G1", 7, 300, 60, 10), host.clone()]
        );
        let allocated = combined.spread(&gpus, false);
        assert_eq!(allocated.devices[1], share("G1", 7, 400, 80, 10));
        assert_eq!(allocated.devices[0], share("G0", 7, 134, 27, 10));
        assert_eq!(allocated.clone().spread(&gpus, false), allocated);
    }

    #[test]
    fn vulkans_host_buffers_are_larger_than_planned() {
        let share = |buffer_type: &str| BufferShare {
            buffer_type: buffer_type.to_owned(),
            device: None,
            host: true,
            max_size: 100,
            model: 250,
            context: 0,
            compute: 100,
        };
        let sizes = |share: BufferShare| [share.model, share.context, share.compute];
        assert_eq!(sizes(share("Vulkan_Host").allocated()), [250 + 3 * 32, 0, 132]);
        assert_eq!(sizes(share("CPU").allocated()), [250, 0, 100]);
    }
}
