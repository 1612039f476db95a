//! The settings that weights are loaded with.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr;

use mullama_sys as sys;
use serde_json::Value;

use crate::device::{DeviceSet, HOST, Handle, find, kernels};
use crate::options::{CpuKernels, GpuLayers, ModelParams, SplitMode, check_range};
use crate::source::overrides::value_of;
use crate::{Error, Result};
use mullama_base::units;
use mullama_gguf::MetadataValue;

/// The tensors of a mixture's experts (llama.cpp's `LLM_FFN_EXPS_REGEX`).
const EXPERTS: &str = "\\.ffn_(up|down|gate|gate_up)_(ch|)exps";

/// The layers whose experts stay in system RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum HostExperts {
    /// All layers.
    All,
    /// The given number of layers, counted from the first.
    First(u32),
}

/// Model parameters with all names resolved and all defaults applied. Unset values have their widest meaning: all
/// layers, all GPUs.
#[derive(Clone)]
pub(crate) struct WeightSettings {
    /// The known devices, which stay alive as long as the weights.
    pub devices: DeviceSet,
    /// The GPUs that may be used, in the order in which they are filled: the main GPU first.
    pub gpus: Vec<Handle>,
    /// Layers on GPUs, counted from the last; `None` means all.
    pub n_gpu_layers: Option<u32>,
    /// What is split. `row` is `tensor` here if a backend cannot split rows.
    pub split_mode: SplitMode,
    /// A share for each of `gpus`; `None` divides by free memory, or equally in split mode `tensor`.
    pub tensor_split: Option<Vec<f32>>,
    pub host_experts: HostExperts,
    /// The CPU kernels; `None` follows `MULLAMA_KERNELS`.
    pub cpu_kernels: Option<CpuKernels>,
    pub use_mmap: bool,
    pub use_mlock: bool,
    pub check_tensors: bool,
    pub vocab_only: bool,
    /// Values that override the file's metadata.
    pub metadata: BTreeMap<String, Value>,
    /// Patterns for names of tensors, and the device of those that match; `None` is system RAM.
    tensor_overrides: Vec<(CString, Option<Handle>)>,
}

impl WeightSettings {
    /// Checks the options against the available devices.
    pub fn resolve(params: &ModelParams, devices: &DeviceSet) -> Result<Self> {
        params.check()?;
        kernels::check(params.cpu_kernels)?;
        let mut gpus = devices.chosen(params)?;
        if let Some(shares) = &params.tensor_split {
            check_split(shares, gpus.len())?;
        }
        let mut tensor_split = params.tensor_split.clone();
        put_main_gpu_first(params.settled_main_gpu(), &mut gpus, tensor_split.as_mut())?;
        let split_mode = match params.split_mode.unwrap_or_default() {
            SplitMode::Row if !gpus.iter().all(|gpu| gpu.can_split_rows()) => SplitMode::Tensor,
            mode => mode,
        };
        if split_mode == SplitMode::None {
            gpus.truncate(1);
        }
        let metadata = params.metadata_overrides.clone().unwrap_or_default();
        raw_metadata(&metadata)?;
        let settings = Self {
            n_gpu_layers: match params.n_gpu_layers.unwrap_or_default() {
                GpuLayers::Auto | GpuLayers::All => None,
                GpuLayers::Count(layers) => Some(layers),
            },
            split_mode,
            tensor_split,
            host_experts: if params.settled_cpu_moe() {
                HostExperts::All
            } else {
                HostExperts::First(params.settled_n_cpu_moe())
            },
            cpu_kernels: params.cpu_kernels,
            use_mmap: params.settled_use_mmap(),
            use_mlock: params.settled_use_mlock(),
            check_tensors: params.settled_check_tensors(),
            vocab_only: params.settled_vocab_only(),
            metadata,
            tensor_overrides: resolve_overrides(params, devices, &gpus)?,
            devices: devices.clone(),
            gpus,
        };
        settings.check_patterns()?;
        if settings.tensor_shares().is_some()
            && let Some((pattern, Some(gpu))) =
                settings.tensor_overrides.iter().find(|(_, device)| device.is_some())
        {
            let problem = format!(
                "`{}`: in split mode tensor, {} has a part of every tensor; only CPU can be named",
                pattern.to_string_lossy(),
                gpu.name()
            );
            return Err(Error::option("tensor_overrides", problem));
        }
        Ok(settings)
    }

