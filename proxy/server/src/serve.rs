//! `drape serve`: opens everything, listens, answers, and on SIGTERM lets open requests finish and seals the log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::approvals;
use crate::body::OutBody;
use crate::clock::Clock;
use crate::config::Config;
use crate::discovery;
use crate::exchange::exchange;
use crate::listen::{Listener, stopped as until};
use crate::officer::{Office, plain};
use crate::parts::{Parts, StartError};
use crate::reload::{self, Front, Why, entry};

/// A proxy that answers.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators and officers connect.
    pub admin_address: SocketAddr,
    /// What it holds.
    pub parts: Arc<Parts>,
    fronts: Vec<Front>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Between two readings of the upstream's capability statement.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(300);
/// After a reading that failed.
const DISCOVERY_RETRY: Duration = Duration::from_secs(5);

/// Opens everything and starts to answer. Whatever cannot be had stops the start.
pub async fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
    let listen = config.listen.clone();
    let admin = config.admin.listen.clone();
    let limits = config.limits.clone();
    // Disks, locks and recovery block. What the files are is noted before they are read: what changes meanwhile is
    // found changed at the first look.
    let open = move || {
        let seen = reload::fingerprint::of_all(&config);
        Parts::open(config, clock).map(|parts| (parts, seen))
    };
    let (parts, seen) = tokio::task::spawn_blocking(open)
        .await
        .map_err(|e| StartError::new(format!("opening failed: {e}")))??;
    let parts = Arc::new(parts);
    let mut approved = Vec::new();
    for tenant in parts.tenants().iter() {
        approved.push(approvals::demand(&parts, tenant).await?);
    }
    let front = Listener::bind(&listen, &limits).await.map_err(StartError::new)?;
    let back = Listener::bind(&admin, &limits).await.map_err(StartError::new)?;
    let address = front.address().map_err(StartError::new)?;
    let admin_address = back.address().map_err(StartError::new)?;
    for (tenant, approved) in parts.tenants().iter().zip(approved) {
        // The digest itself stands in the entry's own field.
        let approved = approved.map(|names| format!(", approved by {names}")).unwrap_or_default();
        let text = format!("started; {} policies in force{approved}", tenant.decider.policies());
        tenant
            .log
            .record(entry(&parts, tenant, text))
            .await
            .map_err(|e| StartError::new(format!("the audit log: {e}")))?;
        if let Some(shadow) = tenant.watch.shadow() {
            let entered = tenant.log.record(entry(&parts, tenant, shadow.told())).await;
            entered.map_err(|e| StartError::new(format!("the audit log: {e}")))?;
        }
        parts.metrics.policies_in_force(&tenant.name, &tenant.policy_digest, parts.clock.now_s());
        parts.metrics.candidate(&tenant.name, false);
    }
    let named = [("listen", front.certificate()), ("admin", back.certificate())];
    let fronts: Vec<Front> = named.into_iter().filter_map(|(name, shown)| Some((name, shown?))).collect();
    for (name, certificate) in &fronts {
        let until = certificate.shown().valid.map(|(_, until)| until);
        parts.metrics.certificate_until(name, until);
        if until.is_some_and(|until| u64::try_from(until).unwrap_or(0) <= parts.clock.now_s()) {
            tracing::warn!(listener = name, "the certificate has expired");
        }
    }
    let (stop, stopped) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(true));
    let mut tasks = Vec::new();

    let of = Arc::clone(&parts);
    let handler =
        move |request: Request<Incoming>, peer: SocketAddr| exchange(Arc::clone(&of), request, peer);
    tasks.push(tokio::spawn(front.serve(handler, stopped.clone())));

    let of = Arc::clone(&parts);
    let office = Arc::new(Office::default());
    let is_ready = Arc::clone(&ready);
    let handler = move |request: Request<Incoming>, peer: SocketAddr| {
        admin_answer(Arc::clone(&of), Arc::clone(&office), Arc::clone(&is_ready), request, peer)
    };
    tasks.push(tokio::spawn(back.serve(handler, stopped.clone())));

    let mut ending = stopped.clone();
    tasks.push(tokio::spawn(async move {
        until(&mut ending).await;
        ready.store(false, Ordering::SeqCst);
    }));
    for tenant in parts.tenants().iter() {
        tasks.push(tokio::spawn(describe(Arc::clone(&parts), tenant.name.clone(), stopped.clone())));
    }
    tasks.push(tokio::spawn(reload::watch(Arc::clone(&parts), fronts.clone(), seen, stopped)));
    Ok(Running { address, admin_address, parts, fronts, stop, tasks })
}

