//! Sets the stage: the FHIR server, the issuer, a folder with configuration, policies, keys and log, and Drape.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use drape_demo::{Ambient, Cast, Issuer, Persona, Population, Store, derive};
use drape_policy::shipped;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::http_client::Asker;
use crate::cli::Failure;
use crate::clock::Clock;
use crate::config::Config;
use crate::listen::stopped as until;
use crate::parts;
use crate::serve::{self, Running};

/// What is to be set up.
pub(super) struct Plan {
    pub(super) upstream: Option<String>,
    pub(super) seed: u64,
    pub(super) directory: Option<PathBuf>,
    pub(super) port: u16,
    /// Whether a folder of an earlier demo may be taken up again.
    pub(super) resume: bool,
}

/// Everything that runs in a demo.
pub(super) struct Stage {
    pub(super) public_base: String,
    pub(super) admin_base: String,
    pub(super) upstream_base: String,
    pub(super) directory: PathBuf,
    /// How many patients the server holds, in words.
    pub(super) patients: String,
    /// Whether the FHIR server is the embedded one.
    pub(super) embedded: bool,
    pub(super) issuer: Arc<Issuer>,
    pub(super) asker: Asker,
    running: Option<Running>,
    temporary: bool,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

const ZONE: &str = "America/New_York";

impl Stage {
    /// Sets everything up and starts Drape.
    pub(super) async fn set(plan: Plan) -> Result<Self, Failure> {
        let zone = jiff::tz::TimeZone::get(ZONE)?;
        let today = jiff::Timestamp::now().to_zoned(zone.clone()).date();
        let (directory, temporary) = folder(plan.directory.as_deref(), plan.resume)?;
        let asker = Asker::new()?;
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        let at = |offset: u16| {
            SocketAddr::from(([127, 0, 0, 1], if plan.port == 0 { 0 } else { plan.port + offset }))
        };
        let embedded = plan.upstream.is_none();
        let (upstream_base, cast, patients) = match plan.upstream {
            Some(url) => {
                let url = url.trim_end_matches('/').to_owned();
                let resources = fetch(&asker, &url).await?;
                let cast = Cast::derive(&resources, today)?;
                let count = resources.iter().filter(|r| r["resourceType"] == "Patient").count();
                (url, cast, format!("{count} patients read for the cast"))
            }
            None => {
                // Generating a few hundred patients takes a moment of computing.
                let seed = plan.seed;
                let population =
                    tokio::task::spawn_blocking(move || Population::generate(seed, today)).await?;
                let store = Arc::new(Store::new(population.resources)?);
                let count = store.count("Patient");
                let listener = bind(at(3)).await?;
                let address = listener.local_addr()?;
                let mut ending = stopped.clone();
                let serving =
                    drape_demo::serve::store(listener, store, async move { until(&mut ending).await });
                tasks.push(tokio::spawn(async move {
                    if let Err(error) = serving.await {
                        tracing::error!(%error, "the embedded FHIR server stopped");
                    }
                }));
                (
                    format!("http://{address}{}", drape_demo::serve::FHIR_PATH),
                    population.cast,
                    format!("{count} patients"),
                )
            }
        };
        let front = free(at(0)).await?;
        let admin = free(at(1)).await?;
        let public_base = format!("http://{front}/fhir");
        let listener = bind(at(2)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let figures = cast.figures.clone();
        let issuer = Arc::new(Issuer::new(&url, &[&public_base], cast, zone, Ambient::system())?);
        let mut ending = stopped.clone();
        let serving =
            drape_demo::serve::issuer(listener, Arc::clone(&issuer), async move { until(&mut ending).await });
        tasks.push(tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the embedded issuer stopped");
            }
        }));
        write(&directory, front, admin, &public_base, &upstream_base, &url, figures.vip.as_deref())?;
        let config = Config::load(&directory.join("drape.yaml"))?;
        tokio::task::spawn_blocking(move || parts::init(&config, &Clock::system())).await??;
        let mut stage = Self {
            public_base,
            admin_base: format!("http://{admin}"),
            upstream_base,
            directory,
            patients,
            embedded,
            issuer,
            asker,
            running: None,
            temporary,
            stop,
            tasks,
        };
        stage.start().await?;
        Ok(stage)
    }

    /// Starts Drape with what stands in the folder now.
    pub(super) async fn start(&mut self) -> Result<(), Failure> {
        let config = self.config()?;
        self.running = Some(serve::start(config, Clock::system()).await?);
        Ok(())
    }

    /// Stops Drape as SIGTERM would.
    pub(super) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// The configuration in the folder.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.directory.join("drape.yaml"))?)
    }

    /// What runs.
    pub(super) fn parts(&self) -> Result<&Arc<parts::Parts>, Failure> {
        self.running.as_ref().map(|r| &r.parts).ok_or_else(|| Failure::new("Drape is not running"))
    }

    /// A token of that persona.
    pub(super) fn token(&self, persona: Persona) -> Result<String, Failure> {
        Ok(self.issuer.token(persona, Duration::from_secs(900))?)
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    pub(super) fn token_file(&self, persona: Persona) -> PathBuf {
        self.directory.join("tokens").join(persona.word())
    }

    /// Writes a token to a file of its own, and as a header that curl takes by `-H @file`.
    pub(super) fn keep_token(&self, persona: Persona, token: &str) -> Result<PathBuf, Failure> {
        let header = self.directory.join("tokens").join(format!("{}.header", persona.word()));
        private(&self.token_file(persona), token)?;
        private(&header, &format!("Authorization: Bearer {token}"))?;
        Ok(header)
    }

    /// Stops everything and removes a temporary folder.
    pub(super) async fn clear(mut self) {
        self.stop().await;
        let _ = self.stop.send(true);
        for task in self.tasks.drain(..) {
            let _ = tokio::time::timeout(Duration::from_secs(5), task).await;
        }
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.directory)
        {
            tracing::warn!(%error, "the temporary folder stays");
        }
    }
}