    /// In split mode `tensor`, each GPU's name and its share of every tensor, as parts of 1. The engine then combines
    /// the GPUs into one device. None otherwise.
    pub(super) fn tensor_shares(&self) -> Option<Vec<(String, f64)>> {
        if self.split_mode != SplitMode::Tensor || self.gpus.len() < 2 {
            return None;
        }
        let share = |index: usize| match &self.tensor_split {
            Some(shares) => f64::from(shares.get(index).copied().unwrap_or(0.0)),
            None => 1.0,
        };
        let sum: f64 = (0..self.gpus.len()).map(share).sum();
        let gpus = self.gpus.iter().enumerate();
        Some(gpus.map(|(index, gpu)| (gpu.name(), share(index) / sum)).collect())
    }

    fn check_patterns(&self) -> Result<()> {
        // SAFETY: a constant of the engine.
        let most = unsafe { sys::llama_max_tensor_buft_overrides() } - 1;
        let experts = match self.host_experts {
            HostExperts::All => 1,
            HostExperts::First(layers) => layers as usize,
        };
        let overrides = self.tensor_overrides.len();
        if overrides + experts <= most {
            return Ok(());
        }
        // Each of the layers takes a pattern.
        if let HostExperts::First(layers) = self.host_experts
            && overrides <= most
        {
            return check_range("n_cpu_moe", &layers, &(0..=(most - overrides) as u32));
        }
        let allowed = most - experts.min(most);
        let problem = format!("{overrides} patterns; at most {allowed} are allowed");
        Err(Error::option("tensor_overrides", problem))
    }

    /// The patterns for tensors with their devices, in the order in which they are tried: the user's before those of
    /// the experts.
    fn patterns(&self) -> Vec<(CString, Option<Handle>)> {
        let experts = |prefix: String| {
            (CString::new(prefix + EXPERTS).expect("the pattern has no NUL"), None)
        };
        let mut patterns = self.tensor_overrides.clone();
        match self.host_experts {
            HostExperts::All => patterns.push(experts(String::new())),
            HostExperts::First(layers) => {
                patterns.extend((0..layers).map(|layer| experts(format!("blk\\.{layer}"))));
            }
        }
        patterns
    }

    /// Whether some tensors are placed on another device than their layer.
    pub fn has_overrides(&self) -> bool {
        !self.tensor_overrides.is_empty()
    }

    /// The engine's form of the settings, which borrows from them.
    pub(super) fn raw(&self) -> Result<RawWeightSettings<'_>> {
        self.check_patterns()?;
        let metadata = raw_metadata(&self.metadata)?;
        let mut gpus = self.gpus.clone();
        if self.n_gpu_layers == Some(0) {
            // The engine would still use a GPU without layers for long prompts.
            let is_named = |gpu| self.tensor_overrides.iter().any(|(_, to)| *to == Some(gpu));
            gpus.retain(|&gpu| is_named(gpu));
        }
        // SAFETY: buffer types live as long as the process.
        let buft = |device: Option<Handle>| unsafe {
            match device {
                Some(device) => sys::ggml_backend_dev_buffer_type(device.as_ptr()),
                None => sys::ggml_backend_cpu_buffer_type(),
            }
        };
        let patterns = self.patterns();
        let mut overrides: Vec<_> = patterns
            .iter()
            .map(|(pattern, device)| sys::llama_model_tensor_buft_override {
                pattern: pattern.as_ptr(),
                buft: buft(*device),
            })
            .collect();
        overrides.push(sys::llama_model_tensor_buft_override {
            pattern: ptr::null(),
            buft: ptr::null_mut(),
        });
        // SAFETY: a constant of the engine.
        let most_devices = unsafe { sys::llama_max_devices() };
        let split = self.tensor_split.as_ref().map(|shares| {
            let mut padded = shares.clone();
            padded.resize(most_devices, 0.0);
            padded
        });
        let handles: Vec<_> =
            gpus.iter().map(|gpu| gpu.as_ptr()).chain([ptr::null_mut()]).collect();

