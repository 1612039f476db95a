//! Where a model goes, and where it went.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr;

use mullama_sys as sys;
use serde::{Deserialize, Serialize};

use crate::device::{DeviceSet, HOST, Handle, find};
use crate::params::{GpuLayers, ModelParams, SplitMode};
use crate::{Error, ErrorKind, Result};

/// The tensors of a mixture's experts (llama.cpp's `LLM_FFN_EXPS_REGEX`).
const EXPERTS: &str = "\\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// Where a loaded model is: the devices that hold a part of it, the machine's own memory last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// What each device holds.
    pub devices: Vec<DeviceShare>,
}

/// What one device holds of a model, in bytes as they were allocated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceShare {
    /// The device's name; `CPU` is the machine's own memory.
    pub name: String,
    /// Layers; the output layer counts as one.
    pub layers: u32,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of KV cache.
    pub kv: u64,
    /// Bytes of buffers to compute in.
    pub compute: u64,
}

impl DeviceShare {
    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.compute
    }
}

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
    /// Reads the breakdown.
    pub fn read(breakdown: &str) -> Result<Vec<Self>> {
        serde_json::from_str(breakdown).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("the memory breakdown is unreadable: {error}"))
        })
    }

    /// What becomes of buffers that are only planned when they are allocated: the Vulkan backend makes each in
    /// the machine's own memory larger than it was asked to (ggml-vulkan.cpp).
    pub fn allocated(mut self) -> Self {
        const MORE: u64 = 32;
        if self.buffer_type == "Vulkan_Host" {
            for bytes in [&mut self.model, &mut self.context, &mut self.compute] {
                *bytes += MORE * bytes.div_ceil(self.max_size.max(1));
            }
        }
        self
    }
}

impl Placement {
    /// Puts together the engine's breakdown of a context's memory and the layers that it told of.
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
            // Memory that a GPU can read but the host owns is the host's.
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
        devices.sort_by(|a, b| (a.name == HOST, &a.name).cmp(&(b.name == HOST, &b.name)));
        Self { devices }
    }

    /// The weights, without a context.
    pub(crate) fn weights_alone(mut self) -> Self {
        for share in &mut self.devices {
            (share.kv, share.compute) = (0, 0);
        }
        self.of_use()
    }

    /// The context, on weights that are there anyhow, with so many bytes of outputs beside it.
    pub(crate) fn context_alone(mut self, outputs: u64) -> Self {
        for share in &mut self.devices {
            (share.layers, share.weights) = (0, 0);
        }
        let host =
            DeviceShare { name: HOST.to_owned(), compute: outputs, ..DeviceShare::default() };
        self.plus(Self { devices: vec![host] }).of_use()
    }

    /// Bytes of weights in the machine's own memory.
    pub(crate) fn host_weights(&self) -> u64 {
        self.devices.iter().find(|share| share.name == HOST).map_or(0, |share| share.weights)
    }

    /// With buffers to compute in that are as large as another's at least.
    pub(crate) fn with_compute_of(mut self, other: &Self) -> Self {
        for share in &mut self.devices {
            let other = other.devices.iter().find(|other| other.name == share.name);
            share.compute = share.compute.max(other.map_or(0, |other| other.compute));
        }
        self
    }

    /// Both together.
    pub(crate) fn plus(mut self, other: Self) -> Self {
        for added in other.devices {
            match self.devices.iter_mut().find(|share| share.name == added.name) {
                Some(share) => {
                    share.layers += added.layers;
                    share.weights += added.weights;
                    share.kv += added.kv;
                    share.compute += added.compute;
                }
                None => self.devices.push(added),
            }
        }
        self
    }

    fn of_use(mut self) -> Self {
        self.devices.retain(|share| share.layers > 0 || share.total() > 0);
        self
    }
}

/// Reads `layer  7 assigned to device Vulkan0, is_swa = 0`.
pub(crate) fn read_assignment(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" assigned to device ")?;
    rest.split_once(',').map(|(name, _)| name)
}

/// The engine's form of the placement options. What it points to lives as long as it does.
pub(crate) struct RawPlacement {
    /// Closed by a null.
    devices: Vec<sys::ggml_backend_dev_t>,
    /// Closed by an entry without a pattern; empty where there are none.
    overrides: Vec<sys::llama_model_tensor_buft_override>,
    /// What the overrides point into.
    patterns: Vec<CString>,
    /// Padded to the number of devices that the engine reads.
    tensor_split: Option<Vec<f32>>,
    main_gpu: i32,
}

