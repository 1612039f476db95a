//! The HTTP client: sends a request, follows redirects, classifies responses.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mullama_base::CancelCallback;
use ureq::http::{HeaderMap, HeaderValue, Uri, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, http};

use crate::address::{is_loopback, join, parse, same_origin, shown};
use crate::proxy::EnvProxy;
use crate::resolver::ThreadResolver;
use crate::{CancelToken, Error, ErrorKind, PullOptions, Result};

const MAX_REDIRECTS: u32 = 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest `Retry-After` that is respected.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(120);
const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(15);

/// Why an attempt failed.
pub(crate) enum Failure {
    /// May succeed on retry, after the delay that the server requests, if any.
    Transient(Error, Option<Duration>),
    /// Retrying cannot succeed.
    Permanent(Error),
}

/// An HTTP GET request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    pub url: &'a str,
    pub accept: Option<&'a str>,
    /// The bearer token. Sent only to the origin of `url`.
    pub bearer: Option<&'a str>,
    /// The first byte, and the byte after the last.
    pub range: Option<(u64, u64)>,
    /// The version of the file that `range` refers to, for `If-Range`.
    pub if_range: Option<&'a str>,
}

/// A response with status 200 or 206, or 401 if the caller expects that.
pub(crate) struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    /// The URL after redirects.
    pub url: String,
    body: Body,
    traffic: Arc<Traffic>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The first byte of this part, and the total length of the file.
    pub fn content_range(&self) -> Option<(u64, u64)> {
        let (range, total) =
            self.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
        let (first, _) = range.split_once('-')?;
        Some((first.trim().parse().ok()?, total.trim().parse().ok()?))
    }

    pub fn reader(&mut self) -> impl io::Read + '_ {
        let (since, before) = (Instant::now(), self.traffic.received());
        MinRateReader { body: self.body.as_reader(), traffic: &self.traffic, since, before }
    }

    /// Returns the whole body. Fails if it has more than `longest` bytes.
    pub fn bytes(mut self, longest: u64) -> Result<Vec<u8>, Failure> {
        let url = self.url.clone();
        let mut bytes = Vec::new();
        self.reader()
            .take(longest + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| interrupted(&url, error))?;
        if bytes.len() as u64 > longest {
            return Err(Failure::Permanent(failed(
                &url,
                &format!("the answer is longer than {longest} bytes"),
            )));
        }
        Ok(bytes)
    }
}

/// Bytes received over all connections, and the minimum rate.
struct Traffic {
    received: AtomicU64,
    /// Time of the last data or response.
    last: Mutex<Instant>,
    /// Bytes per second, averaged over `period`.
    least_rate: u64,
    period: Duration,
}

impl Traffic {
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that fails below the minimum rate. The rate is that of all connections together, so a single one may be slow.
struct MinRateReader<'a, R> {
    body: R,
    traffic: &'a Traffic,
    /// Start of the current period, and the bytes received before it.
    since: Instant,
    before: u64,
}

impl<R: io::Read> io::Read for MinRateReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        if count == 0 {
            return Ok(0);
        }
        self.traffic.count(count);
        let (elapsed, received) = (self.since.elapsed(), self.traffic.received());
        if elapsed >= self.traffic.period {
            let rate = (received - self.before) as f64 / elapsed.as_secs_f64();
            if rate < self.traffic.least_rate as f64 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, RateTooLow(rate)));
            }
            (self.since, self.before) = (Instant::now(), received);
        }
        Ok(count)
    }
}

/// The rate was too low for a whole period; in bytes per second.
#[derive(Debug)]
struct RateTooLow(f64);

impl fmt::Display for RateTooLow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it sends {:.0} bytes per second", self.0)
    }
}

impl std::error::Error for RateTooLow {}

/// The failure for a body that ended early.
pub(crate) fn interrupted(url: &str, error: io::Error) -> Failure {
    let slow = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<RateTooLow>);
    let failure = failed(url, &error.to_string()).with_source(error);
    if slow {
        return Failure::Permanent(failure.with_hint(
            "try again later to resume; MULLAMA_PULL_LEAST_RATE sets what is too slow",
        ));
    }
    Failure::Transient(failure, None)
}

