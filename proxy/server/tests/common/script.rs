//! A scripted upstream: answers as it is told and remembers what it was asked.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Said {
    pub(crate) fn json(body: impl ToString) -> Self {
        Self::typed("application/fhir+json", body)
    }

    pub(crate) fn typed(media: &str, body: impl ToString) -> Self {
        Self { status: 200, headers: vec![("content-type", media.to_owned())], body: body.to_string() }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// A server of one script.
#[derive(Clone)]
pub(crate) struct Script {
    /// With the path `/fhir`.
    pub base: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Script {
    pub(crate) async fn start(script: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/fhir", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, heard) = (Arc::new(script), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                let service = hyper::service::service_fn(move |request: http::Request<_>| {
                    let (script, heard) = (Arc::clone(&script), Arc::clone(&heard));
                    async move { Ok::<_, std::convert::Infallible>(answer(request, &*script, &heard).await) }
                });
                let io = hyper_util::rt::TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { base, asked }
    }

    /// Everything that it was asked so far.
    pub(crate) fn all(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What it was asked so far, but for what Drape asks at its start.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.all().into_iter().filter(|a| a.target != "/fhir/metadata").collect()
    }

    /// The targets, decoded.
    pub(crate) fn targets(&self) -> Vec<String> {
        let decoded = |a: &Asked| {
            let text = percent_encoding::percent_decode_str(&a.target).decode_utf8_lossy().into_owned();
            format!("{} {text}", a.method)
        };
        self.asked().iter().map(decoded).collect()
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

async fn answer(
    request: http::Request<hyper::body::Incoming>,
    script: &(dyn Fn(&Asked) -> Said + Send + Sync),
    heard: &Mutex<Vec<Asked>>,
) -> http::Response<Full<Bytes>> {
    let (head, mut body) = request.into_parts();
    let mut whole = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        whole.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
    }
    let asked = Asked {
        method: head.method.to_string(),
        target: head.uri.path_and_query().unwrap().as_str().to_owned(),
        headers: head.headers,
        body: String::from_utf8(whole).unwrap(),
    };
    let said = script(&asked);
    heard.lock().unwrap().push(asked);
    let mut response = http::Response::builder().status(said.status);
    for (name, value) in &said.headers {
        response = response.header(*name, value);
    }
    response.body(Full::from(said.body)).unwrap()
}
