//! A scripted upstream: answers as it is told, breaks off where it is told, and remembers what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Outcome;

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// How to answer.
#[derive(Clone, Debug)]
pub enum Script {
    /// Whole, with its length.
    Answer {
        /// The status.
        status: u16,
        /// Headers; `Content-Type` is the script's affair.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// FHIR JSON that announces more than it sends, and closes.
    Cut {
        /// What is sent.
        body: Vec<u8>,
        /// The length that is announced.
        announced: usize,
    },
    /// FHIR JSON in chunks, with or without the last one.
    Chunks {
        /// What is sent.
        body: Vec<u8>,
        /// Whether the last chunk follows.
        end: bool,
    },
    /// Closes without a word.
    Nothing,
}

impl Script {
    /// 200 with FHIR JSON.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::typed(200, "application/fhir+json;charset=UTF-8", body)
    }

    /// A status, a media type and a body.
    pub fn typed(status: u16, media: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", media.to_owned()), ("ETag", "W/\"1\"".to_owned())];
        Self::Answer { status, headers, body: body.into() }
    }
}

/// A server of scripts on the loopback interface; it stops when dropped.
pub struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
}

impl Stub {
    /// Starts one on a free port.
    pub fn start(script: impl Fn(&Asked) -> Script + Send + Sync + 'static) -> Outcome<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (asked, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (script, heard, ended) = (Arc::new(script), Arc::clone(&asked), Arc::clone(&stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                std::thread::spawn(move || {
                    // A client that goes away is its own affair.
                    let _ = serve(stream, &*script, &heard);
                });
            }
        });
        Ok(Self { url, asked, stopped })
    }

    /// Its address, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is to stop.
        if let Some(host) = self.url.strip_prefix("http://") {
            let _ = TcpStream::connect(host);
        }
    }
}

const BODY_BYTES_MAX: u64 = 64 << 20;

fn serve(
    stream: TcpStream,
    script: &(dyn Fn(&Asked) -> Script + Send + Sync),
    heard: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            if name == "content-length" {
                length = value.parse().unwrap_or(0);
            }
            headers.push((name, value.to_owned()));
        }
    }
    let mut words = first.split(' ').map(str::to_owned);
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut body = Vec::new();
    reader.take(BODY_BYTES_MAX.min(length)).read_to_end(&mut body)?;
    let asked = Asked { method, target, headers, body };
    let script = script(&asked);
    heard.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let mut out = stream;
    match script {
        Script::Answer { status, headers, body } => {
            let mut head = format!(
                "HTTP/1.1 {status} Scripted\r\nConnection: close\r\nContent-Length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            out.write_all(format!("{head}\r\n").as_bytes())?;
            out.write_all(&body)?;
        }
        Script::Cut { body, announced } => {
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/fhir+json\r\nContent-Length: {announced}\r\n\r\n"
            );
            out.write_all(head.as_bytes())?;
            out.write_all(&body)?;
        }
        Script::Chunks { body, end } => {
            out.write_all(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n\r\n",
            )?;
            for chunk in body.chunks(16 << 10) {
                out.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                out.write_all(chunk)?;
                out.write_all(b"\r\n")?;
            }
            if end {
                out.write_all(b"0\r\n\r\n")?;
            }
        }
        Script::Nothing => {}
    }
    out.flush()?;
    let _ = out.shutdown(Shutdown::Both);
    Ok(())
}
