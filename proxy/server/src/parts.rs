//! Everything a request needs, made once at start: tenants, log, keys, limits, clock.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use drape_audit::Log;
use drape_keys::Keyring;
use drape_keys::secret::Secret;
use drape_keys::source::{FileSource, RootKeySource as _};
use drape_noise::ledger::Ledger;
use drape_policy::PolicySet;
use drape_view::{Catalogue, Fault, Labels, Overrides, Redaction, Treatments};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::facts::FactRules;
use crate::config::{self, Config, PolicySource};
use crate::logs::{self, Book};
use crate::metrics::Metrics;
use crate::reload::Reloads;
use crate::reload::fingerprint::Fingerprints;
use crate::tenant::Shared;
pub use crate::tenant::{Budget, Tenant};
use crate::workbench::files::SetFiles;
use crate::workbench::personas::Personas;

/// All that the process holds.
#[derive(Debug)]
pub struct Parts {
    /// In the order of the configuration; exchanged as one by a reload.
    tenants: ArcSwap<Vec<Arc<Tenant>>>,
    /// What was last taken up or refused while running.
    pub reloads: Reloads,
    /// The common audit log.
    pub log: Arc<Log>,
    /// Every log that is written, the common one first.
    pub books: Vec<Book>,
    /// Counters.
    pub metrics: Metrics,
    /// Room for requests.
    pub room: Arc<Semaphore>,
    /// The time.
    pub clock: Clock,
    /// The configuration that made this.
    pub config: Config,
    requests: AtomicU64,
    instance: String,
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{what}{}", .help.as_ref().map(|h| format!("\n  help: {h}")).unwrap_or_default())]
pub struct StartError {
    what: String,
    help: Option<String>,
}

impl StartError {
    pub(crate) fn new(what: impl std::fmt::Display) -> Self {
        Self { what: what.to_string(), help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The policies of a tenant, loaded and checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Where the set comes from, for people.
    pub source: String,
    /// The set's personas; none where it has no `personas.yaml`. They decide nothing, and are no part of the digest.
    pub personas: Personas,
    /// Which category each element belongs to.
    pub catalogue: Arc<Catalogue>,
    /// What each treatment does.
    pub treatments: Arc<Treatments>,
    /// Codes → labels.
    pub labels: Arc<Labels>,
    /// The officer's list.
    pub overrides: Arc<Overrides>,
    /// Where facts come from.
    pub facts: FactRules,
    /// Whether reduced records show that they are.
    pub redaction: Redaction,
    /// The Cedar set.
    pub set: Arc<PolicySet>,
    /// The files beside it, as they were read.
    pub(crate) texts: Texts,
}

/// The texts that decide, each with the name by which messages call it.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) categories: Text,
    pub(crate) treatments: Text,
    pub(crate) labels: Text,
    pub(crate) overrides: Text,
    pub(crate) facts: Text,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    name: String,
    pub(crate) text: String,
}

impl Texts {
    /// Reads them: the configuration's own, else the set's, else the shipped ones.
    pub(crate) fn read(config: &config::Policies) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut read = |file: &Option<std::path::PathBuf>, name: &str, shipped: &'static str| -> Text {
            let (name, text) = match file {
                None => (name.to_owned(), Ok(shipped.to_owned())),
                Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
            };
            let text = text.unwrap_or_else(|e| {
                faults.push(Fault::new(&name, format!("cannot be read: {e}")).code("no-file"));
                String::new()
            });
            Text { name, text }
        };
        use drape_view::shipped::{CATEGORIES, FACTS, LABELS, TREATMENTS};
        let mut texts = Self {
            categories: read(&config.categories_file, "categories.yaml", CATEGORIES),
            treatments: read(&config.treatments_file, "treatments.yaml", TREATMENTS),
            labels: read(&config.labels_file, "labels.yaml", LABELS),
            overrides: read(&config.overrides_file, "overrides", ""),
            facts: read(&config.facts_file, "facts.yaml", FACTS),
        };
        // A set may bring rungs and a catalogue of its own; a file that the configuration names goes before them.
        for (named, text, file) in [
            (&config.treatments_file, &mut texts.treatments, "treatments.yaml"),
            (&config.categories_file, &mut texts.categories, "categories.yaml"),
        ] {
            if named.is_some() {
                continue;
            }
            let own = SetFiles::of(&config.source)
                .and_then(|files| Ok(files.read(file)?.map(|t| (files.path(file), t))));
            match own {
                Ok(Some((name, own))) => *text = Text { name, text: own },
                Ok(None) => {}
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(texts) } else { Err(faults) }
    }
}

impl Text {
    /// What a parser makes of it; its faults with their lines and the kind of file they are in.
    pub(crate) fn parse<T>(
        &self,
        kind: &'static str,
        faults: &mut Vec<Fault>,
        parser: impl FnOnce(&str) -> Result<T, Vec<Fault>>,
    ) -> Option<T> {
        let mut found = match parser(&self.text) {
            Ok(made) => return Some(made),
            Err(found) => found,
        };
        drape_view::yaml::locate(&mut found, &self.name, &self.text);
        found.iter_mut().filter(|f| f.code == Fault::INVALID).for_each(|f| f.code = kind);
        faults.extend(found);
        None
    }
}

/// Loads and checks everything that decides; every fault at once. Where facts are looked up is checked against the
/// upstream, where there is one.
pub fn load_policies(
    config: &config::Policies,
    upstream: Option<&config::Upstream>,
) -> Result<Loaded, Vec<Fault>> {
    let texts = Texts::read(config)?;
    let mut faults = Vec::new();
    let catalogue = texts
        .categories
        .parse("categories", &mut faults, |text| Catalogue::parse(text, drape_fhir::definitions::r4()));
    let treatments = texts.treatments.parse("treatments", &mut faults, Treatments::parse);
    let labels = texts.labels.parse("labels", &mut faults, Labels::parse);
    let overrides = texts.overrides.parse("overrides", &mut faults, Overrides::parse);
    let facts = texts.facts.parse("facts", &mut faults, |text| {
        let rules = FactRules::parse(text)?;
        let found = upstream.map(|upstream| crate::facts::check(&rules, upstream)).unwrap_or_default();
        if found.is_empty() { Ok(rules) } else { Err(found) }
    });
    // Which permits have a rung hangs on the treatments; without them nothing can be said of the policies.
    let Some(treatments) = treatments.map(Arc::new) else { return Err(faults) };
    let redaction = config.redaction.unwrap_or(treatments.redaction());
    let Texts { categories: c, treatments: t, labels: l, overrides: o, facts: f } = &texts;
    let extra = [c, t, l, o, f].map(|text| text.text.as_bytes());
    let extra: Vec<&[u8]> = extra
        .into_iter()
        .chain([redaction.name().as_bytes(), drape_view::shipped::SMALL_AREAS.as_bytes()])
        .collect();
    let set = match &config.source {
        PolicySource::Shipped(name) => PolicySet::shipped(name, &treatments, &extra),
        PolicySource::Directory(path) => PolicySet::load(path, &treatments, &extra),
    };
    let source = match &config.source {
        PolicySource::Shipped(name) => format!("the shipped set `{name}`"),
        PolicySource::Directory(folder) => format!("`{}`", folder.display()),
    };
    let personas = match SetFiles::of(&config.source)
        .and_then(|files| Ok((files.path("personas.yaml"), files.read("personas.yaml")?)))
    {
        Ok((path, Some(text))) => Personas::parse(&path, &text).map_err(|found| faults.extend(found)).ok(),
        Ok((_, None)) => Some(Personas::default()),
        Err(fault) => {
            faults.push(fault);
            None
        }
    };
    let set = set.map_err(|found| faults.extend(found)).ok().filter(|_| faults.is_empty());
    match (catalogue, labels, overrides, facts, personas, set) {
        (Some(catalogue), Some(labels), Some(overrides), Some(facts), Some(personas), Some(set)) => {
            Ok(Loaded {
                source,
                personas,
                catalogue: Arc::new(catalogue),
                treatments,
                labels: Arc::new(labels),
                overrides: Arc::new(overrides),
                facts,
                redaction,
                set: Arc::new(set),
                texts,
            })
        }
        _ => Err(faults),
    }
}

impl Parts {
    /// Opens the log, the keys and the ledgers and loads the policies of every tenant. Anything that cannot be had
    /// stops the start: Drape does not run with half of its duties.
    pub fn open(config: Config, clock: Clock) -> Result<Self, StartError> {
        Self::open_with(config, clock, |tenant| load_policies(&tenant.policies, Some(&tenant.upstream)))
    }

