//! A plain HTTP/1.1 client that says exactly what came: status, headers, body, and whether the body came to its end.
//!
//! It is written here and not taken from a library because a library hides what the suite must see: an answer that
//! breaks off, a length that is not kept, a redirect.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fault::short;
use crate::{Fault, Outcome, recorder};

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    limit: Duration,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, or as much of it as came.
    pub body: Vec<u8>,
    /// Whether the body came to its end, by its length or its last chunk.
    pub whole: bool,
}

const HEADERS_BYTES_MAX: usize = 256 << 10;
const BODY_BYTES_MAX: usize = 256 << 20;

impl Call {
    /// A request of any method.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        let (method, limit) = (method.to_owned(), Duration::from_secs(60));
        Self { method, url: url.into(), headers: Vec::new(), body: None, limit }
    }

    /// GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// POST of a body of that media type.
    pub fn post(url: impl Into<String>, media: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", url).body(media, body)
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, media: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self.header("Content-Type", media)
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// All of it within `limit`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends it and reads the answer. No answer at all is a fault; one that breaks off is not.
    pub fn send(&self) -> Outcome<Reply> {
        let fault = |what: String| Fault(format!("{} {}: {what}", self.method, self.url));
        let rest =
            self.url.strip_prefix("http://").ok_or_else(|| fault("only plain HTTP is spoken here".into()))?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(at);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let mut head = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(host).map_err(|e| fault(format!("cannot connect: {e}")))?;
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(self.limit))?;
        stream.set_write_timeout(Some(self.limit))?;
        stream.write_all(head.as_bytes()).map_err(|e| fault(format!("cannot send: {e}")))?;
        if let Some(body) = &self.body {
            // A server may answer and close before it has read a body that it refuses.
            let _ = stream.write_all(body);
        }
        let reply = Incoming { stream, held: Vec::new(), until: Instant::now() + self.limit }
            .read(&self.method)
            .map_err(fault)?;
        recorder::saw(&self.method, &self.url, &self.headers, &reply);
        Ok(reply)
    }
}

struct Incoming {
    stream: TcpStream,
    held: Vec<u8>,
    until: Instant,
}

impl Incoming {
    /// More bytes; false at the end, by whatever cause.
    fn more(&mut self) -> bool {
        let mut chunk = [0; 64 << 10];
        if Instant::now() > self.until {
            return false;
        }
        match self.stream.read(&mut chunk) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.held.extend_from_slice(&chunk[..count]);
                true
            }
        }
    }

    fn read(mut self, method: &str) -> Result<Reply, String> {
        let end = loop {
            if let Some(at) = find(&self.held, b"\r\n\r\n") {
                break at;
            }
            if self.held.len() > HEADERS_BYTES_MAX || !self.more() {
                return Err(format!("no answer; what came: {:?}", String::from_utf8_lossy(&self.held)));
            }
        };
        let head = String::from_utf8_lossy(&self.held[..end]).into_owned();
        self.held.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let status: u16 = status.ok_or_else(|| format!("no status line: {head:?}"))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let chunked = header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let length = header("content-length").and_then(|v| v.parse::<usize>().ok());
        let (body, whole) = if method == "HEAD" || matches!(status, 204 | 304) {
            (Vec::new(), true)
        } else if chunked {
            self.chunks()
        } else if let Some(length) = length {
            while self.held.len() < length && self.held.len() < BODY_BYTES_MAX && self.more() {}
            let whole = self.held.len() == length;
            (self.held, whole)
        } else {
            while self.held.len() < BODY_BYTES_MAX && self.more() {}
            (self.held, true)
        };
        Ok(Reply { status, headers, body, whole })
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.held, b"\r\n") {
                let line = String::from_utf8_lossy(&self.held[..at]).into_owned();
                self.held.drain(..at + 2);
                return Some(line);
            }
            if !self.more() {
                return None;
            }
        }
    }

    fn chunks(&mut self) -> (Vec<u8>, bool) {
        let mut body = Vec::new();
        loop {
            let size = self
                .line()
                .and_then(|l| usize::from_str_radix(l.split(';').next().unwrap_or_default().trim(), 16).ok());
            let Some(size) = size else { return (body, false) };
            if size == 0 {
                // Trailers, up to the empty line.
                loop {
                    match self.line() {
                        Some(line) if line.is_empty() => return (body, true),
                        Some(_) => {}
                        None => return (body, false),
                    }
                }
            }
            while self.held.len() < size + 2 && body.len() < BODY_BYTES_MAX {
                if !self.more() {
                    body.append(&mut self.held);
                    return (body, false);
                }
            }
            body.extend(self.held.drain(..size));
            self.held.drain(..2);
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

impl Reply {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Everything that a caller can read: header values and the body.
    pub fn everything(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text.push_str(&self.text());
        text
    }

    /// The body as JSON.
    pub fn json(&self) -> Outcome<Value> {
        serde_json::from_slice(&self.body).map_err(|e| {
            Fault(format!("{} with a body that is not JSON ({e}): {}", self.status, short(&self.text(), 300)))
        })
    }

    /// This reply, if it has that status and came whole.
    pub fn expect(self, status: u16) -> Outcome<Self> {
        if self.status == status && self.whole {
            return Ok(self);
        }
        let cut = if self.whole { "" } else { " (cut off)" };
        Err(Fault(format!("expected {status}, got {}{cut}: {}", self.status, short(&self.text(), 400))))
    }
}

/// Percent-encodes one value of a query.
pub fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::{Script, Stub};

    #[test]
    fn a_body_that_breaks_off_is_told_from_a_whole_one() {
        let stub = Stub::start(|asked| match asked.target.as_str() {
            "/whole" => Script::json("{}"),
            "/chunks" => Script::Chunks { body: b"{}".to_vec(), end: true },
            "/cut" => Script::Cut { body: b"{\"a\":".to_vec(), announced: 100 },
            _ => Script::Chunks { body: b"{\"a\":".to_vec(), end: false },
        })
        .unwrap();
        for (path, whole) in [("/whole", true), ("/chunks", true), ("/cut", false), ("/cut-chunks", false)] {
            let reply = Call::get(format!("{}{path}", stub.url())).send().unwrap();
            assert_eq!((reply.status, reply.whole), (200, whole), "{path}");
            assert!(reply.body.starts_with(b"{"), "{path}");
        }
    }
}