        // SAFETY: a plain struct of defaults.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers =
            self.n_gpu_layers.map_or(-1, |layers| i32::try_from(layers).unwrap_or(i32::MAX));
        params.split_mode = match self.split_mode {
            // With fewer than two GPUs there is nothing to split.
            SplitMode::Row | SplitMode::Tensor if gpus.len() < 2 => sys::LLAMA_SPLIT_MODE_LAYER,
            SplitMode::None => sys::LLAMA_SPLIT_MODE_NONE,
            SplitMode::Layer => sys::LLAMA_SPLIT_MODE_LAYER,
            SplitMode::Row => sys::LLAMA_SPLIT_MODE_ROW,
            SplitMode::Tensor => sys::LLAMA_SPLIT_MODE_TENSOR,
        };
        params.main_gpu = if gpus.is_empty() { -1 } else { 0 };
        params.tensor_split = split.as_ref().map_or(ptr::null(), Vec::as_ptr);
        params.devices = handles.as_ptr().cast_mut();
        params.tensor_buft_overrides =
            if patterns.is_empty() { ptr::null() } else { overrides.as_ptr() };
        params.kv_overrides =
            if self.metadata.is_empty() { ptr::null() } else { metadata.as_ptr() };
        params.load_mode = match (self.use_mmap, self.use_mlock) {
            (true, true) => sys::LLAMA_LOAD_MODE_MMAP_MLOCK,
            (true, false) => sys::LLAMA_LOAD_MODE_MMAP,
            (false, true) => sys::LLAMA_LOAD_MODE_MLOCK,
            (false, false) => sys::LLAMA_LOAD_MODE_NONE,
        };
        params.check_tensors = self.check_tensors;
        params.vocab_only = self.vocab_only;
        Ok(RawWeightSettings {
            params,
            _pointed_to: (handles, patterns, overrides, split, metadata),
            _settings: PhantomData,
        })
    }
}

/// Hashes everything that decides where the weights are placed and how much memory they take. Devices are hashed by
/// name, so the result is the same in every process.
impl Hash for WeightSettings {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            devices: _,
            gpus,
            n_gpu_layers,
            split_mode,
            tensor_split,
            host_experts,
            cpu_kernels,
            use_mmap,
            use_mlock,
            check_tensors: _,
            vocab_only,
            metadata,
            tensor_overrides,
        } = self;
        gpus.hash(state);
        (n_gpu_layers, split_mode, host_experts, cpu_kernels).hash(state);
        let split = tensor_split.as_ref();
        split.map(|shares| shares.iter().map(|s| s.to_bits()).collect::<Vec<_>>()).hash(state);
        (use_mmap, use_mlock, vocab_only, metadata, tensor_overrides).hash(state);
    }
}

type PointerTargets = (
    Vec<sys::ggml_backend_dev_t>,
    Vec<(CString, Option<Handle>)>,
    Vec<sys::llama_model_tensor_buft_override>,
    Option<Vec<f32>>,
    Vec<sys::llama_model_kv_override>,
);

/// The engine's form of the settings.
pub(super) struct RawWeightSettings<'a> {
    /// Points into the fields below.
    pub params: sys::llama_model_params,
    _pointed_to: PointerTargets,
    _settings: PhantomData<&'a WeightSettings>,
}

