//! The thin HTTP servers around the store and the issuer: plain HTTP/1.1, for the loopback interface.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::issuer::Issuer;
use crate::store::{Request, Store};

/// Where the store's base URL begins.
pub const FHIR_PATH: &str = "/fhir";

const BODY_BYTES_MAX: usize = 32 << 20;
const CONNECTIONS_MAX: usize = 512;
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves the store under [`FHIR_PATH`] until `stop` is done. Links are built from the `Host` header, as HAPI does.
///
/// # Errors
/// Where the listener fails for good.
pub async fn store(
    listener: TcpListener,
    store: Arc<Store>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    run(listener, stop, move |message| {
        let host = message.header("host").unwrap_or("localhost").to_owned();
        let path = message.path_and_query.strip_prefix(FHIR_PATH);
        let Some(path) = path.filter(|p| p.is_empty() || p.starts_with(['/', '?'])) else {
            return Answer { status: 404, headers: Vec::new(), body: Vec::new() };
        };
        let path_and_query = path.to_owned();
        let base_url = format!("http://{host}{FHIR_PATH}");
        let response = store.handle(&Request { path_and_query, base_url, ..message });
        Answer { status: response.status, headers: response.headers, body: response.body }
    })
    .await
}

/// Serves the issuer at the root until `stop` is done.
///
/// # Errors
/// Where the listener fails for good.
pub async fn issuer(
    listener: TcpListener,
    issuer: Arc<Issuer>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    run(listener, stop, move |message| {
        let path = message.path_and_query.split('?').next().unwrap_or_default();
        let reply = issuer.handle(&message.method, path, message.header("authorization"), &message.body);
        Answer { status: reply.status, headers: reply.headers, body: reply.body }
    })
    .await
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

async fn run<H>(listener: TcpListener, stop: impl Future<Output = ()>, handler: H) -> std::io::Result<()>
where
    H: Fn(Request) -> Answer + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(stop);
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let stream = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // One connection that broke before it was taken, or no file descriptor left for now.
                Err(fault) if transient(&fault) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                Err(fault) => return Err(fault),
            },
        };
        let handler = handler.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let handler = handler.clone();
                async move { Ok::<_, Infallible>(exchange(handler, request).await) }
            });
            // A client that goes away mid-way is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

async fn exchange<H>(handler: Arc<H>, request: hyper::Request<Incoming>) -> hyper::Response<Full<Bytes>>
where
    H: Fn(Request) -> Answer + Send + Sync + 'static,
{
    let (head, body) = request.into_parts();
    let Some(body) = read_bounded(body).await else { return plain(413) };
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let message = Request {
        method: head.method.as_str().to_owned(),
        path_and_query: head.uri.path_and_query().map_or_else(|| "/".to_owned(), |p| p.as_str().to_owned()),
        headers,
        body,
        base_url: String::new(),
    };
    // A search walks all records of a type: not on the threads that serve sockets.
    let Ok(answer) = tokio::task::spawn_blocking(move || handler(message)).await else { return plain(500) };
    let mut response = hyper::Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Full::new(answer.body.into())).unwrap_or_else(|_| plain(500))
}

/// The body, or nothing where it is longer than `BODY_BYTES_MAX` or breaks off.
async fn read_bounded(body: Incoming) -> Option<Vec<u8>> {
    let mut body = Limited::new(body, BODY_BYTES_MAX);
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Some(bytes)
}

fn plain(status: u16) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::new()));
    *response.status_mut() =
        hyper::StatusCode::from_u16(status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn transient(fault: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    // 23 and 24: ENFILE and EMFILE.
    matches!(fault.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
        || matches!(fault.raw_os_error(), Some(23 | 24))
}
