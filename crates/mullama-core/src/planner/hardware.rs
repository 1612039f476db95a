//! Known hardware by name. Reads `data/hardware.json` and `data/system-memory.json`, in which every figure cites a
//! public source.

use std::sync::OnceLock;

use mullama_base::{similar_by, similarity};
use serde::Deserialize;

use crate::{Error, Result};

/// A GPU from `data/hardware.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Preset {
    /// The common name.
    pub name: String,
    aliases: Vec<String>,
    /// The recommended backend for it.
    pub backend: String,
    memory_gib: f64,
    /// All memory sizes that it is sold with, if there are several.
    #[serde(default)]
    memory_options_gib: Vec<f64>,
    /// Peak memory bandwidth in 10^9 bytes per second.
    bandwidth_gbs: f64,
    /// Dense FP16 compute in 10^12 operations per second.
    fp16_tflops: f64,
    /// Whether it shares the machine's memory.
    pub unified: bool,
    link: String,
    /// The URL of the source of the figures.
    pub source: String,
}

/// A connection between a device and system RAM.
#[derive(Debug, Deserialize)]
struct Link {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    usable_gbs: f64,
}

/// A type of system RAM.
#[derive(Debug, Deserialize)]
struct Memory {
    name: String,
    bandwidth_per_channel_gbs: f64,
}

impl Preset {
    /// Memory bandwidth in bytes per second.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth_gbs * 1e9
    }

    /// FP16 compute in operations per second.
    pub fn compute(&self) -> f64 {
        self.fp16_tflops * 1e12
    }

    /// Bandwidth of the link to system RAM in bytes per second, if there is a link and it is known.
    pub fn link(&self) -> Option<f64> {
        // If several links are listed, the last one is the link to the host.
        self.link.rsplit("; ").find_map(|named| {
            let chips = named.starts_with("NVLink-C2C").then_some("NVLink-C2C (GH200)");
            link(chips.unwrap_or_else(|| named.trim_end_matches(" to host")))
        })
    }

    /// Whether a requested size in GB means the size `size` of this preset: the size in the name may include memory
    /// that is reserved.
    fn is_of(&self, said: f64, size: f64) -> bool {
        said == size || NameWords::of(&self.name).size == Some(said)
    }

    /// The memory sizes that it is sold with, in GiB.
    fn sizes(&self) -> &[f64] {
        match self.memory_options_gib.as_slice() {
            [] => std::slice::from_ref(&self.memory_gib),
            sizes => sizes,
        }
    }
}

fn presets() -> &'static [Preset] {
    #[derive(Deserialize)]
    struct File {
        presets: Vec<Preset>,
    }
    static PRESETS: OnceLock<Vec<Preset>> = OnceLock::new();
    PRESETS.get_or_init(|| {
        let file: File = serde_json::from_str(include_str!("../../data/hardware.json"))
            .expect("the file is checked by a test");
        file.presets
    })
}

#[derive(Deserialize)]
struct System {
    memory: Vec<Memory>,
    links: Vec<Link>,
}

fn system() -> &'static System {
    static SYSTEM: OnceLock<System> = OnceLock::new();
    SYSTEM.get_or_init(|| {
        serde_json::from_str(include_str!("../../data/system-memory.json"))
            .expect("the file is checked by a test")
    })
}

/// The usable bandwidth of the named link (`PCIe 4.0 x16`) in bytes per second.
pub(super) fn link(name: &str) -> Option<f64> {
    let is_named = |link: &&Link| {
        link.name.eq_ignore_ascii_case(name)
            || link.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    };
    system().links.iter().find(is_named).map(|link| link.usable_gbs * 1e9)
}

/// The peak bandwidth of system RAM in bytes per second: `DDR5-5600` (two channels), or with the number of channels,
/// `8x DDR5-4800`.
pub(super) fn memory_bandwidth(text: &str) -> Option<f64> {
    let (channels, name) = count(text).unwrap_or((2, text));
    let memory = system().memory.iter().find(|memory| memory.name.eq_ignore_ascii_case(name))?;
    Some(memory.bandwidth_per_channel_gbs * 1e9 * f64::from(channels))
}

/// Splits `2x NAME` into count and name.
pub(super) fn count(text: &str) -> Option<(u32, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(at);
    let rest = rest.trim_start();
    let name = rest.strip_prefix(['x', 'X', '×'])?;
    // `4x` is a count, but the `4090` in `4090 XT` is not.
    let name = name.strip_prefix(char::is_whitespace)?.trim();
    Some((number.parse().ok()?, name))
}

