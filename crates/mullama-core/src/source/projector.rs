//! Finds a model's projector, and checks whether its file is safe for the engine to read.
//!
//! The engine divides by numbers from the header and dereferences tensors without checking that they exist. Both are
//! checked here (`clip.cpp` and `models/` of mtmd: `siglip.cpp`, `llava.cpp`, `pixtral.cpp`, `internvl.cpp`,
//! `llama4.cpp`). Tensors whose shapes do not match fail assertions during graph construction, which are caught.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use mullama_gguf::{GgufHeader, MetadataValue, TensorInfo, TensorType};
use mullama_hub::StoredModel;

use crate::{Error, ErrorKind, Result};

/// The supported projector types: LLaVA, Gemma 3, Idefics 3 and SmolVLM, Pixtral, InternVL, Llama 4.
const KINDS: [&str; 6] = ["mlp", "gemma3", "idefics3", "pixtral", "internvl", "llama4"];

/// Maximum number of tiles of a picture. Published models have some dozens.
const MAX_TILES: i64 = 256;

/// Maximum number of patches along a side of a picture. Published models have about sixty.
const MAX_PATCHES: i64 = 512;

/// Maximum of widths in a projector. Published models have some thousands.
const MAX_WIDTH: i64 = 1 << 16;

/// Supported types of a projector's matrices.
const MATRIX_TYPES: [TensorType; 12] = [
    TensorType::F32,
    TensorType::F16,
    TensorType::BF16,
    TensorType::Q8_0,
    TensorType::Q5_0,
    TensorType::Q5_1,
    TensorType::Q4_0,
    TensorType::Q4_1,
    TensorType::Q4_K,
    TensorType::Q5_K,
    TensorType::Q6_K,
    TensorType::IQ4_NL,
];

/// A projector whose header has been checked.
#[derive(Debug, Clone)]
pub(crate) struct ProjectorFile {
    pub path: PathBuf,
    /// The name in messages: "the projector mmproj.gguf", or "the projector of llama3.2-vision:latest".
    pub name: String,
    /// Maximum aspect ratio of a picture (longer side divided by shorter side): the projector's input size in pixels.
    pub longest: u32,
}

/// Finds the projector of a model.
///
/// `asked` is the value of the option: a path, `none`, or `auto` (the default). `auto` takes the projector that the
/// store has for the model, or one in the folder of the model's file. If a projector that was found automatically
/// cannot be used, its error is returned instead of the path, since the model works without it.
pub(crate) fn find(
    path: &Path,
    stored: Option<&StoredModel>,
    header: &GgufHeader,
    asked: Option<&str>,
) -> Result<Option<Result<ProjectorFile>>> {
    // The store's projector belongs to the model; one in the same folder may belong to another.
    let level = if stored.is_some() { log::Level::Warn } else { log::Level::Debug };
    let candidates = match asked {
        Some("none") => return Ok(None),
        Some("auto") | None => match stored {
            Some(model) => model.projector.iter().cloned().collect(),
            None => find_projectors(path),
        },
        Some(path) => {
            let path = mullama_base::folders::expand_home(Path::new(path)).into_owned();
            let name = format!("the projector {}", path.display());
            return check(&path, name, header).map(|file| Some(Ok(file)));
        }
    };
    let mut first_problem = None;
    for path in candidates {
        let name = match stored {
            Some(model) => format!("the projector of {}", model.name),
            None => format!("the projector {}", path.display()),
        };
        match check(&path, name, header) {
            Ok(file) => return Ok(Some(Ok(file))),
            Err(error) => _ = first_problem.get_or_insert(error),
        }
    }
    if let Some(problem) = &first_problem {
        log::log!(level, "the model takes text only: {problem}");
    }
    Ok(first_problem.map(Err))
}