impl RawPlacement {
    /// Checks the options against the devices that there are.
    pub fn resolve(params: &ModelParams, devices: &DeviceSet) -> Result<Self> {
        let mut gpus = devices.chosen(params)?;
        let mut raw = Self {
            devices: Vec::new(),
            overrides: Vec::new(),
            patterns: Vec::new(),
            tensor_split: tensor_split(params, gpus.len())?,
            main_gpu: 0,
        };
        if let Some(main_gpu) = params.main_gpu {
            if main_gpu as usize >= gpus.len().max(1) {
                let problem =
                    format!("there is no GPU {main_gpu}; there are {}, from 0 on", gpus.len());
                return Err(Error::option("main_gpu", problem));
            }
            raw.main_gpu = main_gpu as i32;
        }
        let named = raw.add_overrides(params, devices, &gpus)?;
        if params.n_gpu_layers == Some(GpuLayers::Count(0)) {
            // A GPU without layers would still be lent to long prompts.
            gpus.retain(|gpu| named.contains(gpu));
        }
        if gpus.is_empty() {
            raw.main_gpu = -1;
        }
        raw.devices = gpus.iter().map(|gpu| gpu.as_ptr()).chain([ptr::null_mut()]).collect();
        Ok(raw)
    }

    /// Fills in the engine's parameters, which then point into `self`.
    pub fn apply(&self, params: &ModelParams, raw: &mut sys::llama_model_params) {
        // One of them closes the list.
        let alone = self.devices.len() <= 2;
        raw.split_mode = match params.split_mode.unwrap_or_default() {
            // With one GPU, or none, there is nothing to divide.
            SplitMode::Row | SplitMode::Tensor if alone => sys::LLAMA_SPLIT_MODE_LAYER,
            SplitMode::None => sys::LLAMA_SPLIT_MODE_NONE,
            SplitMode::Layer => sys::LLAMA_SPLIT_MODE_LAYER,
            SplitMode::Row => sys::LLAMA_SPLIT_MODE_ROW,
            SplitMode::Tensor => sys::LLAMA_SPLIT_MODE_TENSOR,
        };
        raw.main_gpu = self.main_gpu;
        raw.tensor_split = self.tensor_split.as_ref().map_or(ptr::null(), Vec::as_ptr);
        raw.devices = self.devices.as_ptr().cast_mut();
        if !self.overrides.is_empty() {
            raw.tensor_buft_overrides = self.overrides.as_ptr();
        }
    }

    /// Gives the GPUs that are named.
    fn add_overrides(
        &mut self,
        params: &ModelParams,
        devices: &DeviceSet,
        gpus: &[Handle],
    ) -> Result<Vec<Handle>> {
        // The first pattern that matches counts: a user's own come before the experts'.
        let own = params.tensor_overrides.iter().flat_map(|overrides| &overrides.0);
        let mut wanted: Vec<(String, &str)> =
            own.map(|(pattern, device)| (pattern.clone(), device.as_str())).collect();
        if params.cpu_moe.unwrap_or(false) {
            wanted.push((EXPERTS.to_owned(), HOST));
        } else {
            for layer in 0..params.n_cpu_moe.unwrap_or(0) {
                wanted.push((format!("blk\\.{layer}{EXPERTS}"), HOST));
            }
        }
        // SAFETY: a constant of the engine.
        let most = unsafe { sys::llama_max_tensor_buft_overrides() } - 1;
        if wanted.len() > most {
            let problem = format!("{} patterns; the engine takes {most}", wanted.len());
            return Err(Error::option("tensor_overrides", problem));
        }
        let mut named = Vec::new();
        for (pattern, device) in wanted {
            let problem =
                |what: String| Error::option("tensor_overrides", format!("`{pattern}`: {what}"));
            let buft = if device == HOST {
                // SAFETY: buffer types live as long as the process (here and below).
                unsafe { sys::ggml_backend_cpu_buffer_type() }
            } else {
                let device = find(&devices.known, device).map_err(|e| problem(e.to_string()))?;
                if !gpus.contains(&device) {
                    return Err(problem(format!("{} is not among `devices`", device.name())));
                }
                named.push(device);
                // SAFETY: as above.
                unsafe { sys::ggml_backend_dev_buffer_type(device.as_ptr()) }
            };
            let text = CString::new(pattern.as_str())
                .map_err(|_| problem("it contains a NUL byte".to_owned()))?;
            sys::shim::check_pattern(&text).map_err(problem)?;
            self.patterns.push(text);
            let pattern = self.patterns.last().map_or(ptr::null(), |text| text.as_ptr());
            self.overrides.push(sys::llama_model_tensor_buft_override { pattern, buft });
        }
        if !self.overrides.is_empty() {
            self.overrides.push(sys::llama_model_tensor_buft_override {
                pattern: ptr::null(),
                buft: ptr::null_mut(),
            });
        }
        Ok(named)
    }
}

