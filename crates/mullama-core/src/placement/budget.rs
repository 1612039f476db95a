//! How much of each device a model may take.

use mullama_base::units;

use crate::device::{HOST, Handle, gpu};
use crate::engine::{DeviceShare, Placement, WeightSettings};
use crate::{Error, ErrorKind, Result};

/// What `auto` keeps free on a GPU, for other programs and for what is allocated later (llama.cpp's
/// `common_fit_params` keeps as much): this, or a tenth of a small one.
const MARGIN: u64 = 1 << 30;

/// A device and what may be used of it.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub name: String,
    /// None where it is the machine's own memory.
    pub device: Option<Handle>,
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that `auto` does not touch.
    pub margin: u64,
    /// What the device is, for the planner to know it again.
    pub identity: String,
    /// Whether it is another machine's.
    pub is_remote: bool,
}

impl Budget {
    /// What so many bytes leave of those that may be used, as a part of them; less than none where there are
    /// too few.
    fn room(&self, needed: u64, keep_margin: bool) -> f64 {
        let margin = if keep_margin { self.margin } else { 0 };
        let usable = self.free as f64 - margin as f64;
        (usable - needed as f64) / usable.max(1.0)
    }
}

/// What may be used of everything that a model could go to.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// In the order in which they are filled.
    pub gpus: Vec<Budget>,
    pub host: Budget,
    /// Whether weights that stay in the machine's own memory have to fit it: those of a mapped file are
    /// read again when they are needed.
    pub host_weights_count: bool,
}

impl Budgets {
    /// Those of the GPUs that may be used, the one with the most free memory first where the order is
    /// ours to choose.
    pub fn of(weights: &WeightSettings, is_order_open: bool) -> Result<Self> {
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
        if is_order_open {
            // Nearest first, then largest.
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

    /// What others, which are placed first, leave: a projector, a draft model.
    pub fn beside(mut self, others: &Placement) -> Self {
        for share in &others.devices {
            let needed = self.needed(share);
            let mut budgets = self.gpus.iter_mut().chain([&mut self.host]);
            if let Some(budget) = budgets.find(|budget| budget.name == share.name) {
                budget.free = budget.free.saturating_sub(needed);
            }
        }
        self
    }

    /// Pairs of a device that holds a part, and that part.
    fn shares<'a>(
        &'a self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (&'a Budget, &'a DeviceShare)> {
        let budgets = || self.gpus.iter().chain([&self.host]);
        let find = move |share: &DeviceShare| budgets().find(|budget| budget.name == share.name);
        placement.devices.iter().filter_map(move |share| Some((find(share)?, share)))
    }

    /// Bytes of a part that its device must have free.
    fn needed(&self, share: &DeviceShare) -> u64 {
        let is_paged = share.name == HOST && !self.host_weights_count;
        if is_paged { share.kv + share.compute + share.projector } else { share.total() }
    }

    /// Whether every device has room for its part.
    pub fn fit(&self, placement: &Placement, keep_margin: bool) -> bool {
        self.room(placement, keep_margin) >= 0.0
    }

    /// The room that is left on the device that has the least of it, as a part of what may be used there;
    /// less than none where a part does not fit.
    pub fn room(&self, placement: &Placement, keep_margin: bool) -> f64 {
        self.shares(placement)
            .map(|(budget, share)| budget.room(self.needed(share), keep_margin))
            .fold(1.0, f64::min)
    }

    /// The room that one of the GPUs has left beside its margin, as a part of what may be used.
    pub fn room_on_gpu(&self, index: usize, placement: &Placement) -> f64 {
        let gpu = &self.gpus[index];
        let share = placement.devices.iter().find(|share| share.name == gpu.name);
        gpu.room(share.map_or(0, |share| self.needed(share)), true)
    }

    /// What is short of room, in words.
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

    /// What every device would have to hold, each as `NAME: needed BYTES, free BYTES`.
    pub fn describe(&self, placement: &Placement) -> String {
        let sizes = self.shares(placement).map(|(budget, share)| {
            let needed = self.needed(share);
            format!("{}: needed {needed}, free {}", budget.name, budget.free)
        });
        sizes.collect::<Vec<_>>().join("; ")
    }
}

/// `MULLAMA_GPU_MEMORY` is the most that may be used of each GPU, `MULLAMA_HOST_MEMORY` of the machine's
/// own memory, as `8GiB` or `500MB`.
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
    fn mapped_weights_need_not_fit_the_machines_memory() {
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
