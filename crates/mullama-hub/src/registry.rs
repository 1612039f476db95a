//! Client for registries with Ollama's protocol.

use crate::address::{self, escape, same_origin};
use crate::client::{Client, Failure, Request, failed};
use crate::download::Remote;
use crate::manifest::MAX_MANIFEST_SIZE;
use crate::{Error, ErrorKind, Layer, Name, Result};

const ACCEPT: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A model in a registry.
pub(crate) struct Registry<'a> {
    client: &'a Client,
    /// The model's base URL, for example `https://registry.ollama.ai/v2/library/llama3.2`.
    base: String,
    name: &'a Name,
    bearer: Option<String>,
}

impl<'a> Registry<'a> {
    pub fn new(client: &'a Client, root: &str, name: &'a Name, token: Option<&str>) -> Self {
        let root = root.trim_end_matches('/');
        let base = format!("{root}/v2/{}/{}", escape(name.namespace()), escape(name.model()));
        Self { client, base, name, bearer: token.map(str::to_owned) }
    }

    /// Downloads the manifest. Also obtains a token if the registry requires one.
    pub fn manifest(&mut self) -> Result<Vec<u8>> {
        let url = format!("{}/manifests/{}", self.base, escape(self.name.tag()));
        let get = |bearer: Option<&str>| {
            self.client.retry(|| {
                let request =
                    Request { url: &url, accept: Some(ACCEPT), bearer, ..Request::default() };
                let result = self.client.send(&request, true).and_then(|response| {
                    if response.status == 401 {
                        let challenge = response.header("www-authenticate").unwrap_or_default();
                        return Ok(Err(challenge.to_owned()));
                    }
                    response.bytes(MAX_MANIFEST_SIZE).map(Ok)
                });
                (false, result)
            })
        };
        let about = |error: Error| match error.kind() {
            ErrorKind::NotFound => {
                let site = address::host_and_port(&self.base).unwrap_or_default();
                Error::new(ErrorKind::NotFound, format!("{site} has no model {}", self.name))
                    .with_context("name", self.name)
                    .with_context("url", address::shown(&url))
                    .with_hint("check the name and the tag")
                    .with_source(error)
            }
            _ => error.with_context("name", self.name),
        };
        let refused = || {
            failed(&url, "401, the registry gives no access to this model")
                .with_context("name", self.name)
                .with_context("status", 401)
                .with_hint("check the name; a private model needs a token")
        };
        let challenge = match get(self.bearer.as_deref()).map_err(about)? {
            Ok(bytes) => return Ok(bytes),
            Err(challenge) => challenge,
        };
        let token = self.token(&challenge)?.ok_or_else(refused)?;
        let bytes = get(Some(&token)).map_err(about)?.map_err(|_| refused())?;
        self.bearer = Some(token);
        Ok(bytes)
    }

    /// Obtains the token for a challenge: `Bearer realm="...",service="...",scope="..."`.
    ///
    /// The realm must be on the registry's own origin. Otherwise a registry could have credentials
    /// sent to an arbitrary server.
    fn token(&self, challenge: &str) -> Result<Option<String>> {
        let parts = parts(challenge);
        let part = |name: &str| parts.iter().find(|(known, _)| known == name).map(|(_, v)| v);
        let Some(realm) = part("realm") else { return Ok(None) };
        let Some(mut url) = address::parse(realm).filter(|_| same_origin(realm, &self.base)) else {
            let realm = address::shown(realm);
            return Err(failed(&self.base, &format!("it wants a token from elsewhere: {realm}"))
                .with_context("realm", realm));
        };
        for name in ["service", "scope"] {
            if let Some(value) = part(name) {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let url = String::from(url);
        let body = self.client.retry(|| {
            let bearer = self.bearer.as_deref();
            let request = Request { url: &url, bearer, ..Request::default() };
            (false, self.client.send(&request, false).and_then(|answer| answer.bytes(64 << 10)))
        })?;
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let token = json.get("token").or_else(|| json.get("access_token"));
        let token = token.and_then(serde_json::Value::as_str);
        let plain = |token: &&str| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic());
        token
            .filter(plain)
            .map(|token| Some(token.to_owned()))
            .ok_or_else(|| failed(&url, "the answer has no token"))
    }

    /// The location of a blob.
    pub fn blob(&self, layer: &Layer) -> Remote {
        Remote {
            url: format!("{}/blobs/{}", self.base, layer.digest),
            bearer: self.bearer.clone(),
            size: layer.size,
            digest: Some(layer.digest),
            version: None,
        }
    }
}

/// Parses the parameters of a challenge.
fn parts(challenge: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = match challenge.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest,
        _ => return pairs,
    };
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').map_or((after, ""), |(value, after)| (value, after)),
        };
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        pairs.push((name, value.to_owned()));
        rest = after;
    }
    pairs
}

/// Downloads a small file from the registry.
pub(crate) fn download_small(client: &Client, remote: &Remote) -> Result<Vec<u8>> {
    client.retry(|| {
        let bearer = remote.bearer.as_deref();
        let request = Request { url: &remote.url, bearer, ..Request::default() };
        let result = client.send(&request, false).and_then(|response| {
            let url = response.url.clone();
            let bytes = response.bytes(remote.size)?;
            if (bytes.len() as u64) < remote.size {
                let problem = format!("{} bytes were received, not {}", bytes.len(), remote.size);
                return Err(Failure::Transient(failed(&url, &problem), None));
            }
            Ok(bytes)
        });
        (false, result)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            parts(r#"Bearer realm="https://a/token",service="a.b",scope="repository:x:pull,push""#),
            [
                pair("realm", "https://a/token"),
                pair("service", "a.b"),
                pair("scope", "repository:x:pull,push")
            ]
        );
        assert_eq!(parts("bearer Realm=x, service=y"), [pair("realm", "x"), pair("service", "y")]);
        for none in ["", "Basic realm=\"x\"", "Bearer", "Bearer realm"] {
            assert_eq!(parts(none), []);
        }
        assert_eq!(parts("Bearer realm=\"x"), [pair("realm", "x")]);
    }
}