    /// The same with policies from elsewhere.
    pub(crate) fn open_with(
        config: Config,
        clock: Clock,
        mut load: impl FnMut(&config::Tenant) -> Result<Loaded, Vec<Fault>>,
    ) -> Result<Self, StartError> {
        let metrics = Metrics::new().map_err(StartError::new)?;
        let root = root_key(&config)?;
        let capture = crate::watch::secret(&root);
        let books: Vec<Book> = logs::all(&config)
            .into_iter()
            .map(|one| Book::open(&config, one, &root, &clock))
            .collect::<Result<_, _>>()?;
        let common = books.first().ok_or_else(|| StartError::new("there is no audit log"))?;
        let log = Arc::clone(&common.log);
        let keyring = Arc::new(open_keys(&config, root)?);
        let held = Arc::new(Semaphore::new(config.limits.held_bytes_max.div_ceil(64 << 10)));
        let mut ledgers: HashMap<std::path::PathBuf, Arc<Ledger>> = HashMap::new();
        let mut tenants = Vec::new();
        let shared = Shared {
            config: &config,
            keyring: &keyring,
            metrics: &metrics,
            held: &held,
            clock: &clock,
            capture: &capture,
        };
        for tenant in &config.tenants {
            // Before anything is read: a file that changes in between is found changed later.
            let fingerprints = Fingerprints::of(&config, &tenant.name);
            let loaded = load(tenant).map_err(|faults| {
                let list: Vec<String> = faults.iter().map(|f| format!("  {f}")).collect();
                StartError::new(format!(
                    "tenant `{}`: the policies cannot be used:\n{}",
                    tenant.name,
                    list.join("\n")
                ))
                .help("`drape check` shows this without starting anything")
            })?;
            let budget = match config.budgets.iter().find(|b| b.tenant == tenant.name) {
                None => None,
                Some(b) => {
                    let ledger = match ledgers.get(&b.ledger_file) {
                        Some(ledger) => Arc::clone(ledger),
                        None => {
                            if let Some(parent) = b.ledger_file.parent() {
                                make_dir(parent)?;
                            }
                            let ledger = Ledger::open(&b.ledger_file)
                                .map_err(|e| StartError::new(format!("tenant `{}`: {e}", tenant.name)))?;
                            let ledger = Arc::new(ledger);
                            ledgers.insert(b.ledger_file.clone(), Arc::clone(&ledger));
                            ledger
                        }
                    };
                    Some(Arc::new(Budget { config: b.clone(), ledger }))
                }
            };
            let own = books.iter().find(|book| book.tenant.as_ref() == Some(&tenant.name));
            let log = own.map_or(&log, |own| &own.log);
            tenants.push(Arc::new(Tenant::open(&shared, tenant, log, loaded, fingerprints, budget)?));
        }
        let mut instance = [0; 4];
        getrandom::fill(&mut instance).map_err(StartError::new)?;
        Ok(Self {
            tenants: ArcSwap::from_pointee(tenants),
            reloads: Reloads::default(),
            log,
            books,
            metrics,
            room: Arc::new(Semaphore::new(config.limits.concurrent_requests_max)),
            clock,
            config,
            requests: AtomicU64::new(0),
            instance: instance.iter().map(|b| format!("{b:02x}")).collect(),
        })
    }

