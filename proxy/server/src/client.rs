//! The pooled HTTP/1.1 client for everything Drape itself asks of others: upstreams, issuers, token endpoints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::ClientIdentity;

type Connector = hyper_rustls::HttpsConnector<HttpConnector>;

/// Keeps connections open between requests. Never follows a redirect.
#[derive(Clone, Debug)]
pub struct Client {
    inner: hyper_util::client::legacy::Client<Connector, Full<Bytes>>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The roots could not be used.
    #[error("cannot use the certificate authorities in `{0}`: {1}")]
    Roots(String, String),
    /// A credential cannot be read or used.
    #[error("{0}")]
    Credential(String),
    /// The certificate that Drape shows could not be used; typically its key is another's.
    #[error("cannot use the client certificate `{0}`: {1}")]
    Identity(String, String),
    /// Typically: the server is down, its name unknown or its certificate not trusted.
    #[error("cannot reach the server: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is larger than allowed.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// It broke off.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// It is not the answer that was asked for.
    #[error("the server answered {0}")]
    Status(http::StatusCode),
}

impl Client {
    /// With the public roots, or with those in `ca_file` alone. Plain `http://` addresses are refused by the
    /// configuration, not here.
    pub fn new(ca_file: Option<&Path>, connect_timeout: Duration) -> Result<Self, ClientError> {
        Self::with(ca_file, None, connect_timeout)
    }

    /// The same, and a certificate of its own for servers that ask for one.
    pub fn with(
        ca_file: Option<&Path>,
        identity: Option<&ClientIdentity>,
        connect_timeout: Duration,
    ) -> Result<Self, ClientError> {
        let mut roots = rustls::RootCertStore::empty();
        match ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(file) => {
                let fault = |e: String| ClientError::Roots(file.display().to_string(), e);
                for certificate in CertificateDer::pem_file_iter(file).map_err(|e| fault(e.to_string()))? {
                    let certificate = certificate.map_err(|e| fault(e.to_string()))?;
                    roots.add(certificate).map_err(|e| fault(e.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(fault("it holds no certificate".into()));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| ClientError::Roots("(built in)".into(), e.to_string()))?
            .with_root_certificates(roots);
        let tls = match identity {
            None => tls.with_no_client_auth(),
            Some(identity) => {
                let fault =
                    |e: String| ClientError::Identity(identity.certificate_file.display().to_string(), e);
                let chain = CertificateDer::pem_file_iter(&identity.certificate_file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|e| fault(e.to_string()))?;
                let key =
                    PrivateKeyDer::from_pem_file(&identity.key_file).map_err(|e| fault(e.to_string()))?;
                tls.with_client_auth_cert(chain, key).map_err(|e| fault(e.to_string()))?
            }
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(256)
            .http1_max_headers(200)
            .http1_max_buf_size(256 << 10)
            .build(connector);
        Ok(Self { inner })
    }

    /// Sends `request`; the body of the answer is still to be read.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, ClientError> {
        match tokio::time::timeout(timeout, self.inner.request(request)).await {
            Err(_) => Err(ClientError::TimedOut(timeout)),
            Ok(Err(e)) => Err(ClientError::Unreachable(chain(&e))),
            Ok(Ok(response)) => Ok(response),
        }
    }

    /// Fetches a small JSON document whole: 200 or an error.
    pub async fn get_bounded(
        &self,
        uri: &Uri,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let request = Request::get(uri.clone())
            .header(http::header::ACCEPT, "application/json")
            .body(Full::default())
            .map_err(|e| ClientError::Unreachable(e.to_string()))?;
        self.fetch_bounded(request, bytes_max, timeout).await
    }

    /// Sends `request` and reads a small answer whole: 200 or an error.
    pub async fn fetch_bounded(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let read = async {
            let response = self.send(request, timeout).await?;
            if response.status() != http::StatusCode::OK {
                return Err(ClientError::Status(response.status()));
            }
            read_bounded(response.into_body(), bytes_max).await
        };
        tokio::time::timeout(timeout, read).await.unwrap_or(Err(ClientError::TimedOut(timeout)))
    }
}

/// Reads a body whole, up to `bytes_max`.
pub async fn read_bounded<B>(body: B, bytes_max: usize) -> Result<Bytes, ClientError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    read_steadily(body, bytes_max, Duration::MAX).await
}

/// The same, where no two pieces may be further apart than `pause_max`.
pub async fn read_steadily<B>(
    mut body: B,
    bytes_max: usize,
    pause_max: Duration,
) -> Result<Bytes, ClientError>
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(ClientError::TooLarge(bytes_max));
    }
    let mut whole = Vec::new();
    loop {
        let frame = tokio::time::timeout(pause_max, body.frame())
            .await
            .map_err(|_| ClientError::TimedOut(pause_max))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|e| ClientError::Broken(e.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > bytes_max {
                return Err(ClientError::TooLarge(bytes_max));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Bytes::from(whole))
}

/// An error with its causes; the outermost alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
