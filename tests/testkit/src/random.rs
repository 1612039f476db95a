//! Reproducible random numbers, and streams of random weights made from them.

use std::io::{self, Write};

use mullama_sys::ggml_fp32_to_fp16_row;

use crate::model::WeightType;

/// `SplitMix64` (Steele, Lea and Flood 2014): one addition and a mix per number.
pub struct Random(u64);

impl Random {
    /// A generator whose numbers depend on both arguments.
    pub fn new(seed: u64, name: &str) -> Self {
        Self(seed ^ fnv1a(name.as_bytes()))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An approximately normal number, with mean 0 and deviation 1: the sum of four uniform
    /// numbers. Computed with integers and one division, so identical on every machine.
    pub fn normal(&mut self) -> f32 {
        let parts = self.next();
        let sum: i32 = (0..4).map(|i| i32::from((parts >> (16 * i)) as u16)).sum();
        (sum - 2 * 0xffff) as f32 / 37_837.0 // 2^16 * sqrt(4 / 12)
    }
}

/// The 64-bit FNV-1a hash.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Number of distinct values from which the weights of a tensor are drawn: small enough for the L1
/// cache, so that a billion weights take seconds.
const VALUES: usize = 1 << BITS;
const BITS: usize = 12;
const DRAWS: usize = 64 / BITS;

/// Writes `count` normally distributed weights.
pub fn write_normal(
    out: &mut impl Write,
    random: &mut Random,
    weights: WeightType,
    deviation: f32,
    count: usize,
) -> io::Result<()> {
    let values: Vec<f32> = (0..VALUES).map(|_| random.normal() * deviation).collect();
    match weights {
        WeightType::F32 => {
            let table: Vec<_> = values.iter().map(|value| value.to_le_bytes()).collect();
            write_draws(out, random, &table, count)
        }
        WeightType::F16 => {
            let mut halves = vec![0u16; VALUES];
            // SAFETY: both slices have `VALUES` elements.
            unsafe {
                ggml_fp32_to_fp16_row(values.as_ptr(), halves.as_mut_ptr(), VALUES as i64);
            }
            let table: Vec<_> = halves.iter().map(|value| value.to_le_bytes()).collect();
            write_draws(out, random, &table, count)
        }
    }
}

/// Writes `count` entries of `table`, drawn independently.
fn write_draws<const SIZE: usize>(
    out: &mut impl Write,
    random: &mut Random,
    table: &[[u8; SIZE]],
    count: usize,
) -> io::Result<()> {
    let table: &[[u8; SIZE]; VALUES] = table.try_into().expect("one entry for each value");
    let mut chunk = vec![[0; SIZE]; count.next_multiple_of(DRAWS).min(DRAWS << 16)];
    let mut left = count;
    while left > 0 {
        for draws in chunk.chunks_exact_mut(DRAWS) {
            let mut bits = random.next();
            for entry in draws {
                *entry = table[bits as usize % VALUES];
                bits >>= BITS;
            }
        }
        let now = left.min(chunk.len());
        out.write_all(chunk[..now].as_flattened())?;
        left -= now;
    }
    Ok(())
}
