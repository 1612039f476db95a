//! URLs: resolving references, deciding who receives credentials, removing secrets for display.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// Characters that are not escaped in a path: the unreserved ones (RFC 3986, section 2.3), and `/`.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Parses an HTTP(S) URL and normalises it: the host in lower case, no default port, no `..` in the path.
pub(crate) fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// Resolves a reference against a base URL (RFC 3986, section 5). `None` unless the result is an HTTP(S) URL.
pub(crate) fn join(base: &str, reference: &str) -> Option<String> {
    let mut url = parse(parse(base)?.join(reference).ok()?.as_str())?;
    // The fragment is never sent to a server.
    url.set_fragment(None);
    Some(url.into())
}

/// Whether both URLs have the same scheme, host and port, so that credentials for one may be sent to the other.
pub(crate) fn same_origin(a: &str, b: &str) -> bool {
    matches!((parse(a), parse(b)), (Some(a), Some(b)) if a.origin() == b.origin())
}

/// The host, with the port unless it is the scheme's default.
pub(crate) fn host_and_port(address: &str) -> Option<String> {
    let url = parse(address)?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

/// The URL without parts that may be secret: user, password, query.
pub(crate) fn shown(address: &str) -> String {
    let plain = address.split(['?', '#']).next().unwrap_or_default();
    match Url::parse(plain) {
        Ok(mut url) => {
            // Fails for URLs that cannot have credentials.
            let _ = (url.set_username(""), url.set_password(None));
            url.into()
        }
        Err(_) => plain.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// Percent-encodes text for the path of a URL; `/` is not encoded.
pub(crate) fn escape(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// Whether the host is `localhost` or a loopback address.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_references_resolve_as_in_rfc_3986() {
        for (base, reference, url) in [
            ("http://a/b/c?d", "https://x/y", Some("https://x/y")),
            ("https://a/b/c", "//x/y", Some("https://x/y")),
            ("https://a:1/b/c", "/y?z", Some("https://a:1/y?z")),
            ("https://a/b/c?d=/e", "y", Some("https://a/b/y")),
            ("https://a", "y", Some("https://a/y")),
            ("https://a/b", "y#z", Some("https://a/y")),
            ("https://a/b/c", "/y?u=http://x/", Some("https://a/y?u=http://x/")),
            ("no address", "y", None),
            // Only the query is replaced.
            ("https://a/b/c", "?x", Some("https://a/b/c?x")),
            ("https://a/b/c?d", "?x#y", Some("https://a/b/c?x")),
            ("https://a", "?x", Some("https://a/?x")),
            // An empty reference means the page itself.
            ("https://a/b/c?d", "", Some("https://a/b/c?d")),
            ("https://a/b/c?d", "#x", Some("https://a/b/c?d")),
            ("https://a", "", Some("https://a/")),
            // `..` goes up, but not above the root.
            ("https://a/b/c/d", "../x", Some("https://a/b/x")),
            ("https://a/b/c", "./x/../y/.", Some("https://a/b/y/")),
            ("https://a/b", "../../../x", Some("https://a/x")),
            ("https://a/b/c", "/../x", Some("https://a/x")),
            ("https://a/b/c", "..", Some("https://a/")),
            ("https://a/b/../c/d", "x", Some("https://a/c/x")),
            ("https://a/b/c", "%2e%2e/x", Some("https://a/x")),
            ("https://a/b/c", "/x//y", Some("https://a/x//y")),
            // Hosts and ports are normalised.
            ("https://A.io/b", "HTTPS://X.IO:443/Y", Some("https://x.io/Y")),
            ("http://a:80/b", "c", Some("http://a/c")),
            ("https://a:80/b", "c", Some("https://a:80/c")),
            ("https://a", "//[::1]:8080", Some("https://[::1]:8080/")),
            // Lookalikes of another server.
            ("https://a/b", "https://a@x/y", Some("https://a@x/y")),
            ("https://a/b", "//x\\@a/y", Some("https://x/@a/y")),
            // Not HTTP, or without a valid host.
            ("https://a/b", "ftp://a/b", None),
            ("https://a/b", "javascript:alert(1)", None),
            ("https://a/b", "file:///etc/passwd", None),
            ("https://a/b", "https://", None),
            ("https://a/b", "//:80/", None),
            ("https://a/b", "https://a:99999/", None),
            ("ftp://a/b", "c", None),
        ] {
            assert_eq!(join(base, reference).as_deref(), url, "{reference} on {base}");
        }
    }

    #[test]
    fn credentials_are_for_one_scheme_host_and_port() {
        for same in
            ["https://a.io:443/y?z", "https://A.IO", "HTTPS://a.io/../x", "https://u:p@a.io"]
        {
            assert!(same_origin("https://A.io/x", same), "{same}");
        }
        for other in [
            "http://a.io/",
            "http://a.io:443/",
            "https://a.io:8443/",
            "https://a.io:80/",
            "https://a.io.evil/",
            "https://a.io@b/",
            "https://b/a.io",
            "https://b.a.io/",
            "https://a.io./",
            "a.io",
            "",
        ] {
            assert!(!same_origin("https://a.io/", other), "{other}");
        }
        assert!(same_origin("http://[::1]/", "http://[0:0::1]:80/x"));
        // An invalid URL has no origin, not even its own.
        assert!(!same_origin("a.io", "a.io") && !same_origin("ftp://a.io/", "ftp://a.io/"));
    }

    #[test]
    fn shown_urls_contain_no_secrets() {
        for (address, plain) in [
            ("https://user:secret@host/x?token=secret#secret", "https://host/x"),
            ("https://secret@HOST:8443/a/b", "https://host:8443/a/b"),
            ("https://user:sec ret@ho st/x?secret", "ho st/x"),
            ("no address", "no address"),
        ] {
            assert_eq!(shown(address), plain);
        }
        assert_eq!(host_and_port("https://u:p@A.io:443/x").as_deref(), Some("a.io"));
        assert_eq!(host_and_port("http://127.0.0.1:81/x").as_deref(), Some("127.0.0.1:81"));
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escape("a b/c#d?e%~_-.gguf"), "a%20b/c%23d%3Fe%25~_-.gguf");
    }

    #[test]
    fn loopback_hosts_are_recognised() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]", "LOCALHOST"] {
            assert!(is_loopback(host));
        }
        for host in ["localhost.evil.io", "127.0.0.1.evil.io", "10.0.0.1", "0.0.0.0", ""] {
            assert!(!is_loopback(host));
        }
    }
}
