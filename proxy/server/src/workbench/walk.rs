//! A bench on which one request of one caller goes through the real stages: without a configuration, a token or a network,
//! in front of records that are handed in.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use drape_demo::{Ambient, Resource, Store};
use drape_view::Environment;
use drape_view::fault::Fault;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::personas;
use crate::clock::Clock;
use crate::config::{self, Config, UpstreamAuth};
use crate::exchange::admitted_answer;
use crate::parts::{self, Loaded, Parts, Tenant};
use crate::stages::admit::{Admitted, environment};
use crate::stages::classify::Asked;
use crate::trace::{Trace, Witness};

/// Policies in front of an embedded FHIR server, with keys and a log that are thrown away.
pub struct Bench {
    parts: Arc<Parts>,
    tenant: Arc<Tenant>,
    store: Arc<Store>,
    hand: Arc<AtomicU64>,
    network: IpAddr,
    /// Dropped, it stops the server.
    _stop: oneshot::Sender<()>,
    /// Holds keys and log; removed in the end.
    _folder: tempfile::TempDir,
}

/// Circumstances of a request that no token tells.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// The address that it comes from; the machine's own where none is given.
    pub network: Option<IpAddr>,
    /// Whether emergency access was declared and accepted.
    pub break_glass: bool,
}

/// What came of one request.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The request's id.
    pub id: String,
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// Its body; empty where it was cut off.
    pub body: Bytes,
    /// Whether the answer was cut off.
    pub cut: bool,
    /// What the stages found.
    pub trace: Trace,
    /// The same of each entry, where a Bundle of requests was sent.
    pub entries: Vec<Trace>,
}

/// Why something cannot be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", .help.map(|h| format!("\n  help: {h}")).unwrap_or_default())]
pub struct BenchError {
    what: String,
    help: Option<&'static str>,
}

impl BenchError {
    fn new(what: impl std::fmt::Display) -> Self {
        Self { what: what.to_string(), help: None }
    }

    fn help(self, help: &'static str) -> Self {
        Self { help: Some(help), ..self }
    }
}

/// Bodies that are longer are not looked at.
const BODY_BYTES_MAX: usize = 64 << 20;