impl Running {
    /// Reads everything again and takes up what is right, as SIGHUP does.
    pub async fn reload(&self) {
        reload::reload(&self.parts, &self.fronts, Why::Asked).await;
    }

    /// Takes no more requests, lets the open ones finish within the drain timeout, and seals the log.
    pub async fn stop(self) {
        let Self { parts, stop, tasks, .. } = self;
        for tenant in parts.tenants().iter() {
            if let Err(error) = tenant.log.record(entry(&parts, tenant, "stopping".to_owned())).await {
                tracing::error!(%error, "the stop cannot be entered");
            }
        }
        let _ = stop.send(true);
        for task in tasks {
            let _ = task.await;
        }
        for tenant in parts.tenants().iter() {
            let watch = Arc::clone(&tenant.watch);
            // Waits for the disk.
            let _ = tokio::task::spawn_blocking(move || watch.close()).await;
        }
        let logs: Vec<_> = parts.books.iter().map(|book| Arc::clone(&book.log)).collect();
        // Waits for the disk.
        let _ = tokio::task::spawn_blocking(move || logs.iter().for_each(|log| log.close())).await;
    }
}

/// Keeps the open documents and the issuers' keys fresh, so that no stranger's request makes Drape ask anybody.
async fn describe(parts: Arc<Parts>, name: String, mut stopped: watch::Receiver<bool>) {
    if let Some(tenant) = parts.tenant(&name) {
        tenant.issuers.prefetch().await;
    }
    loop {
        // Each time the one that is in its place now.
        let Some(tenant) = parts.tenant(&name) else { return };
        let wait = match discovery::refresh(&tenant).await {
            Ok(()) => DISCOVERY_INTERVAL,
            Err(error) => {
                tracing::warn!(
                    tenant = tenant.name,
                    error,
                    "the server behind or its issuer cannot be described yet"
                );
                DISCOVERY_RETRY
            }
        };
        tokio::select! {
            () = until(&mut stopped) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Probes, metrics and officer pages.
async fn admin_answer(
    parts: Arc<Parts>,
    office: Arc<Office>,
    ready: Arc<AtomicBool>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<OutBody> {
    let (head, body) = request.into_parts();
    if head.uri.path().starts_with("/officer") {
        return office.answer(&parts, &head, body, peer).await;
    }
    if head.method != Method::GET {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "read by GET\n");
    }
    match head.uri.path() {
        // Answering at all is the proof.
        "/livez" => plain(StatusCode::OK, "ok\n"),
        // This listener opens when configuration, policies, keys and log are loaded.
        "/startupz" => plain(StatusCode::OK, "ok\n"),
        // The upstream does not count: one that is down must not take every proxy out of service with it.
        "/readyz" if !ready.load(Ordering::SeqCst) => plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
        // A tenant whose own log has stopped must not take the others out of service with it.
        "/readyz" if !parts.healthy() => {
            plain(StatusCode::SERVICE_UNAVAILABLE, "the audit log takes no entries\n")
        }
        "/readyz" => plain(StatusCode::OK, "ok\n"),
        "/metrics" => {
            let entries = parts.books.iter().map(|book| book.log.status().size).sum();
            let text = parts.metrics.render(entries, parts.books.iter().all(|book| book.log.healthy()));
            let mut answer = Response::new(OutBody::whole(text));
            let media = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, media);
            answer
        }
        _ => plain(StatusCode::NOT_FOUND, "nothing is here\n"),
    }
}

/// Resolves when the process is asked to stop.
pub async fn asked_to_stop() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "SIGTERM cannot be listened for");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
