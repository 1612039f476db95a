//! Proxies: which one the environment names for a URL.

use std::env;
use std::fmt;

use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

use crate::address::is_loopback;
use crate::{Error, ErrorKind, Result};

/// The proxy for a URL, and the environment variable that names it.
pub(crate) struct EnvProxy {
    pub proxy: Proxy,
    variable: &'static str,
}

impl EnvProxy {
    /// Returns the proxy for this URL, if the environment names one. Loopback and the hosts in `NO_PROXY` use none.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` if the variable has no address of a proxy, or that of an unsupported kind.
    pub fn of(uri: &Uri) -> Result<Option<Self>> {
        let names: &[_] = match uri.scheme_str() {
            Some("https") => &["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"],
            // `HTTP_PROXY` is ignored: in a CGI program, a request header can set it.
            _ => &["http_proxy", "ALL_PROXY", "all_proxy"],
        };
        let Some((variable, value)) = first_set(names) else {
            return Ok(None);
        };
        if uri.host().is_none_or(is_loopback) || is_excluded(uri) {
            return Ok(None);
        }
        // The value may contain a password, so the errors do not quote it.
        let refuse = |problem: &str| {
            Err(Error::new(ErrorKind::InvalidArgument, format!("{variable} {problem}"))
                .with_context("variable", variable)
                .with_hint(format!("set {variable} to http://HOST:PORT, or unset it")))
        };
        let Ok(proxy) = Proxy::new(value.trim()) else {
            return refuse("is not the address of a proxy");
        };
        if proxy.host().is_empty() {
            return refuse("is the address of a proxy without a host");
        }
        match proxy.protocol() {
            ProxyProtocol::Http | ProxyProtocol::Https => Ok(Some(Self { proxy, variable })),
            kind => refuse(&format!("names a {kind} proxy, which is not supported")),
        }
    }

    /// What to do if no connection can be made through this proxy.
    pub fn hint(&self) -> String {
        format!("check {}; hosts in NO_PROXY are contacted without a proxy", self.variable)
    }
}

/// The address without user name and password.
impl fmt::Display for EnvProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}:{} ({})", self.proxy.host(), self.proxy.port(), self.variable)
    }
}

/// The first variable that is set to a text that is not empty, and this text.
fn first_set(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some((*name, value.to_string_lossy().into_owned()))
    })
}

/// Whether the host is one of those in `NO_PROXY`.
fn is_excluded(uri: &Uri) -> bool {
    let Some((_, hosts)) = first_set(&["NO_PROXY", "no_proxy"]) else {
        return false;
    };
    let matcher = hosts
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .fold(Proxy::builder(ProxyProtocol::Http), ureq::ProxyBuilder::no_proxy);
    matcher.build().is_ok_and(|matcher| matcher.is_no_proxy(uri))
}
