//! Damages valid inputs.

use fastrand::Rng;
use serde_json::{Map, Value};

/// Returns a random item.
pub fn pick<T: Copy>(items: &[T], rng: &mut Rng) -> T {
    items[rng.usize(..items.len())]
}

/// Damages bytes in one place. `others` are files of the same kind.
pub fn bytes(file: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    if file.is_empty() {
        return;
    }
    // Counts and the first lengths are at the beginning.
    let end = if rng.u8(..4) == 0 { file.len().min(64) } else { file.len() };
    let place = rng.usize(..end);
    let count = rng.usize(..=(file.len() - place).min(64));
    match rng.u8(..9) {
        0 => file[place] ^= 1 << rng.u8(..8),
        1 => file[place] = rng.u8(..),
        2..=4 => {
            let number = limit(rng).to_le_bytes();
            let wide = if rng.bool() { 4 } else { 8 };
            for (byte, new) in file[place..].iter_mut().zip(&number[..wide]) {
                *byte = *new;
            }
        }
        5 => file.truncate(place),
        6 => drop(file.drain(place..place + count)),
        7 => {
            let copy = file[place..place + count].to_vec();
            let to = rng.usize(..=file.len());
            drop(file.splice(to..to, copy));
        }
        _ => {
            let Some(other) = rng.choice(others).filter(|other| !other.is_empty()) else { return };
            let from = rng.usize(..other.len());
            let length = (other.len() - from).min(rng.usize(..256));
            let to = (place + count).min(file.len());
            drop(file.splice(place..to, other[from..from + length].iter().copied()));
        }
    }
}

/// Returns a number that is near a limit: a power of two, or close to one.
pub fn limit(rng: &mut Rng) -> u64 {
    let near = 1_u64.checked_shl(rng.u32(..65)).unwrap_or(0).wrapping_add(rng.u64(..5));
    near.wrapping_sub(2)
}

/// Returns a number as text: small, a limit, negative, a fraction.
pub fn number(rng: &mut Rng) -> String {
    match rng.u8(..8) {
        0..=3 => rng.u8(..12).to_string(),
        4 => format!("-{}", rng.u8(..12)),
        5 => limit(rng).cast_signed().to_string(),
        6 => limit(rng).to_string(),
        _ => {
            let odd =
                ["0.5", "-0.0", "1e308", "1e-308", "1e999", "-1e999", "3.4028236e38", "0.1e1"];
            pick(&odd, rng).to_owned()
        }
    }
}

/// Returns words that are difficult for programs.
pub fn words(rng: &mut Rng) -> String {
    const WORDS: &[&str] = &[
        "a",
        "b",
        "hello",
        " ",
        "",
        "é",
        "漢字",
        "🦙",
        "\u{0}",
        "\u{feff}",
        "\u{202e}",
        "\u{301}",
        "<|im_start|>",
        "<|im_end|>",
        "</s>",
        "{{",
        "%}",
        "\\",
        "\"",
        "'",
        "\n",
        "\r\n",
        "\t",
        "../..",
        "<think>",
        "<tool_call>",
        "\u{10ffff}",
        "\u{f0000}",
        "0",
        "-1",
        "null",
        "%s%n",
    ];
    let count = rng.usize(..4);
    let mut text: String = (0..count).map(|_| pick(WORDS, rng)).collect();
    // Occasionally long ones.
    if rng.u8(..40) == 0 {
        text = text.repeat(1 << rng.u32(..13));
    }
    text
}

/// Damages a text in one place: removes, repeats or moves pieces, or changes numbers and words.
pub fn text(text: &mut String, others: &[&str], rng: &mut Rng) {
    let mut characters: Vec<char> = text.chars().collect();
    let length = characters.len();
    let place = rng.usize(..=length);
    let most = if rng.bool() { 8 } else { 200 };
    let end = place + rng.usize(..=(length - place).min(most));
    match rng.u8(..8) {
        0 => drop(characters.drain(place..end)),
        1 => {
            let piece = characters[place..end].to_vec();
            let to = rng.usize(..=length);
            drop(characters.splice(to..to, piece));
        }
        // Very deep nesting, and very long texts.
        2 => {
            let times = pick(&[2, 10, 300, 3000, 100_000], rng);
            let piece = &characters[place..end];
            let times = times.min(400_000 / piece.len().max(1));
            let many = piece.repeat(times);
            drop(characters.splice(place..end, many));
        }
        3 => drop(characters.splice(place..place, words(rng).chars())),
        4 => {
            let is_digit = |c: &char| c.is_ascii_digit();
            if let Some(first) = characters[place..].iter().position(is_digit) {
                let first = place + first;
                let digits = characters[first..].iter().take_while(|c| is_digit(c)).count();
                drop(characters.splice(first..first + digits, number(rng).chars()));
            }
        }
        5 => {
            let other: Vec<char> = rng.choice(others).unwrap_or(&"").chars().collect();
            let from = rng.usize(..=other.len());
            let length = (other.len() - from).min(rng.usize(..200));
            drop(characters.splice(place..end, other[from..from + length].iter().copied()));
        }
        6 => characters.truncate(place),
        _ => {
            let signs = [
                '{', '}', '[', ']', '(', ')', '%', '"', '\'', '|', '.', ',', ':', '\\', '\0', '\n',
            ];
            drop(characters.splice(place..end.min(place + 1), [pick(&signs, rng)]));
        }
    }
    *text = characters.into_iter().collect();
}

/// Damages a value in one place: another type, a limit, something missing, duplicated, or nested very deep.
pub fn json(value: &mut Value, rng: &mut Rng) {
    let go_on = rng.u8(..5) > 0;
    match value {
        Value::Array(items) if go_on && !items.is_empty() => {
            let index = rng.usize(..items.len());
            match rng.u8(..8) {
                0 => drop(items.remove(index)),
                1 => items.push(items[index].clone()),
                _ => json(&mut items[index], rng),
            }
        }
        Value::Object(fields) if go_on && !fields.is_empty() => {
            let key = fields.keys().nth(rng.usize(..fields.len())).cloned().unwrap_or_default();
            match rng.u8(..10) {
                0 => drop(fields.remove(&key)),
                1 => {
                    let value = fields.remove(&key).unwrap_or_default();
                    fields.insert(words(rng), value);
                }
                2 => drop(fields.insert(words(rng), any(rng))),
                _ => {
                    if let Some(value) = fields.get_mut(&key) {
                        json(value, rng);
                    }
                }
            }
        }
        Value::String(text) if go_on => self::text(text, &[], rng),
        value => *value = any(rng),
    }
}

/// Returns any value.
pub fn any(rng: &mut Rng) -> Value {
    match rng.u8(..10) {
        0 => Value::Null,
        1 => rng.bool().into(),
        2..=4 => serde_json::from_str(&number(rng)).unwrap_or_default(),
        5 | 6 => words(rng).into(),
        7 => Value::Array((0..rng.u8(..3)).map(|_| any(rng)).collect()),
        8 => {
            let fields: Map<_, _> = (0..rng.u8(..3)).map(|_| (words(rng), any(rng))).collect();
            fields.into()
        }
        _ => {
            let depth = pick(&[3, 30, 100, 1000], rng);
            (0..depth).fold(Value::Null, |inner, _| {
                if rng.bool() {
                    Value::Array(vec![inner])
                } else {
                    serde_json::json!({ "a": inner })
                }
            })
        }
    }
}