/// Sends all requests of a pull.
pub(crate) struct Client {
    /// Agents for plain and for TLS connections. The latter is created on first use, because loading the certificates
    /// takes time.
    plain: AbortableAgent,
    encrypted: OnceLock<AbortableAgent>,
    /// The longest silence of a server, including repeated attempts.
    timeout: Duration,
    connections: usize,
    traffic: Arc<Traffic>,
    pub cancel: CancelToken,
    pub retries: u32,
    /// Whether plain HTTP is allowed to hosts other than this machine.
    insecure: bool,
    /// Whether any server has responded yet.
    reached: AtomicBool,
}

/// An agent that is shut down when the pull is cancelled.
struct AbortableAgent {
    agent: Agent,
    _on_cancel: CancelCallback,
}

impl AbortableAgent {
    /// One request may take at most half of `timeout`, so that there is time for a second one.
    fn new(cancel: &CancelToken, timeout: Duration, connections: usize, tls: TlsConfig) -> Self {
        let timeout = (timeout / 2).max(Duration::from_millis(1));
        let connect = Some(CONNECT_TIMEOUT.min(timeout));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("mullama/", env!("CARGO_PKG_VERSION")))
            // Digests are those of the files as stored on the server, so compression must be off.
            .accept_encoding("identity")
            .timeout_resolve(connect)
            .timeout_connect(connect)
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            .timeout_recv_response(Some(timeout))
            .max_idle_connections_per_host(connections + 1)
            .tls_config(tls)
            .proxy(None)
            .build();
        let agent = Agent::with_parts(config, DefaultConnector::default(), ThreadResolver);
        let cut = agent.clone();
        Self { _on_cancel: cancel.on_cancel(move || cut.shutdown()), agent }
    }
}

impl Client {
    pub fn new(options: &PullOptions<'_>) -> Self {
        let PullOptions { cancel, connections, retries, insecure, timeout, .. } = options;
        let traffic = Traffic {
            received: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            least_rate: options.least_rate,
            period: options.rate_period,
        };
        Self {
            plain: AbortableAgent::new(cancel, *timeout, *connections, TlsConfig::default()),
            encrypted: OnceLock::new(),
            timeout: *timeout,
            connections: *connections,
            traffic: Arc::new(traffic),
            cancel: cancel.clone(),
            retries: *retries,
            insecure: *insecure,
            reached: AtomicBool::new(false),
        }
    }

    /// The agent for this URL. A proxy may use TLS even if the URL does not.
    fn agent(&self, uri: &Uri, proxied: bool) -> &Agent {
        if uri.scheme_str() != Some("https") && !proxied {
            return &self.plain.agent;
        }
        let guarded = self.encrypted.get_or_init(|| {
            let tls = TlsConfig::builder().root_certs(root_certificates()).build();
            AbortableAgent::new(&self.cancel, self.timeout, self.connections, tls)
        });
        &guarded.agent
    }