/// The projectors in the folder of a model's file, best match first: the longest common prefix with the model's name,
/// then F16, `Q8_0`, BF16, and others.
fn find_projectors(model: &Path) -> Vec<PathBuf> {
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
    let name_of = |path: &Path| {
        path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase()
    };
    let own = name_of(model);
    let is_projector =
        |name: &str| name.strip_suffix(".gguf").is_some_and(|stem| stem.contains("mmproj"));
    if is_projector(&own) {
        return Vec::new();
    }
    let mut found: Vec<PathBuf> = entries
        .map(|entry| model.with_file_name(entry.file_name()))
        .filter(|path| is_projector(&name_of(path)) && path.is_file())
        .collect();
    let precision = |name: &str| {
        let order = ["bf16", "f16", "q8_0"];
        let found = order.iter().position(|part| name.contains(part));
        // BF16 comes after them: the engine computes with F16.
        [2, 0, 1, 3][found.unwrap_or(3)]
    };
    found.sort_by_key(|path| {
        let name = name_of(path);
        let bare = name.replace("mmproj", "");
        let bare = bare.trim_start_matches(['-', '_', '.']);
        let common = bare.bytes().zip(own.bytes()).take_while(|(a, b)| a == b).count();
        (Reverse(common), precision(&name), name)
    });
    found
}

/// Refuses a projector that would crash the engine, has an unsupported type, or belongs to another model.
fn check(path: &Path, name: String, model: &GgufHeader) -> Result<ProjectorFile> {
    let header = GgufHeader::read(path).map_err(|error| error.naming_file(path, &name))?;
    let refuse = |kind: ErrorKind, problem: String| {
        let message = format!("cannot use {name}: {problem}");
        Error::new(kind, message).with_context("path", path.display())
    };
    if header.text("general.architecture") != Some("clip") {
        let architecture = header.text("general.architecture").unwrap_or("unknown").to_owned();
        let problem = format!("it is a model of architecture {architecture}, not a projector");
        let hint = "projectors are separate files, usually called mmproj-NAME.gguf";
        return Err(refuse(ErrorKind::InvalidModel, problem).with_hint(hint));
    }
    let key = ["clip.projector_type", "clip.vision.projector_type"];
    let kind = key.iter().find_map(|key| header.text(key).filter(|kind| !kind.is_empty()));
    let has_vision = header.get("clip.has_vision_encoder") == Some(&MetadataValue::Bool(true));
    let has_other = ["clip.has_audio_encoder", "clip.has_gen_audio_encoder"]
        .iter()
        .any(|key| header.get(key) == Some(&MetadataValue::Bool(true)));
    let Some(kind) = kind.filter(|kind| KINDS.contains(kind) && has_vision && !has_other) else {
        let kind = kind.unwrap_or("unknown");
        let problem = format!("projectors of its kind, {kind}, are not supported yet");
        let hint = format!("supported are {}, for pictures", KINDS.join(", "));
        return Err(refuse(ErrorKind::Unsupported, problem).with_hint(hint));
    };
    let longest = HeaderCheck { header: &header }.check(kind).map_err(|problem| {
        refuse(ErrorKind::InvalidModel, problem)
            .with_hint("the file is damaged, or was made for another program")
    })?;
    let width = model.architecture_number("embedding_length");
    let own = output_width(&header, kind);
    if let (Some(width), Some(own)) = (width, own)
        && u64::try_from(width) != Ok(own)
    {
        let problem = format!("its embeddings have {own} numbers and the model's have {width}");
        return Err(refuse(ErrorKind::InvalidModel, problem)
            .with_context("projector_embedding", own)
            .with_context("model_embedding", width)
            .with_hint("it belongs to another model"));
    }
    Ok(ProjectorFile { path: path.to_path_buf(), name, longest })
}

/// Length of the embeddings that the projector returns.
fn output_width(header: &GgufHeader, kind: &str) -> Option<u64> {
    let tensor = |name: &str| header.tensors.iter().find(|tensor| tensor.name == name);
    let rows = |name| Some(tensor(name)?.shape.get(1).copied().unwrap_or(1));
    match kind {
        "gemma3" => tensor("mm.input_projection.weight")?.shape.first().copied(),
        "idefics3" | "llama4" => rows("mm.model.fc.weight"),
        "internvl" => rows("mm.model.mlp.3.weight"),
        _ => rows("mm.2.weight").or_else(|| rows("mm.0.weight")),
    }
}