impl Bench {
    /// Sets the bench up once; then any number of requests can be tried on it. `tenant` gives what the policies do not
    /// say: time zone, the server's dialect, how issuers name their claims. Neither its server nor its issuers are asked
    /// anything, and none of its files is read. The clock stands at `now_ms` until it is set.
    pub async fn new(
        loaded: Loaded,
        tenant: Option<&config::Tenant>,
        now_ms: u64,
    ) -> Result<Self, BenchError> {
        let (clock, hand) = Clock::fixed(now_ms);
        let read = Arc::clone(&hand);
        let ambient = Ambient {
            now: Box::new(move || {
                let now_ms = i64::try_from(read.load(Ordering::SeqCst)).unwrap_or(i64::MAX);
                jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::MAX)
            }),
            ..Ambient::system()
        };
        let store = Arc::new(Store::with(Vec::new(), ambient).map_err(BenchError::new)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(BenchError::new)?;
        let address = listener.local_addr().map_err(BenchError::new)?;
        let upstream = format!("http://{address}{}", drape_demo::serve::FHIR_PATH);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = drape_demo::serve::store(listener, Arc::clone(&store), async {
            let _ = stopped.await;
        });
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the embedded FHIR server stopped");
            }
        });
        let folder = tempfile::Builder::new().prefix("drape-bench-").tempdir().map_err(BenchError::new)?;
        let mut config = frame(&upstream, folder.path())?;
        if let Some(tenant) = tenant {
            config.tenants = vec![held_off(tenant, &upstream)];
            config.budgets.iter_mut().for_each(|b| b.tenant.clone_from(&tenant.name));
        }
        // Keys and log are files, and files block.
        let parts = tokio::task::spawn_blocking(move || {
            parts::init(&config, &clock)?;
            let mut loaded = Some(loaded);
            Parts::open_with(config, clock, |tenant| {
                loaded.take().ok_or_else(|| vec![Fault::new(&tenant.name, "is not the only tenant")])
            })
        })
        .await
        .map_err(BenchError::new)?
        .map_err(BenchError::new)?;
        let network = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let tenant =
            parts.tenants().first().cloned().ok_or_else(|| BenchError::new("the bench has no tenant"))?;
        Ok(Self { parts: Arc::new(parts), tenant, store, hand, network, _stop: stop, _folder: folder })
    }

    /// The policies with all that stands around them.
    pub(crate) fn tenant(&self) -> &Arc<Tenant> {
        &self.tenant
    }

    /// Sets the clock.
    pub fn set_time(&self, now_ms: u64) {
        self.hand.store(now_ms, Ordering::SeqCst);
    }

    /// Lets the server hold these resources and no others. What was found out about earlier ones is forgotten.
    pub fn hold(&self, resources: Vec<Value>) -> Result<(), BenchError> {
        let held: Result<Vec<Resource>, BenchError> = resources.into_iter().map(resource).collect();
        self.store.refill(held?).map_err(BenchError::new)?;
        self.tenant().facts.forget();
        Ok(())
    }

    /// Somebody whose token has these claims, admitted now. Of an issuer of the tenant, claims and purposes are read as
    /// its configuration says; else by the default names and by `purposes`.
    pub fn caller(
        &self,
        claims: &Map<String, Value>,
        purposes: &[(String, Vec<String>)],
        circumstances: Circumstances,
    ) -> Result<Admitted, BenchError> {
        let tenant = self.tenant();
        let network = circumstances.network.or(Some(self.network));
        let environment = environment(tenant, tenant.clock.now_ms(), network)
            .map_err(|refusal| BenchError::new(refusal.reason))?;
        let environment = Environment { break_glass: circumstances.break_glass, ..environment };
        let issuer = claims.get("iss").and_then(Value::as_str).and_then(|iss| tenant.issuers.find(iss));
        let caller = match issuer {
            Some(issuer) => {
                let purposes = &issuer.config().purposes;
                drape_caller::caller(claims, &issuer.names, purposes, [0; 32], environment)
                    .map_err(|fault| fault.to_string())
            }
            None => personas::caller(claims, purposes, environment),
        };
        let caller = Arc::new(caller.map_err(BenchError::new)?);
        Ok(Admitted { caller, token: zeroize::Zeroizing::new(String::new()) })
    }

    /// Takes the request all the way. `target` is what follows the base URL, as in `/Observation?patient=p1`.
    pub async fn ask(
        &self,
        admitted: &Admitted,
        method: &Method,
        target: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Walk, BenchError> {
        let tenant = self.tenant();
        let (head, path) = head(method, target, &tenant.public_base)?;
        let (mut head, ()) = head.into_parts();
        head.headers = headers.clone();
        let id = self.parts.request_id();
        let network = admitted.caller.environment.network.unwrap_or(self.network);
        let mut asked = Asked::of(&head, &path, &id, SocketAddr::new(network, 0));
        let witness = Witness::attentive();
        asked.witness = witness.clone();
        let answer = admitted_answer(tenant, admitted, asked, &head, &path, Full::new(body));
        let (answer, format) = tokio::time::timeout(tenant.limits.request_timeout, answer)
            .await
            .map_err(|_| BenchError::new("the request took too long"))?;
        let (head, body) = answer.into_response(&id, format).into_parts();
        let (body, cut) = match body.gather(BODY_BYTES_MAX).await {
            Ok(body) => (body, false),
            Err(_) => (Bytes::new(), true),
        };
        let (own, entries) = witness.take().into_iter().partition::<Vec<_>, _>(|trace| trace.id == id);
        let trace = own.into_iter().next().unwrap_or_else(|| Trace { id: id.clone(), ..Trace::default() });
        Ok(Walk { id, status: head.status, headers: head.headers, body, cut, trace, entries })
    }
}