    /// Sends a request and follows redirects. Credentials are not sent to other origins.
    ///
    /// Other statuses than 200 and 206 are failures; so is 401, unless it is `expected`.
    pub fn send(&self, request: &Request<'_>, expected: bool) -> Result<Response, Failure> {
        let mut url = request.url.to_owned();
        let mut trusted = true;
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send_once(request, &url, trusted)?;
            let status = response.status().as_u16();
            let (parts, body) = response.into_parts();
            if matches!(status, 301 | 302 | 303 | 307 | 308)
                && let Some(location) = parts.headers.get(header::LOCATION)
            {
                let next = redirected(&url, location)?;
                trusted &= same_origin(&url, &next);
                url = next;
                continue;
            }
            let traffic = Arc::clone(&self.traffic);
            let response = Response { status, headers: parts.headers, url, body, traffic };
            return match status {
                200 | 206 => Ok(response),
                401 if expected => Ok(response),
                _ => Err(failure_of_status(request, response)),
            };
        }
        Err(Failure::Permanent(failed(
            request.url,
            &format!("it redirects more than {MAX_REDIRECTS} times"),
        )))
    }

    fn send_once(
        &self,
        request: &Request<'_>,
        url: &str,
        trusted: bool,
    ) -> Result<http::Response<Body>, Failure> {
        self.cancel.check().map_err(Failure::Permanent)?;
        let uri: Uri = parse(url)
            .and_then(|url| url.as_str().parse().ok())
            .ok_or_else(|| Failure::Permanent(failed(url, "this address cannot be used")))?;
        self.check_scheme(&uri).map_err(Failure::Permanent)?;
        log::debug!("GET {} {:?}", shown(url), request.range);
        let proxy = EnvProxy::of(&uri).map_err(Failure::Permanent)?;
        let agent = self.agent(&uri, proxy.is_some());
        let address = proxy.as_ref().map(|it| it.proxy.clone());
        let mut builder = agent.get(&uri).config().proxy(address).build();
        if let Some(accept) = request.accept {
            builder = builder.header(header::ACCEPT, accept);
        }
        if let Some(token) = request.bearer.filter(|_| trusted) {
            builder = builder.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some((first, end)) = request.range {
            builder = builder.header(header::RANGE, format!("bytes={first}-{}", end - 1));
            if let Some(version) = request.if_range {
                builder = builder.header(header::IF_RANGE, version);
            }
        }
        builder
            .call()
            .map_err(|error| {
                if self.cancel.is_cancelled() {
                    return Failure::Permanent(Error::cancelled());
                }
                failure_of_call(url, proxy.as_ref(), error)
            })
            .inspect(|_| {
                self.reached.store(true, Ordering::Relaxed);
                self.traffic.count(0);
            })
    }

    /// Refuses plain HTTP to other machines, unless insecure connections are allowed.
    fn check_scheme(&self, uri: &Uri) -> Result<()> {
        let host = uri.host().unwrap_or_default();
        if uri.scheme_str() == Some("https") || self.insecure || is_loopback(host) {
            return Ok(());
        }
        Err(failed(&uri.to_string(), "the connection would not be encrypted")
            .with_hint("use https, or allow insecure connections"))
    }

    /// Repeats an attempt until it succeeds, fails permanently, or has failed more than `retries` times in a row, or
    /// until no server has sent anything for `timeout`. The first value that an attempt returns is whether it made
    /// progress.
    pub fn retry<T>(&self, mut attempt: impl FnMut() -> (bool, Result<T, Failure>)) -> Result<T> {
        let mut failures = 0;
        let mut begun = Instant::now();
        // The silence of all attempts since the last one that made progress.
        let mut silence = Duration::ZERO;
        loop {
            let started = Instant::now();
            let (progress, result) = attempt();
            let (error, wait) = match result {
                Ok(value) => return Ok(value),
                Err(Failure::Permanent(error)) => return Err(error),
                Err(Failure::Transient(error, wait)) => (error, wait),
            };
            self.cancel.check()?;
            if progress {
                failures = 0;
                silence = Duration::ZERO;
            }
            failures += 1;
            silence += started.max(self.traffic.last()).elapsed();
            // A host that never responded is more likely misspelt than temporarily down.
            let reached = self.reached.load(Ordering::Relaxed);
            let silent =
                begun.max(self.traffic.last()).elapsed() >= self.timeout || silence >= self.timeout;
            if silent || failures > if reached { self.retries } else { self.retries.min(1) } {
                let error = error.with_context("attempts", failures);
                let hint = "check the name and the network";
                let explained = reached || error.get("proxy").is_some();
                return Err(if explained { error } else { error.with_hint(hint) });
            }
            // A delay that the server requested does not count as silence.
            let asked = wait.is_some();
            let wait = match wait {
                Some(wait) if wait > MAX_RETRY_AFTER => {
                    let hint = format!("the server asks to come back in {} s", wait.as_secs());
                    return Err(error.with_hint(hint));
                }
                Some(wait) => wait,
                None => delay(failures),
            };
            log::info!("{error}; again in {} ms", wait.as_millis());
            self.cancel.sleep(wait)?;
            if asked {
                begun = Instant::now();
            }
        }
    }
}

/// Exponential backoff with random jitter, so that clients do not retry all at once.
fn delay(failures: u32) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let delay = MAX_DELAY.min(FIRST_DELAY * 2u32.saturating_pow(failures.min(16) - 1));
    let random = RandomState::new().hash_one(failures) % 1000;
    delay / 2 + delay / 2 * random as u32 / 1000
}