/// The user's overrides, with the devices that they name.
fn resolve_overrides(
    params: &ModelParams,
    devices: &DeviceSet,
    gpus: &[Handle],
) -> Result<Vec<(CString, Option<Handle>)>> {
    let resolve = |(pattern, device): &(String, String)| {
        let problem =
            |what: String| Error::option("tensor_overrides", format!("`{pattern}`: {what}"));
        let device = if device.eq_ignore_ascii_case(HOST) {
            None
        } else {
            let device = find(&devices.known, device).map_err(|e| problem(e.to_string()))?;
            if !gpus.contains(&device) {
                return Err(problem(format!("{} is not among `devices`", device.name())));
            }
            Some(device)
        };
        let text = CString::new(pattern.as_str())
            .map_err(|_| problem("it contains a NUL byte".to_owned()))?;
        sys::shim::check_pattern(&text).map_err(problem)?;
        Ok((text, device))
    };
    params.tensor_overrides.iter().flat_map(|overrides| &overrides.0).map(resolve).collect()
}

/// Moves the main GPU to the front, with its share: it is filled first.
fn put_main_gpu_first(main: u32, gpus: &mut [Handle], shares: Option<&mut Vec<f32>>) -> Result<()> {
    let index = main as usize;
    if index == 0 {
        return Ok(());
    }
    if index >= gpus.len() {
        let names: Vec<_> =
            gpus.iter().enumerate().map(|(at, gpu)| format!("{at} is {}", gpu.name())).collect();
        let known =
            if names.is_empty() { "no GPU can be used".to_owned() } else { names.join(", ") };
        return Err(Error::option("main_gpu", format!("there is no GPU {main}: {known}")));
    }
    gpus[..=index].rotate_right(1);
    if let Some(shares) = shares {
        shares.resize(gpus.len().max(shares.len()), 0.0);
        shares[..=index].rotate_right(1);
    }
    Ok(())
}

/// Checks the shares of the given number of GPUs.
fn check_split(shares: &[f32], gpus: usize) -> Result<()> {
    let problem = |what: String| Err(Error::option("tensor_split", what));
    if shares.iter().any(|share| !share.is_finite() || *share < 0.0) {
        return problem("shares must be numbers of 0 or more".to_owned());
    }
    if shares.iter().sum::<f32>() <= 0.0 {
        return problem("at least one share must be more than 0".to_owned());
    }
    // A machine without a GPU runs everything on its CPU, whatever the shares.
    if gpus > 0 && shares.len() > gpus {
        let counts = [units::count(shares.len(), "share"), units::count(gpus, "GPU")];
        return problem(counts.join(" for "));
    }
    // SAFETY: a constant of the engine.
    let most = unsafe { sys::llama_max_devices() };
    if shares.len() > most {
        return problem(format!("{} shares; the limit is {most}", shares.len()));
    }
    Ok(())
}

