//! The set of devices available to a model.

use std::sync::Arc;
use std::time::Duration;

use mullama_sys as sys;
use sys::shim::SimulatedDevice;

use super::handle::{Handle, find_all, gpus_of, local, processors};
use super::rpc::{self, Worker};
use crate::Result;
use crate::options::ModelParams;

/// How long to wait for an operation that uses workers to end. Closing a model waits for at most three of them, so it
/// takes less than a second.
const WORKER_TIMEOUT: Duration = Duration::from_millis(300);

/// The devices available to a model.
#[derive(Clone, Default)]
pub(crate) struct DeviceSet {
    /// All devices that options can name.
    pub known: Vec<Handle>,
    /// The GPUs that are used by default. Workers come first, as in llama.cpp, so that as little data as possible
    /// crosses the network.
    pub gpus: Vec<Handle>,
    /// The workers, which stay connected as long as the model exists.
    pub workers: Vec<Arc<Worker>>,
    /// Simulated devices for dry runs, with the same lifetime.
    pub simulated: Vec<Arc<SimulatedDevice>>,
}

impl DeviceSet {
    /// The devices of this machine and of the workers that the options name.
    pub fn of(params: &ModelParams) -> Result<Self> {
        let local = local();
        let addresses = params.rpc_servers.iter().flatten();
        let workers: Vec<_> =
            addresses.map(|address| rpc::worker(address)).collect::<Result<_>>()?;
        let remote = || workers.iter().flat_map(|worker| worker.devices.iter().copied());
        let gpus = remote().chain(gpus_of(&local)).collect();
        Ok(Self { known: remote().chain(local).collect(), gpus, workers, simulated: Vec::new() })
    }

    /// Only the CPU devices.
    pub fn processors() -> Self {
        Self { known: processors(), ..Self::default() }
    }

    /// The GPUs selected by the options, in the order in which they are filled.
    pub fn chosen(&self, params: &ModelParams) -> Result<Vec<Handle>> {
        let mut gpus = match &params.devices {
            None => self.gpus.clone(),
            Some(names) => {
                let mut devices = find_all(&self.known, names)?;
                devices.retain(|device| device.kind() != sys::GGML_BACKEND_DEVICE_TYPE_CPU);
                devices
            }
        };
        if let Some(most) = params.max_gpus.map(|most| most as usize)
            && gpus.len() > most
        {
            if params.devices.is_none() {
                let mut largest = gpus.clone();
                largest.sort_by_key(|gpu| std::cmp::Reverse(gpu.memory().0));
                largest.truncate(most);
                gpus.retain(|gpu| largest.contains(gpu));
            }
            gpus.truncate(most);
        }
        Ok(gpus)
    }

    /// Whether a device belongs to another machine.
    pub fn is_remote(&self, device: Handle) -> bool {
        self.workers.iter().any(|worker| worker.devices.contains(&device))
    }

    /// How long to wait for an operation on these devices to end; none means without limit. Operations that wait for a
    /// silent worker end in the background.
    pub fn shutdown_timeout(&self) -> Option<Duration> {
        (!self.workers.is_empty()).then_some(WORKER_TIMEOUT)
    }

    /// Fails if a worker has failed.
    pub fn check(&self) -> Result<()> {
        self.workers.iter().try_for_each(|worker| worker.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{SimulatedGpu, simulate};

    #[test]
    fn gpu_limit_selects_the_largest_or_first_named() {
        let gpu = |gib: u64| SimulatedGpu {
            backend: "cuda".to_owned(),
            description: format!("{gib} GiB"),
            memory: gib << 30,
        };
        let devices = simulate(&[gpu(8), gpu(24), gpu(16)]).unwrap();
        let chosen = |params: &ModelParams| {
            let gpus = devices.chosen(params).unwrap();
            gpus.iter().map(|gpu| gpu.description()).collect::<Vec<_>>()
        };
        let most = |most| ModelParams::default().with_max_gpus(most);
        assert_eq!(chosen(&ModelParams::default()), ["8 GiB", "24 GiB", "16 GiB"]);
        assert_eq!(chosen(&most(9)), ["8 GiB", "24 GiB", "16 GiB"]);
        assert_eq!(chosen(&most(2)), ["24 GiB", "16 GiB"]);
        assert_eq!(chosen(&most(1)), ["24 GiB"]);
        let named = devices.gpus.iter().map(|gpu| gpu.name()).collect::<Vec<_>>();
        assert_eq!(chosen(&most(1).with_devices(named)), ["8 GiB"]);
    }
}