/// Checks of a header against the engine's requirements.
struct HeaderCheck<'a> {
    header: &'a GgufHeader,
}

impl HeaderCheck<'_> {
    /// Checks the header of a projector of type `kind`. Returns the maximum aspect ratio of a picture.
    fn check(&self, kind: &str) -> Result<u32, String> {
        let width = self.number("clip.vision.embedding_length", 1, MAX_WIDTH)?;
        let inner = self.number("clip.vision.feed_forward_length", 0, MAX_WIDTH)?;
        let heads = self.number("clip.vision.attention.head_count", 1, width)?;
        let layers = self.number("clip.vision.block_count", 1, 1024)?;
        let patch = self.number("clip.vision.patch_size", 1, 1024)?;
        let size = self.number("clip.vision.image_size", patch, patch * MAX_PATCHES)?;
        self.number("clip.vision.projection_dim", 0, MAX_WIDTH)?;
        if width % heads != 0 {
            return Err(format!("{heads} heads do not divide an embedding of {width}"));
        }
        match self.header.get("clip.vision.attention.layer_norm_epsilon") {
            Some(MetadataValue::Float(epsilon)) if epsilon.is_finite() && *epsilon >= 0.0 => {}
            _ => return Err("its epsilon is missing, or no number of 0 or more".to_owned()),
        }
        for key in [
            "attention.head_count_kv",
            "attention.head_dim",
            "feature_layer",
            "image_grid_pinpoints",
        ] {
            let key = format!("clip.vision.{key}");
            let is_usual = match (key.as_str(), self.header.get(&key)) {
                (_, None) => true,
                ("clip.vision.attention.head_count_kv", Some(MetadataValue::Int(count))) => {
                    *count == heads
                }
                ("clip.vision.attention.head_dim", Some(MetadataValue::Int(count))) => {
                    *count == width / heads
                }
                _ => false,
            };
            if !is_usual {
                return Err(format!("{key} is not supported yet"));
            }
        }
        self.types(kind)?;
        let side = size / patch;
        if kind != "mlp" && size % patch != 0 {
            return Err(format!("a patch of {patch} pixels does not divide a picture of {size}"));
        }
        match kind {
            "llama4" => self.check_shape("v.patch_embd.weight", &[patch * patch * 3, width])?,
            _ => self.check_shape("v.patch_embd.weight", &[patch, patch, 3, width])?,
        }
        // Rotary embedding of rows and columns: each rotates pairs in one half of a head.
        if matches!(kind, "pixtral" | "llama4") && width / heads % 4 != 0 {
            return Err(format!("4 does not divide a head of {}", width / heads));
        }
        if kind != "pixtral" {
            self.places(kind, width, side)?;
        }
        self.layers(width, inner, layers, kind == "pixtral")?;
        self.projection(kind, width, side)?;
        match kind {
            "idefics3" => {
                _ =
                    self.number("clip.vision.preproc_image_size", size, size * MAX_TILES.isqrt())?;
            }
            "internvl" => self.tiles()?,
            _ => {}
        }
        Ok(size as u32)
    }

    /// Checks the limits on the number of tiles.
    fn tiles(&self) -> Result<(), String> {
        let given = |key: &str, least, default| match self.header.get(key) {
            None => Ok(default),
            Some(_) => self.number(key, least, MAX_TILES),
        };
        let least = given("clip.vision.preproc_min_tiles", 1, 1)?;
        given("clip.vision.preproc_max_tiles", least, 12)?;
        Ok(())
    }

    /// Checks the position embeddings of the patches.
    fn places(&self, kind: &str, width: i64, side: i64) -> Result<(), String> {
        if matches!(kind, "internvl" | "llama4") {
            self.require_tensor("v.class_embd")?;
        }
        let class = self.tensor("v.class_embd").is_some();
        let places = self.require_tensor("v.position_embd.weight")?;
        let wanted = (side * side + i64::from(class)) as u64;
        if places.shape.first() != Some(&(width as u64))
            || places.shape.get(1).copied().unwrap_or(1) < wanted
        {
            return Err(format!("{} has fewer than {wanted} places of {width}", places.name));
        }
        Ok(())
    }

    /// Checks the layers of the vision encoder, and the tensors before and after them. `without_means` stands for RMS
    /// norms, which have no biases.
    fn layers(
        &self,
        width: i64,
        inner: i64,
        layers: i64,
        without_means: bool,
    ) -> Result<(), String> {
        for name in [
            "v.class_embd",
            "v.patch_embd.bias",
            "v.pre_ln.weight",
            "v.pre_ln.bias",
            "v.post_ln.weight",
            "v.post_ln.bias",
        ] {
            if self.tensor(name).is_some() {
                self.check_shape(name, &[width])?;
            }
        }
        for layer in 0..layers {
            let name = |part: &str| format!("v.blk.{layer}.{part}");
            for part in ["attn_q", "attn_k", "attn_v", "attn_out"] {
                self.check_shape(&name(&format!("{part}.weight")), &[width, width])?;
            }
            // In older files, the names of the two are swapped.
            let (up, down) = (name("ffn_up.weight"), name("ffn_down.weight"));
            let ends = self.require_tensor(&up)?.shape.clone();
            let inner =
                if inner > 0 { inner } else { ends.iter().copied().max().unwrap_or(1) as i64 };
            let wide = [width, inner];
            let narrow = [inner, width];
            if self.check_shape(&up, &wide).is_err() || self.check_shape(&down, &narrow).is_err() {
                self.check_shape(&up, &narrow)?;
                self.check_shape(&down, &wide)?;
            }
            for part in ["ln1", "ln2"] {
                self.check_shape(&name(&format!("{part}.weight")), &[width])?;
                if !without_means {
                    self.check_shape(&name(&format!("{part}.bias")), &[width])?;
                }
            }
        }
        Ok(())
    }

    fn projection(&self, kind: &str, width: i64, side: i64) -> Result<(), String> {
        let key = match kind {
            "pixtral" => "clip.vision.spatial_merge_size",
            _ => "clip.vision.projector.scale_factor",
        };
        let merge = |default| {
            let merge = match self.header.get(key) {
                None => default,
                Some(_) => self.number(key, 1, side)?,
            };
            if side % merge != 0 {
                return Err(format!("{side} patches cannot be merged by {merge}"));
            }
            Ok(merge)
        };
        match kind {
            "pixtral" => {
                let merge = merge(1)?;
                let has_merger = self.tensor("mm.patch_merger.weight").is_some();
                if has_merger {
                    self.check_shape("mm.input_norm.weight", &[width])?;
                    self.check_shape("mm.patch_merger.weight", &[width * merge * merge, width])?;
                } else if merge > 1 {
                    return Err("its tensor mm.patch_merger.weight is missing".to_owned());
                }
                let output = self.perceptron("mm.1", "mm.2", width)?;
                self.check_shape("v.token_embd.img_break", &[output])?;
            }
            "llama4" => {
                let inputs = width * merge(1)?.pow(2);
                let output = self.perceptron("mm.model.mlp.1", "mm.model.mlp.2", inputs)?;
                let matrix = self.require_tensor("mm.model.fc.weight")?;
                if matrix.shape.first() != Some(&(output as u64)) {
                    return Err(format!("{} does not take {output} numbers", matrix.name));
                }
            }
            "internvl" => {
                let inputs = width * merge(1)?.pow(2);
                self.check_shape("mm.model.mlp.0.weight", &[inputs])?;
                self.check_shape("mm.model.mlp.0.bias", &[inputs])?;
                let output = self.perceptron("mm.model.mlp.1", "mm.model.mlp.3", inputs)?;
                self.require_tensor("mm.model.mlp.1.bias")?;
                self.check_shape("mm.model.mlp.3.bias", &[output])?;
            }
            "gemma3" => {
                merge(4)?;
                self.check_shape("mm.soft_emb_norm.weight", &[width])?;
                let matrix = self.require_tensor("mm.input_projection.weight")?;
                if matrix.shape.get(1) != Some(&(width as u64)) {
                    return Err(format!("{} has no {width} rows", matrix.name));
                }
            }
            "idefics3" => {
                let merge = merge(1)?;
                let matrix = self.require_tensor("mm.model.fc.weight")?;
                if matrix.shape.first() != Some(&((width * merge * merge) as u64)) {
                    return Err(format!(
                        "{} does not take {merge} x {merge} patches of {width}",
                        matrix.name
                    ));
                }
            }
            _ => {
                let output = self.perceptron("mm.0", "mm.2", width)?;
                self.require_tensor("mm.0.bias")?;
                self.check_shape("mm.2.bias", &[output])?;
                let others = ["mm.1.", "mm.3.", "mm.4."];
                if let Some(other) = self
                    .header
                    .tensors
                    .iter()
                    .find(|t| others.iter().any(|o| t.name.starts_with(o)))
                {
                    return Err(format!("its tensor {} is not supported yet", other.name));
                }
            }
        }
        Ok(())
    }

    /// Checks two consecutive matrices with `inputs` inputs. Returns the number of outputs.
    fn perceptron(&self, first: &str, last: &str, inputs: i64) -> Result<i64, String> {
        let mut width = inputs as u64;
        for name in [first, last] {
            let matrix = self.require_tensor(&format!("{name}.weight"))?;
            if matrix.shape.first() != Some(&width) || matrix.shape.len() > 2 {
                return Err(format!("{} does not take {width} numbers", matrix.name));
            }
            width = matrix.shape.get(1).copied().unwrap_or(1);
            let bias = format!("{name}.bias");
            if self.tensor(&bias).is_some() {
                self.check_shape(&bias, &[width as i64])?;
            }
        }
        Ok(width as i64)
    }

    /// Checks tensor types. The kernels need vectors as F32, and matrices in one of the supported types.
    fn types(&self, kind: &str) -> Result<(), String> {
        let is_float = |tensor: &TensorInfo| matches!(tensor.ty, TensorType::F32 | TensorType::F16);
        for tensor in &self.header.tensors {
            let is_matrix = tensor.name.ends_with("weight") && tensor.shape.len() > 1;
            let fits = match tensor.name.as_str() {
                // Transposed before use, or used as a lookup table.
                "mm.input_projection.weight" | "v.patch_embd.weight" => is_float(tensor),
                "v.position_embd.weight" if kind == "mlp" => is_float(tensor),
                "v.position_embd.weight" => tensor.ty == TensorType::F32,
                _ if is_matrix => MATRIX_TYPES.contains(&tensor.ty),
                _ => tensor.ty == TensorType::F32,
            };
            if !fits || tensor.shape.contains(&0) {
                return Err(format!(
                    "its tensor {} has type {}, or no elements",
                    tensor.name, tensor.ty
                ));
            }
        }
        Ok(())
    }

    fn number(&self, key: &str, least: i64, most: i64) -> Result<i64, String> {
        match self.header.get(key) {
            Some(MetadataValue::Int(number)) if (least..=most).contains(number) => Ok(*number),
            Some(MetadataValue::Int(number)) => {
                Err(format!("{key} is {number}, not from {least} to {most}"))
            }
            Some(_) => Err(format!("{key} is not a number")),
            None => Err(format!("{key} is missing")),
        }
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn require_tensor(&self, name: &str) -> Result<&TensorInfo, String> {
        self.tensor(name).ok_or_else(|| format!("its tensor {name} is missing"))
    }

    fn check_shape(&self, name: &str, wanted: &[i64]) -> Result<(), String> {
        let tensor = self.require_tensor(name)?;
        let at = |index: usize| tensor.shape.get(index).copied().unwrap_or(1);
        let fits = wanted.iter().enumerate().all(|(index, size)| at(index) == *size as u64)
            && tensor.shape.len() <= wanted.len();
        if fits {
            return Ok(());
        }
        Err(format!("its tensor {name} has the shape {:?}, not {wanted:?}", tensor.shape))
    }
}
