//! File types: the quantisation of a whole file.

/// Values of `general.file_type` (`llama_ftype`), with the names of the quantisations.
pub const FILE_TYPES: [(u32, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4_MOE"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

/// The name for the number of a quantisation: `Q4_K_M` for 15.
pub fn quantisation(file_type: u32) -> Option<&'static str> {
    FILE_TYPES.iter().find(|(number, _)| *number == file_type).map(|(_, name)| *name)
}

/// The number for the name of a quantisation, ignoring case: 15 for `Q4_K_M`.
pub fn file_type(name: &str) -> Option<u32> {
    FILE_TYPES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_types_map_to_names_and_back() {
        for (number, name) in FILE_TYPES {
            assert_eq!((quantisation(number), file_type(name)), (Some(name), Some(number)));
        }
        assert_eq!(file_type("q4_k_m"), Some(15));
        assert_eq!((quantisation(1024), file_type("Q9")), (None, None));
    }
}