/// The request line, with the path as the stages know it.
fn head(method: &Method, target: &str, base: &str) -> Result<(http::Request<()>, String), BenchError> {
    let target = target.strip_prefix(base).unwrap_or(target);
    let slash = if target.starts_with('/') || target.is_empty() { "" } else { "/" };
    let target = format!("{slash}{target}");
    let help = "write what follows the base URL, e.g. `/Observation?patient=p1`, with `%20` for a space";
    let request = http::Request::builder().method(method).uri(&target).body(());
    let request =
        request.map_err(|e| BenchError::new(format!("`{target}` is no request target: {e}")).help(help))?;
    let path = request.uri().path().to_owned();
    Ok((request, path))
}

/// A resource as the store takes it.
fn resource(resource: Value) -> Result<Resource, BenchError> {
    let text = |name: &str| resource.get(name).and_then(Value::as_str).map(str::to_owned);
    let resource_type = text("resourceType").ok_or_else(|| {
        let help = "each record is a FHIR resource in JSON, with `resourceType` and `id`";
        BenchError::new("a record has no `resourceType`").help(help)
    })?;
    let id = text("id").ok_or_else(|| {
        let help = "give each record an id, by which it can be asked for";
        BenchError::new(format!("a {resource_type} has no `id`")).help(help)
    })?;
    Ok(Resource { resource_type, id, json: resource.to_string().into_bytes() })
}

/// What a proxy on the bench is configured to be. Counts are charged to a budget that no bench will use up.
fn frame(upstream: &str, folder: &std::path::Path) -> Result<Config, BenchError> {
    let text = format!(
        r#"
listen: {{ address: "127.0.0.1:0", plaintext: true }}
admin: {{ address: "127.0.0.1:0", plaintext: true }}
keys: {{ root_file: root.key, directory: keys }}
audit:
  directory: log
  origin: drape.example/bench
  signing_key_file: log-signing.key
  checkpoint_interval_ms: 600000
  heartbeat_interval_ms: 3600000
tenants:
  - name: bench
    public_base_url: "https://drape.example/fhir"
    time_zone: UTC
    upstream: {{ base_url: "{upstream}", plaintext: true, auth: {{ kind: none }} }}
    issuers: [{{ issuer: "https://idp.example", algorithms: [ES256], purposes: {{ TREAT: [nobody] }} }}]
    policies: {{ set: hospital }}
budgets:
  - name: bench
    tenant: bench
    organization: public-health
    ledger_file: budget.redb
    epsilon_total: "10000"
    epsilon_per_caller: "10000"
    epsilon_per_query: "0.4"
"#
    );
    let mut config = Config::parse(&text, folder).map_err(BenchError::new)?;
    // Nobody vouches for those who are tried out.
    config.tenants.iter_mut().for_each(|tenant| tenant.issuers.clear());
    Ok(config)
}

/// The tenant, in front of another server, with nothing that would read a file, need a credential or write to a log that
/// is really kept. Each field is named, so that a new one is thought of here.
fn held_off(tenant: &config::Tenant, upstream: &str) -> config::Tenant {
    let theirs = &tenant.upstream;
    let nobody = |(name, _): &(String, UpstreamAuth)| (name.clone(), UpstreamAuth::None);
    let issuer =
        |issuer: &config::Issuer| config::Issuer { ca_file: None, introspection: None, ..issuer.clone() };
    config::Tenant {
        name: tenant.name.clone(),
        public_base_url: tenant.public_base_url.clone(),
        upstream: config::Upstream {
            base_url: upstream.to_owned(),
            auth: UpstreamAuth::None,
            identities: theirs.identities.iter().map(nobody).collect(),
            ca_file: None,
            identity: None,
            dialect: theirs.dialect,
            export_hosts: theirs.export_hosts.clone(),
            gzip: false,
            unsearchable_identifier_systems: theirs.unsearchable_identifier_systems.clone(),
        },
        issuers: tenant.issuers.iter().map(issuer).collect(),
        certificates: tenant.certificates.clone(),
        cors: tenant.cors.clone(),
        gzip: false,
        time_zone: tenant.time_zone.clone(),
        // What is tried is no request of anybody.
        policies: config::Policies { shadow: None, ..tenant.policies.clone() },
        project: tenant.project.clone(),
        audit: None,
        capture: None,
    }
}

#[cfg(test)]
mod tests;