/// A download error for a URL, without the URL's secrets.
pub(crate) fn failed(url: &str, problem: &str) -> Error {
    let shown = shown(url);
    Error::new(ErrorKind::Download, format!("{shown}: {problem}")).with_context("url", shown)
}

/// The failure of a request that got no response.
fn failure_of_call(url: &str, proxy: Option<&EnvProxy>, error: ureq::Error) -> Failure {
    let error = match error {
        // Our own error, of the resolver.
        ureq::Error::Other(other) => match other.downcast::<Error>() {
            Ok(error) => return Failure::Permanent(*error),
            Err(other) => ureq::Error::Other(other),
        },
        error => error,
    };
    let lasting = matches!(
        error,
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::ConnectProxyFailed(_)
    );
    let encryption = match &error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        ureq::Error::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        _ => false,
    };
    let silent = matches!(error, ureq::Error::Timeout(_));
    let mut failure = match (&error, proxy) {
        // The message of this error contains the whole URL.
        (ureq::Error::BadUri(_), _) => failed(url, "this address cannot be used"),
        (_, Some(proxy)) => failed(url, &format!("through {proxy}: {error}"))
            .with_context("proxy", proxy)
            .with_source(error)
            .with_hint(proxy.hint()),
        (_, None) => failed(url, &error.to_string()).with_source(error),
    };
    if encryption {
        failure = failure.with_hint(
            "if a company proxy inspects the traffic, set SSL_CERT_FILE to its certificate",
        );
    } else if silent && proxy.is_none() {
        failure = failure.with_hint("try again later");
    }
    if lasting || encryption {
        Failure::Permanent(failure)
    } else {
        Failure::Transient(failure, None)
    }
}

/// The failure for an unexpected status.
fn failure_of_status(request: &Request<'_>, response: Response) -> Failure {
    let status = response.status;
    let wait = response.header("retry-after").and_then(retry_after);
    let url = response.url.clone();
    // Registries explain the status in the body.
    let reason = reason(&start_of_body(response));
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let error = |kind, text: &str| {
        let error = failed(&url, &format!("{text}{reason}"));
        Error::new(kind, error.to_string())
            .with_context("url", error.get("url").unwrap_or_default())
            .with_context("status", status)
    };
    match status {
        401 | 403 if request.bearer.is_some() => Failure::Permanent(error(
            ErrorKind::Download,
            &format!("{status}, the token does not give access"),
        )),
        401 | 403 => {
            Failure::Permanent(error(ErrorKind::Download, &format!("{status}, access denied")))
        }
        404 | 410 => {
            Failure::Permanent(error(ErrorKind::NotFound, &format!("{status}, not found")))
        }
        408 | 425 | 429 | 500 | 502 | 503 | 504 | 520..=529 => {
            Failure::Transient(error(ErrorKind::Download, &format!("status {status}")), wait)
        }
        416 => {
            Failure::Permanent(error(ErrorKind::Download, "the file is shorter than it should be"))
        }
        _ => Failure::Permanent(error(ErrorKind::Download, &format!("status {status}"))),
    }
}

/// The part of a short body that arrives soon: its text is only an explanation.
fn start_of_body(mut response: Response) -> Vec<u8> {
    const MAX_SIZE: u64 = 64 << 10;
    const MAX_TIME: Duration = Duration::from_secs(2);
    let begun = Instant::now();
    let mut reader = response.reader().take(MAX_SIZE);
    let (mut body, mut part) = (Vec::new(), [0; 4096]);
    while begun.elapsed() < MAX_TIME
        && let Ok(read @ 1..) = reader.read(&mut part)
    {
        body.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    body
}

/// The message in a body such as `{"errors": [{"message": ...}]}` or `{"error": ...}`.
fn reason(body: &[u8]) -> Option<String> {
    let json: serde_json::Value = serde_json::from_slice(body).ok()?;
    let text = json.pointer("/errors/0/message").or_else(|| json.get("error"))?.as_str()?;
    // Some servers repeat the requested URL, including its signature.
    let words = text.split(|c: char| c.is_whitespace() || c.is_control());
    let words: Vec<_> = words.map(strip_query).collect();
    let line: String = words.join(" ").chars().take(200).collect();
    (!line.trim().is_empty()).then_some(line)
}

/// A word, without the query if it is a URL.
fn strip_query(word: &str) -> Cow<'_, str> {
    match word.split_once('?') {
        Some((_, query)) if query.contains('=') => shown(word).into(),
        _ if word.contains("://") => shown(word).into(),
        _ => word.into(),
    }
}

