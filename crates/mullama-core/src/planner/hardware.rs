//! Hardware that people have, by name: `data/hardware.json` and `data/system-memory.json`, where every
//! figure has its public source.

use std::sync::OnceLock;

use mullama_base::{alike_by, likeness};
use serde::Deserialize;

use crate::{Error, Result};

/// One graphics processor.
#[derive(Debug, Deserialize)]
pub(super) struct Preset {
    /// What people call it.
    pub name: String,
    aliases: Vec<String>,
    /// The backend that uses it best.
    pub backend: String,
    memory_gib: f64,
    /// What it is sold with, where that is several sizes.
    #[serde(default)]
    memory_options_gib: Vec<f64>,
    /// Peak, in 10^9 bytes a second.
    bandwidth_gbs: f64,
    /// Dense, in 10^12 operations a second.
    fp16_tflops: f64,
    /// Whether it shares the memory of the machine.
    pub unified: bool,
    link: String,
    /// Where the figures are published.
    pub source: String,
}

/// A way between a device and the machine's memory.
#[derive(Debug, Deserialize)]
struct Link {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    usable_gbs: f64,
}

/// A kind of main memory.
#[derive(Debug, Deserialize)]
struct Memory {
    name: String,
    bandwidth_per_channel_gbs: f64,
}

impl Preset {
    /// Bytes in a second.
    pub fn bandwidth(&self) -> f64 {
        self.bandwidth_gbs * 1e9
    }

    /// Operations in a second.
    pub fn compute(&self) -> f64 {
        self.fp16_tflops * 1e12
    }

    /// Bytes in a second on the way to the machine's memory, where there is such a way.
    pub fn link(&self) -> Option<f64> {
        // What is said of several links names the one to the host last.
        self.link.rsplit("; ").find_map(|named| {
            let chips = named.starts_with("NVLink-C2C").then_some("NVLink-C2C (GH200)");
            link(chips.unwrap_or_else(|| named.trim_end_matches(" to host")))
        })
    }

    /// Whether people say this number of gigabytes of one that has another: a part may be set aside.
    fn is_of(&self, said: f64, size: f64) -> bool {
        said == size || Words::of(&self.name).size == Some(said)
    }

    /// Sizes that it is sold with.
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

/// What a link of this name carries, in bytes a second: `PCIe 4.0 x16`.
pub(super) fn link(name: &str) -> Option<f64> {
    let is_named = |link: &&Link| {
        link.name.eq_ignore_ascii_case(name)
            || link.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    };
    system().links.iter().find(is_named).map(|link| link.usable_gbs * 1e9)
}

/// The peak bandwidth of main memory, in bytes a second: `DDR5-5600`, or `2x DDR5-5600` for two channels.
pub(super) fn memory_bandwidth(text: &str) -> Option<f64> {
    let (channels, name) = count(text).unwrap_or((2, text));
    let memory = system().memory.iter().find(|memory| memory.name.eq_ignore_ascii_case(name))?;
    Some(memory.bandwidth_per_channel_gbs * 1e9 * f64::from(channels))
}

/// Reads `2x NAME`.
pub(super) fn count(text: &str) -> Option<(u32, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = text.split_at(at);
    let rest = rest.trim_start();
    let name = rest.strip_prefix(['x', 'X', '×'])?;
    // `4x` counts, `4090 XT` does not.
    let name = name.strip_prefix(char::is_whitespace)?.trim();
    Some((number.parse().ok()?, name))
}

/// The preset that is meant, and bytes of its memory.
///
/// Makers' names and what is in brackets may be left out; the size must be given where there are several.
pub(super) fn find(text: &str) -> Result<(&'static Preset, u64)> {
    let wanted = Words::of(text);
    let matches = |preset: &&'static Preset| {
        let mut names = preset.aliases.iter().chain([&preset.name]);
        names.any(|name| {
            let known = Words::of(name);
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
            // Of those that differ in nothing that was said, the slowest promises least.
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

fn unknown(text: &str, wanted: &Words) -> Error {
    let sought = wanted.words.join(" ");
    let likely =
        alike_by(presets(), |preset| likeness(&sought, &Words::of(&preset.name).words.join(" ")));
    let error = Error::option("devices", format!("there is no device or preset `{text}`"));
    let names: Vec<_> = likely.iter().take(4).map(|preset| preset.name.as_str()).collect();
    if names.is_empty() {
        error.with_hint("name a card such as \"RTX 4090\", or give a size such as 24GiB")
    } else {
        error.with_hint(format!("did you mean {}?", names.join(", ")))
    }
}

/// A name without what need not be said, and the size in it.
struct Words {
    words: Vec<String>,
    size: Option<f64>,
}

impl Words {
    fn of(text: &str) -> Self {
        const UNSAID: [&str; 8] =
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
            } else if !UNSAID.contains(&piece) {
                words.extend(split_series(piece));
            }
        }
        Self { words, size }
    }
}

/// `rtx4090` is `rtx 4090`, and `4060ti` `4060 ti`; `a770` and `m4` are one word.
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

/// What is printed on a box as GB is 2^30 bytes each.
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
    fn the_data_are_sound() {
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
                let labelled = Words::of(name).size.is_some();
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
    fn names_are_understood_as_people_write_them() {
        assert_eq!(found("RTX 4090"), ("RTX 4090", 24));
        assert_eq!(found("nvidia geforce rtx 4090"), ("RTX 4090", 24));
        assert_eq!(found("rtx4060ti 16gb"), ("RTX 4060 Ti 16GB", 16));
        assert_eq!(found("RX 7900 XTX"), ("Radeon RX 7900 XTX", 24));
        assert_eq!(found("Arc A770 16 GB"), ("Arc A770 16GB", 16));
        assert_eq!(found("M4 Max 64GB"), ("Apple M4 Max (40-core GPU)", 64));
        assert_eq!(found("M1 16GB"), ("Apple M1 (7-core GPU)", 16));
    }

    #[test]
    fn what_is_not_clear_is_asked() {
        assert!(hint("RTX 4060 Ti").contains("RTX 4060 Ti 8GB, RTX 4060 Ti 16GB"));
        assert!(hint("M4 Max").contains("M4 Max 36GB"));
        assert!(hint("RTX 4090 48GB").contains("24GB"));
        assert!(hint("RTX 4900").contains("RTX 4090"));
        assert!(hint("abacus").contains("24GiB"));
    }

    #[test]
    fn links_and_memory_have_rates() {
        assert_eq!(count("2x RTX 3090"), Some((2, "RTX 3090")));
        assert_eq!(count("RTX 3090"), None);
        assert!(link("PCIe 4.0 x16").is_some_and(|rate| (20e9..32e9).contains(&rate)));
        assert_eq!(memory_bandwidth("DDR5-5600"), Some(89.6e9));
        assert_eq!(memory_bandwidth("8x DDR5-4800"), Some(307.2e9));
        assert_eq!(memory_bandwidth("DDR9"), None);
    }
}