/// The engine's form of the overrides, terminated by one with an empty key.
fn raw_metadata(values: &BTreeMap<String, Value>) -> Result<Vec<sys::llama_model_kv_override>> {
    let problem =
        |key: &str, what: &str| Error::option("metadata_overrides", format!("`{key}`: {what}"));
    let fill = |target: &mut [c_char], text: &str| {
        // One byte is reserved for the terminating NUL.
        let fits = text.len() < target.len() && !text.contains('\0');
        for (to, from) in target.iter_mut().zip(text.bytes()) {
            *to = from as c_char;
        }
        fits
    };
    // SAFETY: a struct of plain numbers and arrays, for which zero is valid.
    let empty: sys::llama_model_kv_override = unsafe { std::mem::zeroed() };
    let mut overrides = Vec::with_capacity(values.len() + 1);
    for (key, value) in values {
        let mut entry = empty;
        if key.is_empty() || !fill(&mut entry.key, key) {
            return Err(problem(key, "a key has 1 to 127 bytes"));
        }
        match value_of(key, value) {
            Some(MetadataValue::Bool(flag)) => {
                entry.tag = sys::LLAMA_KV_OVERRIDE_TYPE_BOOL;
                entry.__bindgen_anon_1.val_bool = flag;
            }
            Some(MetadataValue::Int(number)) => {
                entry.tag = sys::LLAMA_KV_OVERRIDE_TYPE_INT;
                entry.__bindgen_anon_1.val_i64 = number;
            }
            Some(MetadataValue::Float(number)) => {
                entry.tag = sys::LLAMA_KV_OVERRIDE_TYPE_FLOAT;
                entry.__bindgen_anon_1.val_f64 = number;
            }
            Some(MetadataValue::Text(text)) => {
                entry.tag = sys::LLAMA_KV_OVERRIDE_TYPE_STR;
                // SAFETY: all variants of the union are plain data, zeroed above.
                if !fill(unsafe { &mut entry.__bindgen_anon_1.val_str }, &text) {
                    return Err(problem(key, "a text has at most 127 bytes"));
                }
            }
            _ => return Err(problem(key, "expected a number, a text, true or false")),
        }
        overrides.push(entry);
    }
    overrides.push(empty);
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::device::{SimulatedGpu, simulate};

    fn three_gpus() -> DeviceSet {
        let gpu = || SimulatedGpu {
            backend: "cuda".to_owned(),
            description: "a GPU".to_owned(),
            memory: 1 << 30,
        };
        simulate(&[gpu(), gpu(), gpu()]).unwrap()
    }

    #[test]
    fn the_main_gpu_is_the_first_with_its_share() {
        let devices = three_gpus();
        let settings = |params: ModelParams| WeightSettings::resolve(&params, &devices).unwrap();
        let names = |settings: &WeightSettings| {
            settings.gpus.iter().map(|gpu| gpu.name()).collect::<Vec<_>>()
        };
        let third = settings(ModelParams::default().with_main_gpu(2).with_tensor_split([3.0, 1.0]));
        assert_eq!(names(&third), ["CUDA2", "CUDA0", "CUDA1"]);
        assert_eq!(third.tensor_split, Some(vec![0.0, 3.0, 1.0]));
        let alone =
            settings(ModelParams::default().with_main_gpu(1).with_split_mode(SplitMode::None));
        assert_eq!(names(&alone), ["CUDA1"]);
        let error = WeightSettings::resolve(&ModelParams::default().with_main_gpu(3), &devices)
            .map(drop)
            .unwrap_err();
        assert_eq!(error.get("option"), Some("main_gpu"));
        let problem = "there is no GPU 3: 0 is CUDA0, 1 is CUDA1, 2 is CUDA2";
        assert!(error.to_string().contains(problem), "{error}");
    }

    #[test]
    fn rows_are_split_as_tensors_where_the_backend_cannot_split_rows() {
        let devices = three_gpus();
        let row = ModelParams::default().with_split_mode(SplitMode::Row);
        let settings = WeightSettings::resolve(&row, &devices).unwrap();
        assert_eq!(settings.split_mode, SplitMode::Tensor);
        let shares = settings.tensor_shares().unwrap();
        assert_eq!(shares.len(), 3);
        assert!(shares.iter().all(|(_, share)| (share - 1.0 / 3.0).abs() < 1e-9), "{shares:?}");
        let uneven = row.clone().with_tensor_split([3.0, 1.0]).with_main_gpu(1);
        let shares = WeightSettings::resolve(&uneven, &devices).unwrap().tensor_shares().unwrap();
        let expected = [("CUDA1", 0.25), ("CUDA0", 0.75), ("CUDA2", 0.0)];
        assert_eq!(shares, expected.map(|(name, share)| (name.to_owned(), share)));
        let named = row.with_tensor_overrides([("output".to_owned(), "CUDA1".to_owned())]);
        let error = WeightSettings::resolve(&named, &devices).map(drop).unwrap_err();
        assert_eq!(error.get("option"), Some("tensor_overrides"), "{error}");
    }

    #[test]
    fn bad_shares_are_refused() {
        assert!(check_split(&[3.0, 1.0], 2).is_ok());
        for bad in [&[-1.0, 2.0][..], &[f32::NAN], &[0.0, 0.0], &[], &[1.0; 3], &[1.0; 400]] {
            let error = check_split(bad, 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
        }
    }

    #[test]
    fn shares_are_padded_for_the_engine() {
        let mut settings =
            WeightSettings::resolve(&ModelParams::default(), &DeviceSet::processors()).unwrap();
        settings.tensor_split = Some(vec![3.0, 1.0]);
        let raw = settings.raw().unwrap();
        // SAFETY: the settings have as many shares as the engine reads.
        let shares = unsafe { std::slice::from_raw_parts(raw.params.tensor_split, 3) };
        assert_eq!(shares, [3.0, 1.0, 0.0]);
    }

    #[test]
    fn equal_placements_have_equal_hashes() {
        let hash = |params: &ModelParams| {
            let devices = DeviceSet::processors();
            let mut hasher = std::hash::DefaultHasher::new();
            WeightSettings::resolve(params, &devices).unwrap().hash(&mut hasher);
            hasher.finish()
        };
        let one = hash(&ModelParams::default());
        assert_eq!(one, hash(&ModelParams::default().with_n_gpu_layers(-1)));
        assert_eq!(one, hash(&ModelParams::default().with_chat_template("x")));
        let others = [
            ModelParams::default().with_n_gpu_layers(1),
            ModelParams::default().with_cpu_moe(true),
            ModelParams::default().with_n_cpu_moe(1),
            ModelParams::default().with_cpu_kernels(CpuKernels::Engine),
            ModelParams::default().with_use_mmap(false),
            ModelParams::default().with_tensor_split([1.0]),
            ModelParams::default().with_tensor_overrides([("a", HOST)]),
            ModelParams::default().with_metadata_overrides([("a".to_owned(), 1.into())]),
        ];
        for other in &others {
            assert_ne!(one, hash(other), "{other:?}");
        }
    }

    #[test]
    fn unknown_devices_and_bad_patterns_are_refused() {
        let refused = |params: ModelParams| {
            let devices = DeviceSet::of(&params).unwrap();
            WeightSettings::resolve(&params, &devices).map(drop).unwrap_err().to_string()
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

    #[test]
    fn excess_patterns_name_their_option() {
        let error = |params: ModelParams| {
            WeightSettings::resolve(&params, &DeviceSet::processors()).map(drop).unwrap_err()
        };
        let overrides = |count: usize| (0..count).map(|at| (at.to_string(), HOST.to_owned()));
        let params = ModelParams::default;
        for (params, option, problem) in [
            (
                params().with_n_cpu_moe(u32::MAX),
                "n_cpu_moe",
                "between 0 and 4095, and is 4294967295",
            ),
            (params().with_n_cpu_moe(4096), "n_cpu_moe", "between 0 and 4095, and is 4096"),
            (
                params().with_n_cpu_moe(4095).with_tensor_overrides(overrides(1)),
                "n_cpu_moe",
                "between 0 and 4094, and is 4095",
            ),
            (
                params().with_tensor_overrides(overrides(4096)),
                "tensor_overrides",
                "4096 patterns; at most 4095 are allowed",
            ),
            (
                params().with_cpu_moe(true).with_tensor_overrides(overrides(4095)),
                "tensor_overrides",
                "4095 patterns; at most 4094 are allowed",
            ),
            (
                params().with_n_cpu_moe(9).with_tensor_overrides(overrides(5000)),
                "tensor_overrides",
                "5000 patterns; at most 4086 are allowed",
            ),
        ] {
            let error = error(params);
            assert_eq!(error.get("option"), Some(option), "{error}");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