/// Finds a preset by name, and returns it with its memory size in bytes.
///
/// Makers' names and parts in brackets are optional. The size is required if the card is sold with several sizes.
pub(super) fn find(text: &str) -> Result<(&'static Preset, u64)> {
    let wanted = NameWords::of(text);
    let matches = |preset: &&'static Preset| {
        let mut names = preset.aliases.iter().chain([&preset.name]);
        names.any(|name| {
            let known = NameWords::of(name);
            known.words == wanted.words
                && (known.size.is_none() || wanted.size.is_none() || known.size == wanted.size)
        })
    };
    let found: Vec<_> = presets().iter().filter(matches).collect();
    if found.is_empty() {
        return Err(unknown(text, &wanted));
    }
    let offered =
        found.iter().flat_map(|preset| preset.sizes().iter().map(move |&size| (*preset, size)));
    let offered: Vec<_> = offered
        .filter(|(preset, size)| wanted.size.is_none_or(|w| preset.is_of(w, *size)))
        .collect();
    let mut sizes: Vec<f64> = offered.iter().map(|(_, size)| *size).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let with = |sizes: &[f64]| {
        let base = text.split_whitespace().filter(|word| gigabytes(word).is_none());
        let base = base.collect::<Vec<_>>().join(" ");
        sizes.iter().map(|size| format!("{base} {size}GB")).collect::<Vec<_>>().join(", ")
    };
    match sizes.as_slice() {
        [_] => {
            // If several presets match, the slowest gives the most conservative prediction.
            let slowest = offered.iter().min_by(|(a, _), (b, _)| {
                (a.bandwidth_gbs, a.fp16_tflops)
                    .partial_cmp(&(b.bandwidth_gbs, b.fp16_tflops))
                    .unwrap_or(std::cmp::Ordering::Equal)
            });
            let (preset, size) = slowest.expect("a size has a preset");
            Ok((preset, (size * f64::from(1 << 30)) as u64))
        }
        [] => {
            let mut known: Vec<f64> =
                found.iter().flat_map(|preset| preset.sizes()).copied().collect();
            known.sort_by(f64::total_cmp);
            known.dedup();
            Err(Error::option("devices", format!("there is no `{text}`"))
                .with_hint(format!("it comes as {}", with(&known))))
        }
        several => Err(Error::option("devices", format!("`{text}` comes with several sizes"))
            .with_hint(format!("one of {}", with(several)))),
    }
}

fn unknown(text: &str, wanted: &NameWords) -> Error {
    let sought = wanted.words.join(" ");
    let likely = similar_by(presets(), |preset| {
        similarity(&sought, &NameWords::of(&preset.name).words.join(" "))
    });
    let error = Error::option("devices", format!("there is no device or preset `{text}`"));
    let names: Vec<_> = likely.iter().take(4).map(|preset| preset.name.as_str()).collect();
    if names.is_empty() {
        error.with_hint("name a card such as \"RTX 4090\", or give a size such as 24GiB")
    } else {
        error.with_hint(format!("did you mean {}?", names.join(", ")))
    }
}

/// A name split into words, without the optional ones, and the memory size in it.
struct NameWords {
    words: Vec<String>,
    size: Option<f64>,
}

impl NameWords {
    fn of(text: &str) -> Self {
        const OMITTED_WORDS: [&str; 8] =
            ["nvidia", "geforce", "amd", "radeon", "apple", "intel", "graphics", "instinct"];
        let text = text.to_ascii_lowercase();
        let bare = match (text.find('('), text.find(')')) {
            (Some(open), Some(close)) if open < close => {
                format!("{}{}", &text[..open], &text[close + 1..])
            }
            _ => text,
        };
        let mut size = None;
        let mut words: Vec<String> = Vec::new();
        let mut pieces = bare.split_whitespace().peekable();
        while let Some(piece) = pieces.next() {
            let unit = pieces.peek().filter(|next| matches!(**next, "gb" | "gib"));
            if let Some(unit) = unit
                && let Some(number) = gigabytes(&format!("{piece}{unit}"))
            {
                size = Some(number);
                pieces.next();
            } else if let Some(number) = gigabytes(piece) {
                size = Some(number);
            } else if !OMITTED_WORDS.contains(&piece) {
                words.extend(split_series(piece));
            }
        }
        Self { words, size }
    }
}

