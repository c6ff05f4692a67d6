//! An upstream of scripts: it answers each request as it is told, breaks off where it is told, and remembers what it was
//! asked.
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    /// Path and query below the base.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Whole, as FHIR JSON, with these headers besides.
    Json(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Whole, of that media type.
    Typed(u16, &'static str, Vec<u8>),
    /// FHIR JSON that announces so many bytes more than it sends, and closes.
    Cut(Vec<u8>, usize),
    /// FHIR JSON in one chunk, with or without the last one.
    Chunks(Vec<u8>, bool),
    /// Closes without a word.
    Nothing,
}

impl Script {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Json(200, vec![], body.into())
    }

    pub(crate) fn unknown() -> Self {
        Self::ok(r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"not-found"}]}"#)
            .with(404)
    }

    pub(crate) fn with(self, status: u16) -> Self {
        match self {
            Self::Json(_, headers, body) => Self::Json(status, headers, body),
            other => other,
        }
    }
}

/// The upstream; it stops with the test.
pub(crate) struct Scripted {
    /// The FHIR base, without a trailing slash.
    pub(crate) base: String,
    heard: Arc<Mutex<Vec<Heard>>>,
}

type Scripts = dyn Fn(&Heard) -> Script + Send + Sync;

impl Scripted {
    /// Starts one that answers by `script`. Its own base stands in none of the targets.
    pub(crate) async fn open(script: impl Fn(&Heard) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let (script, memory): (Arc<Scripts>, _) = (Arc::new(script), Arc::clone(&heard));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, memory) = (Arc::clone(&script), Arc::clone(&memory));
                // A client that goes away is its own affair.
                tokio::spawn(async move { drop(serve(stream, &*script, &memory).await) });
            }
        });
        Self { base, heard }
    }

    /// What it was asked since this was last called, but for its capability statement.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        let mut all = std::mem::take(&mut *self.heard.lock());
        all.retain(|h| h.target != "/metadata");
        all
    }
}

async fn serve(stream: TcpStream, script: &Scripts, memory: &Mutex<Vec<Heard>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let (mut headers, mut line) = (Vec::new(), String::new());
        while stream.read_line(&mut line).await? > 2 {
            let (name, value) = line.split_once(':').unwrap_or_default();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            line.clear();
        }
        let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let target = target.strip_prefix("/fhir").unwrap_or(target).to_owned();
        let heard = Heard { method: method.to_owned(), target, headers, body };
        let script = script(&heard);
        memory.lock().push(heard);
        const FHIR: &str = "application/fhir+json;charset=UTF-8";
        let (status, media, more, body) = match script {
            Script::Json(status, headers, body) => (status, FHIR, headers, body),
            Script::Typed(status, media, body) => (status, media, vec![], body),
            Script::Cut(body, more) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: {FHIR}\r\ncontent-length: {}\r\n\r\n",
                    body.len() + more
                );
                stream.write_all(&[head.as_bytes(), &body].concat()).await?;
                return stream.shutdown().await;
            }
            Script::Chunks(body, end) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\ncontent-type: {FHIR}\r\ntransfer-encoding: chunked\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
                if !body.is_empty() {
                    stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await?;
                    stream.write_all(&[&body[..], b"\r\n"].concat()).await?;
                }
                if end {
                    stream.write_all(b"0\r\n\r\n").await?;
                }
                return stream.shutdown().await;
            }
            Script::Nothing => return stream.shutdown().await,
        };
        let mut head = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: {media}\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in more {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await?;
        stream.flush().await?;
    }
}
