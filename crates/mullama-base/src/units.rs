//! Parses and formats sizes, bandwidths and computation rates with units.
//!
//! `KiB`, `MiB`, `GiB` and `TiB` are powers of 1024; `kB` (or `KB`), `MB`, `GB` and `TB` are powers of 1000. Memory is
//! shown in the former, downloads and files of the store in the latter, as Ollama's command does.

use crate::{Error, Result};

/// Parses a size in bytes. A unit is required, because GB and GiB differ by 7 %.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    Some((number * byte_unit(unit)?) as u64)
}

/// Parses bytes per second, for example `936GB/s`.
pub fn parse_bandwidth(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    Some(number * byte_unit(unit.strip_suffix("/s")?.trim())?).filter(|rate| *rate > 0.0)
}

/// Parses floating-point operations per second, for example `165TFLOPS`.
pub fn parse_compute(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let unit = match unit.to_ascii_uppercase().strip_suffix("FLOPS")? {
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        _ => return None,
    };
    Some(number * unit).filter(|rate| *rate > 0.0)
}

/// A number of things: "1 token", "2 tokens".
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Formats a number like Ollama's command: `1.2B`, `270M`.
pub fn approximate(number: u64) -> String {
    let (unit, divisor) = match number {
        1_000_000_000.. => ("B", 1e9),
        1_000_000.. => ("M", 1e6),
        1_000.. => ("K", 1e3),
        _ => return number.to_string(),
    };
    let value = number as f64 / divisor;
    if value < 100.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// The error of an option whose value is not a valid size.
pub fn invalid_size(option: &str, text: &str) -> Error {
    let bare = text.trim().parse::<f64>().is_ok();
    let problem =
        if bare { format!("`{text}` has no unit") } else { format!("`{text}` is not a size") };
    let hint = if bare {
        let text = text.trim().trim_start_matches('-');
        format!("write {text}GiB (1024^3 bytes each) or {text}GB (1000^3)")
    } else {
        "write a number with its unit, such as 24GiB".to_owned()
    };
    Error::option(option, problem).with_hint(hint)
}

/// Parses an option's value as a size of more than 0 bytes.
pub fn size(option: &str, text: &str) -> Result<u64> {
    parse_size(text).filter(|bytes| *bytes > 0).ok_or_else(|| invalid_size(option, text))
}

fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit.trim()))
}

fn byte_unit(unit: &str) -> Option<f64> {
    Some(match unit {
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
    })
}

/// Formats an amount of memory in MiB or GiB, so that amounts are easy to compare: `0.5 MiB`, `1.25 GiB`.
pub fn memory(bytes: u64) -> String {
    let mebibytes = bytes as f64 / 1024.0 / 1024.0;
    if mebibytes < 1024.0 {
        format!("{mebibytes:.1} MiB")
    } else {
        format!("{:.2} GiB", mebibytes / 1024.0)
    }
}

/// Formats bytes in the largest fitting power of 1024: `1023 B`, `1.5 KiB`, `24.0 GiB`.
pub fn binary(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// Formats bytes in the largest fitting power of 1000, with one decimal below 10: `1.3 GB`, `23 MB`.
pub fn decimal(bytes: u64) -> String {
    let units = [("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("KB", 1e3)];
    let (unit, divisor) =
        units.into_iter().find(|(_, size)| bytes as f64 >= *size).unwrap_or(("B", 1.0));
    let value = bytes as f64 / divisor;
    if value >= 10.0 || value.fract() == 0.0 {
        format!("{} {unit}", value as u64)
    } else {
        format!("{value:.1} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_counts_are_rounded() {
        let counts = [999, 1_902_720, 268_098_176, 1_235_814_432, 70_553_706_496].map(approximate);
        assert_eq!(counts, ["999", "1.9M", "268M", "1.2B", "70.6B"]);
    }

    #[test]
    fn one_thing_has_no_plural() {
        assert_eq!([0, 1, 2].map(|n| count(n, "token")), ["0 tokens", "1 token", "2 tokens"]);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("8GiB"), Some(8 << 30));
        assert_eq!(parse_size("500 MB"), Some(500_000_000));
        assert_eq!(parse_size("1.5KiB"), Some(1536));
        for bad in ["", "8", "GiB", "8 apples", "-1GiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
        let hint = invalid_size("devices", "24").hint().unwrap().to_owned();
        assert!(hint.contains("24GiB") && hint.contains("24GB"), "{hint}");
        assert!(size("devices", "0GiB").is_err());
    }

    #[test]
    fn rates_have_units() {
        assert_eq!(parse_bandwidth("936 GB/s"), Some(936e9));
        assert_eq!(parse_compute("165.2TFLOPS"), Some(165.2e12));
        for bad in ["936", "936GB", "0GB/s", "-1GB/s"] {
            assert_eq!(parse_bandwidth(bad), None, "{bad}");
        }
        assert_eq!(parse_compute("165"), None);
    }

    #[test]
    fn memory_uses_mebibytes_or_larger_units() {
        let sizes = [0, 1 << 19, 1 << 30, 5 << 28].map(memory);
        assert_eq!(sizes, ["0.0 MiB", "0.5 MiB", "1.00 GiB", "1.25 GiB"]);
    }

    #[test]
    fn binary_sizes_use_the_largest_fitting_unit() {
        let sizes = [0, 1023, 1536, 24 << 30].map(binary);
        assert_eq!(sizes, ["0 B", "1023 B", "1.5 KiB", "24.0 GiB"]);
    }

    #[test]
    fn decimal_sizes_have_two_significant_digits() {
        let sizes = [0, 999, 1000, 1550, 23_400_000, 1_321_098_329, 70_000_000_000];
        let sizes = sizes.map(decimal);
        assert_eq!(sizes, ["0 B", "999 B", "1 KB", "1.6 KB", "23 MB", "1.3 GB", "70 GB"]);
    }
}
