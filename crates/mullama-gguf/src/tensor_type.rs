//! Data types of tensors: elements per block, and bytes per block.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! tensor_types {
    ($( $name:ident = $number:literal, $text:literal, $block:literal in $bytes:literal; )+) => {
        /// The data type of a tensor (`ggml_type`). Elements are stored in blocks; for types that are not quantised, a
        /// block is one element.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(non_camel_case_types, reason = "they are the field's names")]
        #[non_exhaustive]
        pub enum TensorType {
            $( #[doc = concat!("`", $text, "`")] $name = $number, )+
        }

        impl TensorType {
            /// All data types.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The type with this number; `None` if it is unknown or no longer used.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$name), )+
                    _ => None,
                }
            }

            /// The name, for example `f16` or `q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// Number of elements in a block. A row consists of whole blocks.
            pub const fn block_length(self) -> u64 {
                match self { $( Self::$name => $block, )+ }
            }

            /// Size of a block in bytes.
            pub const fn block_size(self) -> u64 {
                match self { $( Self::$name => $bytes, )+ }
            }
        }
    };
}

// From `type_traits` in ggml.c and the assertions in ggml-common.h. The missing numbers belonged to types that were
// removed.
tensor_types! {
    F32 = 0, "f32", 1 in 4;
    F16 = 1, "f16", 1 in 2;
    Q4_0 = 2, "q4_0", 32 in 18;
    Q4_1 = 3, "q4_1", 32 in 20;
    Q5_0 = 6, "q5_0", 32 in 22;
    Q5_1 = 7, "q5_1", 32 in 24;
    Q8_0 = 8, "q8_0", 32 in 34;
    Q8_1 = 9, "q8_1", 32 in 36;
    Q2_K = 10, "q2_K", 256 in 84;
    Q3_K = 11, "q3_K", 256 in 110;
    Q4_K = 12, "q4_K", 256 in 144;
    Q5_K = 13, "q5_K", 256 in 176;
    Q6_K = 14, "q6_K", 256 in 210;
    Q8_K = 15, "q8_K", 256 in 292;
    IQ2_XXS = 16, "iq2_xxs", 256 in 66;
    IQ2_XS = 17, "iq2_xs", 256 in 74;
    IQ3_XXS = 18, "iq3_xxs", 256 in 98;
    IQ1_S = 19, "iq1_s", 256 in 50;
    IQ4_NL = 20, "iq4_nl", 32 in 18;
    IQ3_S = 21, "iq3_s", 256 in 110;
    IQ2_S = 22, "iq2_s", 256 in 82;
    IQ4_XS = 23, "iq4_xs", 256 in 136;
    I8 = 24, "i8", 1 in 1;
    I16 = 25, "i16", 1 in 2;
    I32 = 26, "i32", 1 in 4;
    I64 = 27, "i64", 1 in 8;
    F64 = 28, "f64", 1 in 8;
    IQ1_M = 29, "iq1_m", 256 in 56;
    BF16 = 30, "bf16", 1 in 2;
    TQ1_0 = 34, "tq1_0", 256 in 54;
    TQ2_0 = 35, "tq2_0", 256 in 66;
    MXFP4 = 39, "mxfp4", 32 in 17;
    NVFP4 = 40, "nvfp4", 64 in 36;
    Q1_0 = 41, "q1_0", 128 in 18;
    Q2_0 = 42, "q2_0", 64 in 18;
}

impl TensorType {
    /// The type number in files.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// Size in bytes of a tensor with this shape; `None` if its rows do not consist of whole blocks, or if the size
    /// exceeds 2^64.
    pub fn size_of(self, shape: &[u64]) -> Option<u64> {
        let (row, rest) = shape.split_first().unwrap_or((&1, &[]));
        if row % self.block_length() != 0 {
            return None;
        }
        let row = (row / self.block_length()).checked_mul(self.block_size());
        rest.iter().try_fold(row?, |size, length| size.checked_mul(*length))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for TensorType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_types_map_to_numbers_and_back() {
        for ty in TensorType::ALL {
            assert_eq!(TensorType::from_number(ty.number()), Some(*ty));
        }
        for none in [4, 5, 31, 33, 36, 38, 43, u32::MAX] {
            assert_eq!(TensorType::from_number(none), None, "{none}");
        }
    }

    #[test]
    fn tensor_sizes_count_whole_blocks() {
        assert_eq!(TensorType::F16.size_of(&[64, 3]), Some(384));
        assert_eq!(TensorType::Q4_K.size_of(&[512, 2]), Some(4 * 144));
        assert_eq!(TensorType::F32.size_of(&[]), Some(4));
        assert_eq!(TensorType::F32.size_of(&[7, 0]), Some(0));
        assert_eq!(TensorType::Q8_0.size_of(&[48]), None);
        assert_eq!(TensorType::F32.size_of(&[1 << 31, 1 << 31]), None);
    }
}
