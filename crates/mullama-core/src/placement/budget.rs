//! How much memory of each device a model may use.

use mullama_base::units;

use crate::device::{HOST, Handle, gpu};
use crate::engine::{DeviceShare, Placement, WeightSettings};
use crate::{Error, ErrorKind, Result};

/// The margin that `auto` leaves free on a GPU, for other programs and later allocations: 1 GiB, as in llama.cpp's
/// `common_fit_params`, but at most a tenth of the GPU's memory.
const MARGIN: u64 = 1 << 30;

/// A device and its usable memory.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub name: String,
    /// `None` for system RAM.
    pub device: Option<Handle>,
    /// Free bytes.
    pub free: u64,
    /// Bytes that `auto` leaves free.
    pub margin: u64,
    /// Identifies the device for the cache of dry runs.
    pub identity: String,
    /// Whether the device belongs to another machine.
    pub is_remote: bool,
}

impl Budget {
    /// The share of the usable bytes that is left if `needed` bytes are used; negative if they are not enough.
    fn room(&self, needed: u64, keep_margin: bool) -> f64 {
        let margin = if keep_margin { self.margin } else { 0 };
        let usable = self.free as f64 - margin as f64;
        (usable - needed as f64) / usable.max(1.0)
    }
}

/// The budgets of all devices that a model can use.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// In the order in which they are filled.
    pub gpus: Vec<Budget>,
    pub host: Budget,
    /// Whether weights in system RAM must fit into free memory. Memory-mapped weights need not: they can be read from
    /// the file again.
    pub host_weights_count: bool,
}

impl Budgets {
    /// The budgets of the usable GPUs and of system RAM. If the order is open, GPUs with more free memory come first.
    pub fn of(weights: &WeightSettings, is_device_order_automatic: bool) -> Result<Self> {
        let limit = limit_from("MULLAMA_GPU_MEMORY")?;
        let mut gpus: Vec<_> = weights
            .gpus
            .iter()
            .map(|&device| {
                let (free, total) = device.memory();
                let total = limit.map_or(total, |limit| limit.min(total));
                Budget {
                    name: device.name(),
                    device: Some(device),
                    free: free.min(total),
                    margin: MARGIN.min(total / 10),
                    identity: device.identity(),
                    is_remote: weights.devices.is_remote(device),
                }
            })
            .collect();
        if is_device_order_automatic {
            // Local GPUs first, then by free memory.
            gpus.sort_by_key(|gpu| (gpu.is_remote, std::cmp::Reverse(gpu.free)));
        }
        let (free, _) = gpu::host_memory();
        let free = limit_from("MULLAMA_HOST_MEMORY")?.map_or(free, |limit| limit.min(free));
        let host = Budget {
            name: HOST.to_owned(),
            device: None,
            free,
            margin: 0,
            identity: String::new(),
            is_remote: false,
        };
        let is_mapped = weights.use_mmap && !weights.use_mlock;
        Ok(Self { gpus, host, host_weights_count: !is_mapped })
    }

    /// Subtracts the memory of models that are placed first: a projector, a draft model.
    pub fn reserve(mut self, others: &Placement) -> Self {
        for share in &others.devices {
            let needed = self.needed(share);
            let mut budgets = self.gpus.iter_mut().chain([&mut self.host]);
            if let Some(budget) = budgets.find(|budget| budget.name == share.name) {
                budget.free = budget.free.saturating_sub(needed);
            }
        }
        self
    }

    /// Pairs of a device in use and its share of the placement.
    fn shares<'a>(
        &'a self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (&'a Budget, &'a DeviceShare)> {
        let budgets = || self.gpus.iter().chain([&self.host]);
        let find = move |share: &DeviceShare| budgets().find(|budget| budget.name == share.name);
        placement.devices.iter().filter_map(move |share| Some((find(share)?, share)))
    }

    /// Bytes of a share that must be free on its device.
    fn needed(&self, share: &DeviceShare) -> u64 {
        let is_paged = share.name == HOST && !self.host_weights_count;
        if is_paged { share.kv + share.compute + share.projector } else { share.total() }
    }

    /// Whether every share fits on its device.
    pub fn fit(&self, placement: &Placement, keep_margin: bool) -> bool {
        self.room(placement, keep_margin) >= 0.0
    }

    /// The smallest share of usable bytes that is left on any device; negative if something does not fit.
    pub fn room(&self, placement: &Placement, keep_margin: bool) -> f64 {
        self.shares(placement)
            .map(|(budget, share)| budget.room(self.needed(share), keep_margin))
            .fold(1.0, f64::min)
    }

    /// The share of the usable bytes that is left on a GPU, excluding its margin.
    pub fn room_on_gpu(&self, index: usize, placement: &Placement) -> f64 {
        let gpu = &self.gpus[index];
        let share = placement.devices.iter().find(|share| share.name == gpu.name);
        gpu.room(share.map_or(0, |share| self.needed(share)), true)
    }

    /// Describes which devices lack memory.
    pub fn shortages(&self, placement: &Placement) -> Vec<String> {
        self.shares(placement)
            .filter(|(budget, share)| budget.room(self.needed(share), false) < 0.0)
            .map(|(budget, share)| {
                let needed = self.needed(share);
                format!(
                    "{} needs {} and has {} free",
                    budget.name,
                    units::memory(needed),
                    units::memory(budget.free)
                )
            })
            .collect()
    }

    /// The needed and free memory of every device, each as `NAME: needed BYTES, free BYTES`.
    pub fn describe(&self, placement: &Placement) -> String {
        let sizes = self.shares(placement).map(|(budget, share)| {
            let needed = self.needed(share);
            format!("{}: needed {needed}, free {}", budget.name, budget.free)
        });
        sizes.collect::<Vec<_>>().join("; ")
    }
}

/// Reads a memory limit from an environment variable, such as `8GiB` or `500MB`. `MULLAMA_GPU_MEMORY` limits the use of
/// each GPU, `MULLAMA_HOST_MEMORY` the use of system RAM.
fn limit_from(variable: &str) -> Result<Option<u64>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    units::parse_size(&text).map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("{variable} is `{text}`, which is not a size"),
        )
        .with_hint("write a number with its unit: 8GiB, 500MB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_weights_may_exceed_system_ram() {
        let budget = |name: &str, free, margin| Budget {
            name: name.to_owned(),
            device: None,
            free,
            margin,
            identity: String::new(),
            is_remote: false,
        };
        let share = |name: &str, weights| DeviceShare {
            name: name.to_owned(),
            layers: 1,
            weights,
            kv: 10,
            compute: 10,
            draft: 0,
            projector: 0,
        };
        let mut budgets = Budgets {
            gpus: vec![budget("G0", 100, 10)],
            host: budget(HOST, 50, 0),
            host_weights_count: false,
        };
        let placement = Placement { devices: vec![share("G0", 75), share(HOST, 1000)] };
        assert!(budgets.fit(&placement, false));
        assert!(!budgets.fit(&placement, true), "95 of 100 leave less than 10");
        budgets.host_weights_count = true;
        assert!(!budgets.fit(&placement, false));
        assert_eq!(budgets.shortages(&placement), ["CPU needs 0.0 MiB and has 0.0 MiB free"]);
    }
}
