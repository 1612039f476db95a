//! Suggestions for unknown words.

/// Minimum [`similarity`] of a suggestion.
const MIN_SIMILARITY: f64 = 0.8;

const MAX_LENGTH: usize = 256;

/// Similarity of two words from 0 to 1, ignoring case: the Jaro-Winkler similarity, which favours common prefixes. It
/// rates a single error in a short word too low, so words that differ by one insertion, deletion, substitution or
/// transposition are always similar enough for a suggestion.
///
/// Returns 0 for texts of more than 256 bytes, because the time is proportional to the product of the lengths.
pub fn similarity(a: &str, b: &str) -> f64 {
    if a.len().max(b.len()) > MAX_LENGTH {
        return 0.0;
    }
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let similarity = strsim::jaro_winkler(&a, &b);
    if strsim::damerau_levenshtein(&a, &b) <= 1 {
        similarity.max(MIN_SIMILARITY)
    } else {
        similarity
    }
}

/// The items that are similar enough for a suggestion, most similar first.
pub fn similar_by<T>(known: impl IntoIterator<Item = T>, similarity: impl Fn(&T) -> f64) -> Vec<T> {
    let scored = known.into_iter().map(|thing| (similarity(&thing), thing));
    let mut near: Vec<_> = scored.filter(|(similarity, _)| *similarity >= MIN_SIMILARITY).collect();
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    near.into_iter().map(|(_, thing)| thing).collect()
}

/// The known words that are similar enough for a suggestion, most similar first.
pub fn similar_names<T: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = T>) -> Vec<T> {
    similar_by(known, |word| similarity(wanted, word.as_ref()))
}

/// The most similar known word, if it is similar enough for a suggestion.
pub fn nearest<T: AsRef<str>>(wanted: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    similar_names(wanted, known).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_comes_first() {
        let known = ["top_p", "temperature", "top_k", "max_tokens", "stop"];
        assert_eq!(nearest("temprature", known), Some("temperature"));
        assert_eq!(nearest("topP", known), Some("top_p"));
        assert_eq!(nearest("stop_sequences", known), Some("stop"));
        assert_eq!(similar_names("top_q", known), ["top_p", "top_k"]);
        assert_eq!(nearest("abacus", known), None);
        assert_eq!(nearest("", known), None);
        let long = "temperature".repeat(100_000);
        assert_eq!(nearest(&long, known), None);
        assert_eq!(nearest("temperature", [&long]), None);
    }

    #[test]
    fn one_typo_in_a_short_name_is_tolerated() {
        for wrong in ["dmeo", "emo", "demos", "domo", "DEMO"] {
            assert_eq!(nearest(wrong, ["demo"]), Some("demo"), "{wrong}");
        }
        assert_eq!(nearest("rn", ["rm", "cp"]), Some("rm"));
        assert_eq!(nearest("xy", ["rm", "cp"]), None);
    }
}
