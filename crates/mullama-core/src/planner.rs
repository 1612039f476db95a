//! Settles where a model goes before a byte of its weights is read.
//!
//! Every number comes from a dry run: the engine's own loader, told not to allocate
//! (`llama_model_params.no_alloc`), makes model and context, and says what it would have put where.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::engine::{ContextSettings, dry_run};
use crate::gguf::GgufHeader;
use crate::params::{ContextParams, GpuLayers, ModelParams};
use crate::placement::{DeviceShare, Placement};
use crate::weights::Weights;
use crate::{Error, ErrorKind, Result, gpu, logging};

/// What `auto` keeps free on a device, for other programs and for what is allocated later (llama.cpp's
/// `common_fit_params` keeps as much): this, or a tenth of a small device.
const MARGIN: u64 = 1 << 30;

/// The smallest context that `auto` makes smaller before it leaves layers to the CPU.
const SMALLEST_AUTOMATIC_CONTEXT: u32 = 4096;

/// Fills in what was left open, and refuses what cannot fit.
pub(crate) fn settle(
    path: &Path,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
) -> Result<(ModelParams, ContextSettings)> {
    let trained = number(header, params, "context_length").unwrap_or(0);
    let settings = ContextSettings::resolve(context, u32::try_from(trained).unwrap_or(u32::MAX))?;
    let gpus = usable_gpus(params)?;
    let layers = params.n_gpu_layers.unwrap_or_default();
    let all_layers = number(header, params, "block_count").unwrap_or(0).max(0) as u32 + 1;
    let planner = Planner { path, gpus, all_layers };

    if planner.gpus.is_empty() || layers == GpuLayers::Count(0) {
        if !matches!(layers, GpuLayers::Auto | GpuLayers::Count(0)) {
            log::warn!("there is no GPU that can be used: {} runs on the CPU", path.display());
        }
        return Ok((params.clone().with_n_gpu_layers(0), settings));
    }
    match layers {
        GpuLayers::Auto => planner.automatic(header, params, settings, context.n_ctx.is_none()),
        asked => {
            planner.check(params, &settings, asked)?;
            Ok((params.clone(), settings))
        }
    }
}

/// A number of the model's architecture, as the file has it or the caller overrides it.
fn number(header: &GgufHeader, params: &ModelParams, key: &str) -> Option<i64> {
    let overrides = params.metadata_overrides.as_ref();
    let overridden = overrides.and_then(|overrides| {
        overrides.get(&format!("{}.{key}", header.text("general.architecture")?))?.as_i64()
    });
    overridden.or_else(|| header.architecture_number(key))
}

/// A GPU and what may be used of it.
#[derive(Debug, Clone)]
struct Budget {
    name: String,
    free: u64,
    margin: u64,
}

/// The GPUs that the options allow, the one with the most free memory first where the order is ours
/// to choose.
fn usable_gpus(params: &ModelParams) -> Result<Vec<Budget>> {
    let limit = memory_limit()?;
    let mut gpus: Vec<_> = gpu::devices()
        .into_iter()
        .filter(|device| matches!(device.kind, gpu::DeviceKind::Gpu | gpu::DeviceKind::Igpu))
        .filter(|device| params.devices.as_ref().is_none_or(|names| names.contains(&device.name)))
        .map(|device| {
            let total = limit.map_or(device.memory_total, |limit| limit.min(device.memory_total));
            Budget {
                name: device.name,
                free: device.memory_free.min(total),
                margin: MARGIN.min(total / 10),
            }
        })
        .collect();
    if is_order_open(params) {
        gpus.sort_by_key(|gpu| std::cmp::Reverse(gpu.free));
    }
    Ok(gpus)
}

/// `MULLAMA_GPU_MEMORY`: the most that may be used of each GPU, as `8GiB` or `500MB`.
fn memory_limit() -> Result<Option<u64>> {
    let Ok(text) = std::env::var("MULLAMA_GPU_MEMORY") else { return Ok(None) };
    parse_size(&text).map(Some).ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("MULLAMA_GPU_MEMORY is `{text}`, which is no size"),
        )
        .with_hint("write a number with its unit: 8GiB, 500MB")
    })
}

/// A size with its unit. One without is refused: GB and GiB differ by 7 %.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(at);
    let unit = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "TiB" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| (number * unit) as u64)
}

/// Whether the caller left it to us which GPUs are used, and in which order.
fn is_order_open(params: &ModelParams) -> bool {
    params.devices.is_none()
        && params.tensor_split.is_none()
        && params.main_gpu.is_none()
        && params.split_mode.is_none()
}

struct Planner<'a> {
    path: &'a Path,
    gpus: Vec<Budget>,
    /// Layers of the model, the output layer included.
    all_layers: u32,
}

