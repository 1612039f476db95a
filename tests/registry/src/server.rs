//! The part of HTTP/1.1 that the clients use.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Content, Fault, ReceivedRequest, Route, State};

/// Maximum size of the head of a request in bytes.
const MAX_HEAD_BYTES: u64 = 64 << 10;
/// Number of bytes between checks for faults.
const FAULT_CHECK_INTERVAL: u64 = 64 << 10;

pub(crate) fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.lock().stopped {
            return;
        }
        let Ok(stream) = stream else { continue };
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            // A client may disconnect at any time.
            let _ = serve(&stream, &state);
        });
    }
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Records a request before it is answered, so that a client with the answer can find it.
    fn note(&self, state: &State) -> u64 {
        let owned = |name| self.header(name).map(str::to_owned);
        let mut state = state.lock();
        state.requests += 1;
        let seen = ReceivedRequest {
            id: state.requests,
            method: self.method.clone(),
            path: self.path.clone(),
            range: owned("range"),
            authorization: owned("authorization"),
            sent: 0,
        };
        state.seen.push(seen);
        state.requests
    }
}

fn serve(stream: &TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        let mut out = stream;
        if request.method == "CONNECT" {
            // A proxy: requests through it are answered by this server.
            request.note(state);
            out.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            continue;
        }
        if !answer(&request, &mut out, state)? || state.lock().stopped {
            break;
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut head = reader.take(MAX_HEAD_BYTES);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => return Ok(Some(Request { method, path, headers })),
        }
    }
}

/// The answer to a request.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    content: Content,
    /// The range of the content's bytes that is the body.
    body: (u64, u64),
}

impl Answer {
    fn text(status: u16, text: &str) -> Self {
        let content = Content::from(text);
        let body = (0, content.len());
        let headers = vec![("content-type".into(), "application/json".into())];
        Self { status, headers, content, body }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// Answers one request. Returns false if the connection must be closed.
fn answer(request: &Request, out: &mut impl Write, state: &State) -> io::Result<bool> {
    let id = request.note(state);
    let path = percent_decoded(request.path.split('?').next().unwrap_or_default());
    let fault = {
        let mut state = state.lock();
        let found = state
            .faults
            .iter_mut()
            .find(|(part, left, _)| *left > 0 && path.contains(part.as_str()));
        found.map(|(_, left, fault)| {
            *left -= 1;
            fault.clone()
        })
    };
    let mut answer = find(request, &path, state, fault.as_ref());
    let (mut pace, mut step, mut wait) = (None, FAULT_CHECK_INTERVAL, Duration::ZERO);
    let mut cut = u64::MAX;
    match &fault {
        Some(Fault::Status(status, headers)) => {
            answer = Answer::text(*status, r#"{"error":"told to fail"}"#);
            for (name, value) in headers {
                answer = answer.with(name, value);
            }
        }
        Some(Fault::Redirect(url)) => {
            let url = match url.strip_suffix('*') {
                Some(base) => format!("{base}{}", request.path),
                None => url.clone(),
            };
            answer = Answer::text(307, "").with("location", url);
        }
        Some(Fault::Stall(time)) => std::thread::sleep(*time),
        Some(Fault::Slow(speed)) => pace = Some(*speed),
        Some(Fault::Trickle(time)) => (step, wait) = (1, *time),
        Some(Fault::Drop(after)) => cut = *after,
        _ => {}
    }
    let mut head = format!("HTTP/1.1 {} Status\r\n", answer.status);
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let (mut first, end) = answer.body;
    let _ = write!(head, "content-length: {}\r\n\r\n", end - first);
    out.write_all(head.as_bytes())?;
    let (start, time) = (first, Instant::now());
    let mut whole = true;
    if request.method != "HEAD" {
        while first < end {
            if first - start >= cut || state.lock().stopped {
                whole = false;
                break;
            }
            let next = end.min(first + step.min(cut));
            if let Some(seen) = state.lock().seen.iter_mut().rev().find(|seen| seen.id == id) {
                seen.sent += next - first;
            }
            let corrupt = matches!(fault, Some(Fault::Corrupt)) && first == start;
            let written = if corrupt {
                let mut bytes = Vec::new();
                answer.content.write(&mut bytes, first, next)?;
                bytes[0] ^= 0xff;
                out.write_all(&bytes)
            } else {
                answer.content.write(out, first, next)
            };
            if written.is_err() {
                whole = false;
                break;
            }
            first = next;
            std::thread::sleep(wait);
            if let Some(speed) = pace {
                let due = Duration::from_secs_f64((first - start) as f64 / speed as f64);
                std::thread::sleep(due.saturating_sub(time.elapsed()));
            }
        }
    }
    Ok(whole)
}

fn find(request: &Request, path: &str, state: &State, fault: Option<&Fault>) -> Answer {
    let state = state.lock();
    if let Some(token) = &state.token {
        if path == "/token" {
            return Answer::text(200, &format!(r#"{{"token":"{token}"}}"#));
        }
        if request.header("authorization") != Some(&format!("Bearer {token}")) {
            let host = request.header("host").unwrap_or_default();
            let challenge =
                format!("Bearer realm=\"http://{host}/token\",service=\"test\",scope=\"pull\"");
            let answer = Answer::text(401, r#"{"error":"Invalid username or password."}"#);
            // Hugging Face does not say where to get a token.
            return if path.starts_with("/v2/") {
                answer.with("www-authenticate", challenge)
            } else {
                answer
            };
        }
    }
    let blob = path
        .strip_prefix("/v2/")
        .and_then(|rest| rest.split_once("/blobs/"))
        .and_then(|(_, digest)| state.blobs.get(digest))
        .map(|content| Route {
            content: content.clone(),
            ty: "application/octet-stream",
            tag: None,
        });
    let Some(route) = blob.or_else(|| state.routes.get(path).cloned()) else {
        return Answer::text(
            404,
            r#"{"errors":[{"code":"UNKNOWN","message":"there is no such thing"}]}"#,
        );
    };
    let mut size = route.content.len();
    if let Some(Fault::Shorter(bytes)) = fault {
        size = size.saturating_sub(*bytes);
    }
    let range = request
        .header("range")
        .filter(|_| !matches!(fault, Some(Fault::NoRanges)))
        .filter(|_| request.header("if-range").is_none_or(|tag| Some(tag) == route.tag.as_deref()))
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-'))
        .and_then(|(first, last)| {
            let last: Option<u64> =
                if last.is_empty() { Some(size.saturating_sub(1)) } else { last.parse().ok() };
            Some((first.parse::<u64>().ok()?, last?.min(size.saturating_sub(1))))
        });
    let mut answer = match range {
        Some((first, last)) if first <= last && last < size => Answer {
            status: 206,
            headers: vec![("content-range".into(), format!("bytes {first}-{last}/{size}"))],
            content: route.content,
            body: (first, last + 1),
        },
        Some(_) => return Answer::text(416, "{}"),
        None => Answer { status: 200, headers: vec![], content: route.content, body: (0, size) },
    };
    answer = answer.with("content-type", route.ty);
    match route.tag {
        Some(tag) => answer.with("etag", tag),
        None => answer,
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