/// The URL that a response from `url` redirects to. Fails if it would downgrade HTTPS to HTTP.
fn redirected(url: &str, location: &HeaderValue) -> Result<String, Failure> {
    let refuse = |problem: &str| Err(Failure::Permanent(failed(url, problem)));
    let Some(next) = location.to_str().ok().and_then(|location| join(url, location)) else {
        return refuse("it redirects to no address");
    };
    if is_encrypted(url) && !is_encrypted(&next) {
        return refuse(&format!("it redirects to {}, which is not encrypted", shown(&next)));
    }
    Ok(next)
}

fn is_encrypted(url: &str) -> bool {
    parse(url).is_some_and(|url| url.scheme() == "https")
}

/// Parses `Retry-After`: seconds or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The system's certificates, which include those of a company's proxy; Mozilla's if there are none.
fn root_certificates() -> RootCerts {
    static ROOTS: OnceLock<Option<Arc<Vec<Certificate<'static>>>>> = OnceLock::new();
    let root_certificates = ROOTS.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        for error in found.errors {
            log::debug!("certificates: {error}");
        }
        let certs: Vec<_> =
            found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned()).collect();
        (!certs.is_empty()).then(|| Arc::new(certs))
    });
    root_certificates.clone().map_or(RootCerts::WebPki, RootCerts::Specific)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("soon"), None);
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for bad in ["", "Sun, 06", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 0 08:49:37 GMT"] {
            assert_eq!(retry_after(bad), None);
        }
    }

    #[test]
    fn https_does_not_redirect_to_http() {
        let next = |url: &str, location: &'static str| {
            redirected(url, &HeaderValue::from_static(location)).map_err(|failure| match failure {
                Failure::Permanent(error) | Failure::Transient(error, _) => error.to_string(),
            })
        };
        for (url, location, expected) in [
            ("https://a/b/c", "../d?e", "https://a/d?e"),
            ("https://a/b/c", "?e", "https://a/b/c?e"),
            ("https://a/b/c", "//B/d", "https://b/d"),
            ("HTTPS://a/b", "https://c:8443/d", "https://c:8443/d"),
            ("http://a/b", "https://a/b", "https://a/b"),
            ("http://a/b", "http://c/d", "http://c/d"),
        ] {
            assert_eq!(next(url, location).as_deref(), Ok(expected));
        }
        for location in ["http://a/b", "HTTP://a/b", "http://a:443/b", "http://u:secret@a?secret"] {
            let refused = next("https://a/b", location).unwrap_err();
            assert!(refused.ends_with("which is not encrypted"), "{refused}");
            assert!(!refused.contains("secret"), "{refused}");
        }
        for location in ["ftp://a/b", "https://", "https://a:x/"] {
            assert!(
                next("https://a/b", location).unwrap_err().contains("no address"),
                "{location}"
            );
        }
    }

    #[test]
    fn errors_show_no_secrets() {
        let error = failed("https://user:secret@host/x?token=secret#secret", "no");
        assert_eq!(error.to_string(), "https://host/x: no");
        let said = |text: &str| reason(serde_json::json!({ "error": text }).to_string().as_bytes());
        for text in [
            "expired: https://u:secret@host/x?X-Amz-Signature=secret (sorry)",
            "expired: /x?X-Amz-Signature=secret (sorry)",
            "expired:\thttps://secret@host/x (sorry)",
        ] {
            let said = said(text).unwrap();
            assert!(!said.contains("secret") && said.ends_with("(sorry)"), "{said}");
        }
        assert_eq!(said("what now? nothing").as_deref(), Some("what now? nothing"));
    }
}