/// The engine reads as many shares as it can have devices.
fn tensor_split(params: &ModelParams, gpus: usize) -> Result<Option<Vec<f32>>> {
    let Some(shares) = &params.tensor_split else { return Ok(None) };
    if shares.iter().any(|share| !share.is_finite() || *share < 0.0) {
        return Err(Error::option("tensor_split", "shares must be numbers of 0 or more"));
    }
    if shares.iter().sum::<f32>() <= 0.0 {
        return Err(Error::option("tensor_split", "at least one share must be more than 0"));
    }
    // A machine without a GPU runs everything on its CPU, whatever the shares.
    if gpus > 0 && shares.len() > gpus {
        let problem = format!("{} shares for {gpus} GPUs", shares.len());
        return Err(Error::option("tensor_split", problem));
    }
    // SAFETY: a constant of the engine.
    let most = unsafe { sys::llama_max_devices() };
    if shares.len() > most {
        let problem = format!("{} shares for at most {most} devices", shares.len());
        return Err(Error::option("tensor_split", problem));
    }
    let mut padded = shares.clone();
    padded.resize(most, 0.0);
    Ok(Some(padded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_padded_or_refused() {
        let split =
            |shares: &[f32]| tensor_split(&ModelParams::default().with_tensor_split(shares), 2);
        let padded = split(&[3.0, 1.0]).unwrap().unwrap();
        assert_eq!(&padded[..3], &[3.0, 1.0, 0.0]);
        for bad in [&[-1.0, 2.0][..], &[f32::NAN], &[0.0, 0.0], &[], &[1.0; 3], &[1.0; 400]] {
            assert_eq!(split(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn layers_are_read_from_the_engines_words() {
        let line = "load_tensors: layer   7 assigned to device Vulkan0, is_swa = 0";
        assert_eq!(read_assignment(line), Some("Vulkan0"));
        assert_eq!(read_assignment("load_tensors: offloaded 9/9 layers to GPU"), None);
    }

    #[test]
    fn what_the_host_owns_is_the_hosts() {
        let breakdown = r#"[
            {"buffer_type": "CPU", "device": "CPU", "host": true, "max_size": 99, "model": 1, "context": 2, "compute": 4},
            {"buffer_type": "G0_Host", "device": "G0", "host": true, "max_size": 99, "model": 0, "context": 0, "compute": 8},
            {"buffer_type": "G0", "device": "G0", "host": false, "max_size": 99, "model": 16, "context": 32, "compute": 64}
        ]"#;
        let layers = [("CPU".to_owned(), 3), ("G0".to_owned(), 5)].into();
        let placement = Placement::new(&BufferShare::read(breakdown).unwrap(), &layers);
        let share = |name: &str, layers, weights, kv, compute| DeviceShare {
            name: name.to_owned(),
            layers,
            weights,
            kv,
            compute,
        };
        assert_eq!(placement.devices, [share("G0", 5, 16, 32, 64), share("CPU", 3, 1, 2, 12)]);
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

    #[test]
    fn unknown_devices_and_bad_patterns_are_refused() {
        let refused = |params: ModelParams| {
            let devices = DeviceSet::of(&params).unwrap();
            RawPlacement::resolve(&params, &devices).map(drop).unwrap_err().to_string()
        };
        let unknown = refused(ModelParams::default().with_devices(["CUDA9".to_owned()]));
        assert!(unknown.contains("CUDA9") && unknown.contains("CPU"), "{unknown}");
        let pattern = [("(".to_owned(), HOST.to_owned())];
        let bad = refused(ModelParams::default().with_tensor_overrides(pattern));
        assert!(bad.contains("`(`"), "{bad}");
        let nowhere = [("x".to_owned(), "CUDA9".to_owned())];
        assert!(refused(ModelParams::default().with_tensor_overrides(nowhere)).contains("CUDA9"));
        assert!(refused(ModelParams::default().with_main_gpu(99)).contains("main_gpu"));
    }
}