impl Planner<'_> {
    /// What an explicit request needs must be free.
    fn check(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        asked: GpuLayers,
    ) -> Result<()> {
        let needed = self.dry_run(params, settings)?;
        if self.fits(&needed, false) {
            return Ok(());
        }
        let with = |layers: u32| params.clone().with_n_gpu_layers(GpuLayers::Count(layers));
        let most = match asked {
            GpuLayers::Count(layers) => layers.min(self.all_layers),
            _ => self.all_layers,
        };
        let best =
            largest(most, |layers| Ok(self.fits(&self.dry_run(&with(layers), settings)?, false)))?;
        let shortages: Vec<_> = self
            .shares(&needed)
            .filter(|(gpu, share)| total(share) > gpu.free)
            .map(|(gpu, share)| {
                format!("{} needs {} bytes and has {} free", gpu.name, total(share), gpu.free)
            })
            .collect();
        let mut error = Error::new(
            ErrorKind::DoesNotFit,
            format!(
                "{} with {most} of {} layers on GPUs does not fit: {}",
                self.path.display(),
                self.all_layers,
                shortages.join("; ")
            ),
        )
        .with_context("path", self.path.display())
        .with_context("max_n_gpu_layers", best)
        .with_hint(format!(
            "n_gpu_layers={best} fits; a smaller context_size leaves room for more"
        ));
        for (gpu, share) in self.shares(&needed) {
            let sizes = format!("{}: needed {}, free {}", gpu.name, total(share), gpu.free);
            error = error.with_context("device", sizes);
        }
        Err(error)
    }

    /// The best placement that fits: on the fewest GPUs that hold everything; else the experts of a
    /// mixture to the CPU; else as many layers as fit.
    fn automatic(
        &self,
        header: &GgufHeader,
        params: &ModelParams,
        settings: ContextSettings,
        context_is_open: bool,
    ) -> Result<(ModelParams, ContextSettings)> {
        let mut smaller = settings.clone();
        smaller.n_ctx = settings.n_ctx.min(SMALLEST_AUTOMATIC_CONTEXT);
        let mut contexts = vec![settings];
        if context_is_open && smaller.n_ctx < contexts[0].n_ctx {
            contexts.push(smaller);
        }
        let whole = |devices: usize| self.on(params, devices, GpuLayers::All);
        let fewest = if is_order_open(params) { 1 } else { self.gpus.len() };
        for settings in &contexts {
            for devices in fewest..=self.gpus.len() {
                if self.fits(&self.dry_run(&whole(devices), settings)?, true) {
                    return Ok((whole(devices), settings.clone()));
                }
            }
        }

        let mut settings = contexts.pop().expect("there is a context");
        let is_mixture = number(header, params, "expert_count").unwrap_or(0) > 0;
        let experts_are_open = params.cpu_moe.is_none() && params.n_cpu_moe.is_none();
        let mut params = params.clone();
        if is_mixture && experts_are_open {
            let blocks = self.all_layers - 1;
            let kept = |count: u32| {
                self.on(&params, self.gpus.len(), GpuLayers::All).with_n_cpu_moe(blocks - count)
            };
            if self.fits(&self.dry_run(&kept(0), &settings)?, true) {
                let most = largest(blocks, |count| {
                    Ok(self.fits(&self.dry_run(&kept(count), &settings)?, true))
                })?;
                return Ok((kept(most), settings));
            }
            params.cpu_moe = Some(true);
        }
        let some = |layers| self.on(&params, self.gpus.len(), GpuLayers::Count(layers));
        let most = largest(self.all_layers, |layers| {
            Ok(self.fits(&self.dry_run(&some(layers), &settings)?, true))
        })?;
        if context_is_open && most == 0 {
            // Nothing is on a GPU: then its memory is no reason for a smaller context.
            settings = contexts.pop().unwrap_or(settings);
        }
        Ok((some(most), settings))
    }

    /// The parameters with so many layers on the first `devices` GPUs.
    fn on(&self, params: &ModelParams, devices: usize, layers: GpuLayers) -> ModelParams {
        let params = params.clone().with_n_gpu_layers(layers);
        if devices == self.gpus.len() && !is_order_open(&params) {
            return params;
        }
        let names: Vec<_> = self.gpus[..devices].iter().map(|gpu| gpu.name.clone()).collect();
        params.with_devices(names)
    }

    fn shares<'a>(
        &'a self,
        placement: &'a Placement,
    ) -> impl Iterator<Item = (&'a Budget, &'a DeviceShare)> {
        placement
            .devices
            .iter()
            .filter_map(|share| Some((self.gpus.iter().find(|gpu| gpu.name == share.name)?, share)))
    }

    fn fits(&self, placement: &Placement, keep_margin: bool) -> bool {
        self.shares(placement).all(|(gpu, share)| {
            let kept = if keep_margin { gpu.margin } else { 0 };
            total(share) + kept <= gpu.free
        })
    }

    /// What would be where. Asked the same again, it answers from memory.
    fn dry_run(&self, params: &ModelParams, settings: &ContextSettings) -> Result<Placement> {
        static KNOWN: Mutex<Option<HashMap<String, Placement>>> = Mutex::new(None);
        // Without shares of their own, devices get theirs by their free memory.
        let free: Vec<_> = self.gpus.iter().map(|gpu| (&gpu.name, gpu.free >> 26)).collect();
        let file = std::fs::metadata(self.path).ok();
        let written = file.as_ref().and_then(|file| file.modified().ok());
        let size = file.map(|file| file.len());
        let key = format!(
            "{} {size:?} {:?} {free:?} {params:?} {settings:?}",
            self.path.display(),
            written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        );
        let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(placement) = known().get_or_insert_default().get(&key) {
            return Ok(placement.clone());
        }
        let placement = logging::quietly(|| {
            let weights = Arc::new(Weights::pretend(self.path, params)?);
            dry_run(weights, settings)
        })?;
        known().get_or_insert_default().insert(key, placement.clone());
        Ok(placement)
    }
}

fn total(share: &DeviceShare) -> u64 {
    share.weights + share.kv + share.compute
}

/// The largest number up to `most` that holds; 0 is taken to hold, and what holds to hold for less.
fn largest(most: u32, holds: impl Fn(u32) -> Result<bool>) -> Result<u32> {
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle)? {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_that_holds_is_found() {
        for limit in 0..=20 {
            assert_eq!(largest(20, |n| Ok(n <= limit)).unwrap(), limit);
        }
        assert_eq!(largest(0, |_| Ok(false)).unwrap(), 0);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("8GiB"), Some(8 << 30));
        assert_eq!(parse_size("500 MB"), Some(500_000_000));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        for bad in ["", "8", "GiB", "8 apples", "-1GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