fn private(path: &Path, text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let what = |e: std::io::Error| Failure::new(format!("cannot write `{}`: {e}", path.display()));
    options.open(path).and_then(|mut f| f.write_all(text.as_bytes())).map_err(what)
}

/// A new folder, or that of an earlier demo with its policies, keys and log. Nothing else is touched.
fn folder(wanted: Option<&Path>, resume: bool) -> Result<(PathBuf, bool), Failure> {
    let (path, temporary) = match wanted {
        Some(path) => (path.to_owned(), false),
        None => {
            let mut name = [0; 6];
            getrandom::fill(&mut name).map_err(Failure::new)?;
            let name: String = name.iter().map(|b| format!("{b:02x}")).collect();
            (std::env::temp_dir().join(format!("drape-demo-{name}")), true)
        }
    };
    let earlier = path.join("drape.yaml").is_file() && path.join("policies").is_dir();
    if path.exists() && !(resume && earlier) {
        let help = "name a folder that does not exist yet, or one of an earlier demo (without `--once`)";
        return Err(Failure::new(format!("`{}` exists already\n  help: {help}", path.display())));
    }
    for part in ["", "policies", "tokens", "keys", "log"] {
        let part = path.join(part);
        std::fs::create_dir_all(&part)
            .map_err(|e| Failure::new(format!("cannot make `{}`: {e}", part.display())))?;
    }
    let path = path.canonicalize().map_err(|e| Failure::new(format!("`{}`: {e}", path.display())))?;
    Ok((path, temporary))
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|e| {
        Failure::new(format!("cannot listen on `{address}`: {e}\n  help: choose other ports with `--port`"))
    })
}

/// The address itself, or one with a free port where it has none.
async fn free(address: SocketAddr) -> Result<SocketAddr, Failure> {
    Ok(bind(address).await?.local_addr()?)
}

