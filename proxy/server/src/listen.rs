//! Takes connections, with TLS where configured, within limits; on shutdown lets open requests finish.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::ServiceBuilder;
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;

use crate::body::OutBody;
use crate::certificate::Certificate;
use crate::client_certificate::ClientCertificate;
use crate::config::{Limits, Listen};

/// A bound socket, ready to serve.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Certificate>>,
    limits: Limits,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("socket", &self.socket)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Typically: the port is taken, or needs a privilege.
    #[error("cannot listen on `{0}`: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// The certificate or key cannot be used.
    #[error("cannot use the TLS files `{certificate}` and `{key}`: {what}")]
    Tls {
        /// The chain.
        certificate: String,
        /// The key.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// The authorities of client certificates cannot be used.
    #[error("cannot use the certificate authorities in `{file}`: {what}")]
    Clients {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
}

impl Listener {
    /// Binds the socket and reads the TLS files.
    pub async fn bind(listen: &Listen, limits: &Limits) -> Result<Self, ListenError> {
        let tls = listen.tls.as_ref().map(Certificate::open).transpose()?.map(Arc::new);
        let socket =
            TcpListener::bind(listen.address).await.map_err(|e| ListenError::Bind(listen.address, e))?;
        Ok(Self { socket, tls, limits: limits.clone() })
    }

    /// Where it listens; tells the port when the configuration said 0.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// What it shows, where it speaks TLS.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.tls.clone()
    }

    /// Serves until `stop` turns true, then drains: no new connections, HTTP/2 GOAWAY, `Connection: close`; open
    /// requests may finish within the drain timeout.
    pub async fn serve<H, F>(self, handler: H, mut stop: watch::Receiver<bool>)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<OutBody>> + Send + 'static,
    {
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(self.limits.connections_max));
        loop {
            let permit = tokio::select! {
                () = stopped(&mut stop) => break,
                permit = Arc::clone(&room).acquire_owned() => match permit {
                    Ok(permit) => permit,
                    Err(_) => break,
                },
            };
            let (stream, peer) = tokio::select! {
                () = stopped(&mut stop) => break,
                accepted = self.socket.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Typically: out of file descriptors. Waiting a little lets some close.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                },
            };
            let _ = stream.set_nodelay(true);
            let watcher = graceful.watcher();
            let tls = self.tls.as_ref().map(|certificate| certificate.shown());
            let limits = self.limits.clone();
            let handler = handler.clone();
            tokio::spawn(async move {
                let _permit = permit;
                match tls {
                    None => connection(stream, peer, None, &limits, handler, watcher).await,
                    Some(own) => {
                        let tls = own.acceptor();
                        match tokio::time::timeout(limits.header_timeout, tls.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let chain = stream.get_ref().1.peer_certificates();
                                let shown = own
                                    .authorities
                                    .as_ref()
                                    .zip(chain)
                                    .and_then(|(a, chain)| a.read_shown(chain));
                                let shown = shown.map(Arc::new);
                                connection(stream, peer, shown, &limits, handler, watcher).await;
                            }
                            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                            Err(_) => tracing::debug!("TLS handshake timed out"),
                        }
                    }
                }
            });
        }
        drop(self.socket);
        let limit = self.limits.drain_timeout;
        if tokio::time::timeout(limit, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                limit_ms = limit.as_millis() as u64,
                "requests were still open when the drain time ended"
            );
        }
    }
}

/// Resolves when it is time to stop, or when nobody is left to say so.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard on the value must not live across an await.
    drop(stop.wait_for(|s| *s).await);
}

async fn connection<S, H, F>(
    stream: S,
    peer: SocketAddr,
    shown: Option<Arc<ClientCertificate>>,
    limits: &Limits,
    handler: H,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<OutBody>> + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(limits.header_count_max)
        .max_buf_size(limits.header_bytes_max.max(8_192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_max)
        .max_header_list_size(u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1_024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    let service = ServiceBuilder::new()
        // Tokens and session names never print, whoever formats a request.
        .layer(SetSensitiveRequestHeadersLayer::new([header::AUTHORIZATION, header::COOKIE]))
        .service_fn(move |mut request: Request<Incoming>| {
            if let Some(shown) = &shown {
                request.extensions_mut().insert(Arc::clone(shown));
            }
            let answer = handler(request, peer);
            async move { Ok::<_, Infallible>(answer.await) }
        });
    let service = TowerToHyperService::new(service);
    let serving = watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
    if let Err(error) = serving.await {
        tracing::debug!(%error, "connection ended with an error");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerTls;

    #[tokio::test]
    async fn a_taken_port_is_a_clear_error() {
        let limits = Limits::default();
        let listen = Listen { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None };
        let first = Listener::bind(&listen, &limits).await.unwrap();
        let taken = Listen { address: first.address().unwrap(), tls: None };
        let error = Listener::bind(&taken, &limits).await.unwrap_err().to_string();
        assert!(error.starts_with("cannot listen on"), "{error}");
    }

    #[tokio::test]
    async fn missing_tls_files_are_named() {
        let tls = ServerTls {
            certificate_file: "/nonexistent/a.pem".into(),
            key_file: "/nonexistent/b.pem".into(),
            clients: None,
        };
        let listen = Listen { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: Some(tls) };
        let error = Listener::bind(&listen, &Limits::default()).await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/a.pem"), "{error}");
    }
}
