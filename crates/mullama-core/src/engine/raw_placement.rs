//! The placement options in the engine's form.

use std::ffi::CString;
use std::ptr;

use mullama_sys as sys;

use crate::device::{DeviceSet, HOST, Handle, find};
use crate::options::{GpuLayers, ModelParams, SplitMode};
use crate::{Error, Result};

/// The tensors of a mixture's experts (llama.cpp's `LLM_FFN_EXPS_REGEX`).
const EXPERTS: &str = "\\.ffn_(up|down|gate|gate_up)_(ch|)exps";

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
        if params.settled_cpu_moe() {
            wanted.push((EXPERTS.to_owned(), HOST));
        } else {
            for layer in 0..params.settled_n_cpu_moe() {
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
    use crate::ErrorKind;

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