    /// All tenants as they are now. Whoever asks once sees one set of policies of each.
    pub fn tenants(&self) -> Arc<Vec<Arc<Tenant>>> {
        self.tenants.load_full()
    }

    /// The tenant of that name as it is now.
    pub fn tenant(&self, name: &str) -> Option<Arc<Tenant>> {
        self.tenants.load().iter().find(|t| t.name == name).map(Arc::clone)
    }

    /// Puts `next` in the place of the tenant of its name, for every request that comes from now on.
    pub(crate) fn put(&self, next: Tenant) {
        let next = Arc::new(next);
        let before = self.tenants.rcu(|all| {
            let put = |t: &Arc<Tenant>| if t.name == next.name { Arc::clone(&next) } else { Arc::clone(t) };
            all.iter().map(put).collect::<Vec<_>>()
        });
        before.iter().filter(|t| t.name == next.name).for_each(|t| t.retire());
    }

    /// A name for one request: unique over replicas and restarts, and saying nothing.
    pub fn request_id(&self) -> String {
        format!("{}-{:08x}", self.instance, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// The tenant a request is for, and what follows its base path: of those with the request's host the one with the
    /// longest path (`/fhir/a` before `/fhir`). A host that nobody has is a name inside the cluster: then the longest path
    /// decides, where only one tenant has it.
    pub fn tenant_of(&self, head: &http::request::Parts) -> Option<(Arc<Tenant>, String)> {
        let host = head
            .uri
            .authority()
            .map(|a| a.as_str())
            .or_else(|| head.headers.get(http::header::HOST).and_then(|h| h.to_str().ok()))
            .unwrap_or_default()
            .to_ascii_lowercase();
        let path = head.uri.path();
        let rest = |t: &Tenant| {
            let rest = path.strip_prefix(&t.base_path)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.to_owned())
        };
        let tenants = self.tenants.load();
        let named = tenants.iter().any(|t| t.is_called(&host));
        let fitting = || tenants.iter().filter(|t| (!named || t.is_called(&host)) && rest(t).is_some());
        let longest = fitting().map(|t| t.base_path.len()).max()?;
        let mut candidates = fitting().filter(|t| t.base_path.len() == longest);
        let tenant = candidates.next().filter(|_| candidates.next().is_none())?;
        Some((Arc::clone(tenant), rest(tenant)?))
    }

    /// Whether anybody's requests can be written down.
    pub fn healthy(&self) -> bool {
        self.tenants.load().iter().any(|t| t.log.healthy())
    }
}

pub(crate) fn make_dir(path: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(path)
        .map_err(|e| StartError::new(format!("cannot make `{}`: {e}", path.display())))
}

/// Reads the root key of a configuration.
pub fn root_key(config: &Config) -> Result<Secret, StartError> {
    FileSource::new(&config.keys.root_file)
        .load()
        .map_err(|e| StartError::new(e).help("`drape init` makes a root key"))
}

/// Opens the key table of a configuration; one process at a time.
pub fn open_keys(config: &Config, root: Secret) -> Result<Keyring, StartError> {
    make_dir(&config.keys.directory)?;
    Keyring::open(&config.keys.directory.join("keys.redb"), root)
        .map_err(|e| StartError::new(format!("cannot open the key table: {e}")))
}

/// Makes what must exist before the first start: root key, signing keys, key table, logs. What exists is left alone.
pub fn init(config: &Config, clock: &Clock) -> Result<Vec<String>, StartError> {
    let mut made = Vec::new();
    if let Some(parent) = config.keys.root_file.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    if !config.keys.root_file.exists() {
        FileSource::create(&config.keys.root_file).map_err(StartError::new)?;
        made.push(format!("root key {}", config.keys.root_file.display()));
    }
    for (_, audit) in logs::all(config) {
        logs::make_signing_key(audit, &mut made)?;
    }
    let root = root_key(config)?;
    make_dir(&config.keys.directory)?;
    for (tenant, _) in logs::all(config) {
        logs::make_secret(config, tenant, &root, &mut made)?;
    }
    let secrets: Vec<[u8; 32]> = logs::all(config)
        .iter()
        .map(|(tenant, _)| logs::secret(config, *tenant, &root))
        .collect::<Result<_, _>>()?;
    drop(open_keys(config, root)?);
    for ((_, audit), secret) in logs::all(config).into_iter().zip(secrets) {
        logs::make(audit, secret, clock, &mut made)?;
    }
    Ok(made)
}