/// Configuration, policies and the officer's list.
fn write(
    folder: &Path,
    front: SocketAddr,
    admin: SocketAddr,
    public_base: &str,
    upstream_base: &str,
    issuer: &str,
    vip: Option<&str>,
) -> Result<(), Failure> {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text)
            .map_err(|e| Failure::new(format!("cannot write `{}`: {e}", path.display())))
    };
    // Policies that were edited stay as they are.
    if std::fs::read_dir(folder.join("policies"))?.next().is_none() {
        let set = shipped::find("hospital").ok_or_else(|| Failure::new("the hospital set is missing"))?;
        for (name, text) in set.files {
            let path = folder.join("policies").join(name);
            path.parent().map(std::fs::create_dir_all).transpose()?;
            put(&format!("policies/{name}"), text)?;
        }
    }
    let overrides = match vip {
        Some(vip) => format!("version: 1\npatients:\n  {vip}: {{ labels: [VIP] }}\n"),
        None => "version: 1\n".to_owned(),
    };
    put("overrides.yaml", &overrides)?;
    let plaintext = upstream_base.starts_with("http://");
    put(
        "drape.yaml",
        &format!(
            r#"# The demo's configuration. Everything listens on the loopback interface, so nothing needs TLS here.
listen: {{ address: "{front}", plaintext: true }}
admin: {{ address: "{admin}", plaintext: true }}
keys: {{ root_file: keys/root.key, directory: keys }}
audit:
  directory: log
  origin: drape.example/demo
  signing_key_file: keys/log-signing.key
  checkpoint_interval_ms: 100
tenants:
  - name: demo
    public_base_url: "{public_base}"
    time_zone: {ZONE}
    upstream:
      base_url: "{upstream_base}"
      plaintext: {plaintext}
      auth: {{ kind: none }}
    issuers:
      - issuer: "{issuer}"
        plaintext: true
        algorithms: [ES256]
        purposes:
          TREAT: [clinician, nurse]
          HPAYMT: [billing]
          HRESCH: [researcher]
          PATRQT: [patient]
          FAMRQT: [guardian]
          PUBHLTH: [analyst]
          HOPERAT: [privacy-officer, records-officer]
    policies: {{ directory: policies, overrides_file: overrides.yaml }}
budgets:
  - name: public-health
    tenant: demo
    organization: public-health
    ledger_file: budget.redb
    epsilon_total: "1"
    epsilon_per_caller: "1"
    epsilon_per_query: "0.4"
"#
        ),
    )
}

/// How many records of each type are read to find a cast in another server's data.
const FETCHED_MAX: usize = 2_000;

/// What is needed of another server's data to find a cast in it.
async fn fetch(asker: &Asker, base: &str) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for kind in derive::TYPES {
        let mut url = format!("{base}/{kind}?_count=200");
        let mut of_kind = 0;
        loop {
            let reply = asker.get(&url, None).await?;
            let bundle = reply.json();
            if reply.status != http::StatusCode::OK || bundle["resourceType"] != "Bundle" {
                if kind == "Patient" {
                    let help = "is it the base URL of a FHIR R4 server that asks for no credential?";
                    return Err(Failure::new(format!("`{url}` answers {}\n  help: {help}", reply.status)));
                }
                // A server without that type has nobody of the kind.
                break;
            }
            let none = Vec::new();
            for entry in bundle["entry"].as_array().unwrap_or(&none) {
                if entry["resource"]["resourceType"] == kind {
                    of_kind += 1;
                    found.push(entry["resource"].clone());
                }
            }
            let next = bundle["link"].as_array().unwrap_or(&none).iter().find(|l| l["relation"] == "next");
            match next.and_then(|l| l["url"].as_str()) {
                Some(next) if of_kind < FETCHED_MAX && next.starts_with(base) => url = next.to_owned(),
                _ => break,
            }
        }
    }
    Ok(found)
}