/// Splits model names: `rtx4090` becomes `rtx 4090`, and `4060ti` becomes `4060 ti`; `a770` and `m4` stay one word.
fn split_series(word: &str) -> Vec<String> {
    let word = word.replace('-', "");
    for head in ["rtx", "gtx", "rx"] {
        if let Some(rest) = word.strip_prefix(head)
            && rest.starts_with(|c: char| c.is_ascii_digit())
        {
            let mut words = vec![head.to_owned()];
            words.extend(split_series(rest));
            return words;
        }
    }
    for tail in ["ti", "super", "xtx", "xt", "gre"] {
        if let Some(number) = word.strip_suffix(tail)
            && number.len() == 4
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            return vec![number.to_owned(), tail.to_owned()];
        }
    }
    vec![word]
}

/// Parses a memory size. The GB of graphics cards are 2^30 bytes each, like GiB.
fn gigabytes(word: &str) -> Option<f64> {
    let word = word.to_ascii_lowercase();
    let number = word.strip_suffix("gib").or_else(|| word.strip_suffix("gb"))?;
    number.parse().ok().filter(|number: &f64| *number > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (&'static str, u64) {
        let (preset, memory) = find(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        (&preset.name, memory >> 30)
    }

    fn hint(text: &str) -> String {
        find(text).map(|(preset, _)| &preset.name).unwrap_err().hint().unwrap().to_owned()
    }

    #[test]
    fn hardware_presets_are_plausible() {
        assert!(presets().len() > 200);
        for preset in presets() {
            let name = &preset.name;
            assert!(preset.source.starts_with("https://"), "{name} has no source");
            assert!((50.0..10_000.0).contains(&preset.bandwidth_gbs), "{name}");
            let operations_per_byte = preset.fp16_tflops * 1000.0 / preset.bandwidth_gbs;
            assert!((10.0..500.0).contains(&operations_per_byte), "{name}: {operations_per_byte}");
            assert!(preset.sizes().contains(&preset.memory_gib), "{name}");
            assert!(preset.unified || preset.link().is_some(), "{name}: {}", preset.link);
            for &size in preset.sizes() {
                let labelled = NameWords::of(name).size.is_some();
                let said = if labelled { name.clone() } else { format!("{name} {size}GB") };
                let (same, memory) = find(&said).unwrap();
                assert_eq!(memory, (size * f64::from(1 << 30)) as u64, "{name}");
                assert!(same.bandwidth_gbs <= preset.bandwidth_gbs, "{name} is taken for {same:?}");
            }
        }
        for link in &system().links {
            assert!(link.usable_gbs > 0.0, "{}", link.name);
        }
    }

    #[test]
    fn hardware_names_have_several_spellings() {
        assert_eq!(found("RTX 4090"), ("RTX 4090", 24));
        assert_eq!(found("nvidia geforce rtx 4090"), ("RTX 4090", 24));
        assert_eq!(found("rtx4060ti 16gb"), ("RTX 4060 Ti 16GB", 16));
        assert_eq!(found("RX 7900 XTX"), ("Radeon RX 7900 XTX", 24));
        assert_eq!(found("Arc A770 16 GB"), ("Arc A770 16GB", 16));
        assert_eq!(found("M4 Max 64GB"), ("Apple M4 Max (40-core GPU)", 64));
        assert_eq!(found("M1 16GB"), ("Apple M1 (7-core GPU)", 16));
    }

    #[test]
    fn ambiguous_hardware_names_list_candidates() {
        assert!(hint("RTX 4060 Ti").contains("RTX 4060 Ti 8GB, RTX 4060 Ti 16GB"));
        assert!(hint("M4 Max").contains("M4 Max 36GB"));
        assert!(hint("RTX 4090 48GB").contains("24GB"));
        assert!(hint("RTX 4900").contains("RTX 4090"));
        assert!(hint("abacus").contains("24GiB"));
    }

    #[test]
    fn links_and_memory_types_have_bandwidths() {
        assert_eq!(count("2x RTX 3090"), Some((2, "RTX 3090")));
        assert_eq!(count("RTX 3090"), None);
        assert!(link("PCIe 4.0 x16").is_some_and(|rate| (20e9..32e9).contains(&rate)));
        assert_eq!(memory_bandwidth("DDR5-5600"), Some(89.6e9));
        assert_eq!(memory_bandwidth("8x DDR5-4800"), Some(307.2e9));
        assert_eq!(memory_bandwidth("DDR9"), None);
    }
}
