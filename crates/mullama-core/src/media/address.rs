//! Reads `data:` URLs of pictures: `data:image/png;base64,...`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 with the standard alphabet; padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes the bytes of a `data:` URL. Fails if `address` is not a base64 `data:` URL, or if it has more than `most`
/// bytes.
pub(crate) fn bytes_of(address: &str, most: u64) -> Result<Vec<u8>, String> {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("data") {
        let shown: String = address.chars().take(40).collect();
        return Err(format!(
            "expected an address of the form data:image/png;base64,..., not {shown:?}: nothing is fetched, and no \
             file is opened"
        ));
    }
    let (kind, data) = address[scheme.len() + 1..]
        .split_once(',')
        .ok_or("the address has no data: there is no comma in it")?;
    if !kind.to_ascii_lowercase().ends_with(";base64") {
        return Err(
            "the data of an address must be in base64: data:image/png;base64,...".to_owned()
        );
    }
    check_size(data.len() / 4 * 3, most)?;
    let decoded = if data.contains(|c: char| c.is_ascii_whitespace()) {
        BASE64.decode(data.split_ascii_whitespace().collect::<String>())
    } else {
        BASE64.decode(data)
    };
    decoded.map_err(|error| format!("the data is not base64: {error}"))
}

/// Returns an error if a file of `size` bytes is larger than `most` bytes.
pub(super) fn check_size(size: usize, most: u64) -> Result<(), String> {
    if size as u64 <= most {
        return Ok(());
    }
    Err(format!("the file of an image has {size} bytes; at most {most} are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 64 << 20;

    #[test]
    fn data_urls_are_decoded() {
        for (address, bytes) in [
            ("data:image/png;base64,AAEC", &[0, 1, 2][..]),
            ("DATA:;BASE64,AAE=", &[0, 1]),
            ("data:image/png;base64,AAE", &[0, 1]),
            ("data:image/png;charset=x;base64,AA\nEC ", &[0, 1, 2]),
            ("data:;base64,", &[]),
        ] {
            assert_eq!(bytes_of(address, MOST).unwrap(), bytes, "{address}");
        }
    }

    #[test]
    fn non_data_urls_are_rejected() {
        for (address, said) in [
            ("http://127.0.0.1/cat.png", "nothing is fetched"),
            ("https://example.com/cat.png", "nothing is fetched"),
            ("file:///etc/passwd", "no file is opened"),
            ("/tmp/cat.png", "no file is opened"),
            ("", "expected an address"),
            ("data:image/png", "comma"),
            ("data:image/png,abc", "base64"),
            ("data:image/png;base64,A*B=", "not base64"),
            ("data:image/png;base64,A", "not base64"),
        ] {
            let problem = bytes_of(address, MOST).unwrap_err();
            assert!(problem.contains(said), "{address}: {problem}");
        }
        let address = "data:;base64,AAECAAEC";
        assert_eq!(bytes_of(address, 6).unwrap().len(), 6);
        assert!(bytes_of(address, 5).unwrap_err().contains("has 6 bytes; at most 5 are allowed"));
    }
}
