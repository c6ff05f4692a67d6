//! One FHIR server with everything that stands before it. What decides, who vouches and how the server is reached can be
//! exchanged: then another tenant of that name takes its place, with the same keys, log, ledger and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drape_audit::Log;
use drape_keys::handle::HandleKey;
use drape_keys::secret::Secret;
use drape_keys::{Keyring, PseudonymMap, Pseudonymizer};
use drape_noise::ledger::Ledger;
use drape_policy::Decider;
use drape_view::{Catalogue, Profiler, Redaction};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::{self, Config, Limits};
use crate::discovery::Discovery;
use crate::emergencies::Emergencies;
use crate::exports::Exports;
use crate::facts::Lookups;
use crate::issuers::Issuers;
use crate::metrics::Metrics;
use crate::page::Pages;
use crate::parts::{Loaded, StartError};
use crate::reload::fingerprint::Fingerprints;
use crate::stages::admit::CERTIFICATES;
use crate::tokens::Tokens;
use crate::upstream::Upstream;
use crate::watch::Watch;

/// One FHIR server with everything that stands before it. A request holds one from its first byte to its last, so that
/// it is judged by one set of policies throughout.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// The base URL that clients use, without a trailing slash.
    pub public_base: String,
    /// The host of the public base URL, in lower case.
    pub(crate) authority: String,
    /// Its path.
    pub(crate) base_path: String,
    /// The server behind.
    pub upstream: Arc<Upstream>,
    /// Who vouches for callers.
    pub issuers: Arc<Issuers>,
    /// Client certificates that make callers.
    pub certificates: Vec<config::callers::CertificateRule>,
    /// Emergencies that were declared.
    pub emergencies: Arc<Emergencies>,
    /// Tokens proved a moment ago.
    pub tokens: Arc<Tokens>,
    /// Browser origins.
    pub cors: config::Cors,
    /// Whether answers are compressed for callers who accept it.
    pub gzip: bool,
    /// Its time zone.
    pub time_zone: jiff::tz::TimeZone,
    /// What decides.
    pub decider: Arc<Decider>,
    /// Which policies those are.
    pub policy_digest: String,
    /// Everything that they were made from.
    pub loaded: Arc<Loaded>,
    /// Since when they are in force here, in milliseconds since the epoch; at the earliest since the start.
    pub in_force_since_ms: u64,
    /// How many officers must approve of policies before they may be in force. What is configured later can raise it
    /// while running, and lower it only by a restart.
    pub approvals_required: u64,
    /// Which category each element belongs to.
    pub catalogue: Arc<Catalogue>,
    /// Whether reduced records show that they are.
    pub redaction: Redaction,
    /// Turns facts into profiles.
    pub profiler: Arc<Profiler>,
    /// Data keys.
    pub keyring: Arc<Keyring>,
    /// Makes pseudonyms.
    pub pseudonymizer: Arc<Pseudonymizer>,
    /// Opens them.
    pub pseudonyms: Arc<PseudonymMap>,
    /// Paging handles.
    pub pages: Arc<Pages>,
    /// Handles of bulk exports.
    pub exports: Arc<Exports>,
    /// Marks the ETag of a treated view.
    pub etag_secret: Secret,
    /// The open documents.
    pub discovery: Discovery,
    /// What is looked up upstream about callers and patients.
    pub facts: Arc<Lookups>,
    /// What noisy answers are charged to.
    pub budget: Option<Arc<Budget>>,
    /// The audit log that it writes to: its own, or the common one.
    pub log: Arc<Log>,
    /// Counters.
    pub metrics: Metrics,
    /// Every bound.
    pub limits: Limits,
    /// Room for held entries, in steps of 64 KiB.
    pub held: Arc<Semaphore>,
    /// The time.
    pub clock: Clock,
    /// How long answers may stream on after another took its place.
    streams_timeout_ms: u64,
    /// What watches beside the requests.
    pub(crate) watch: Arc<Watch>,
    /// When its answers must have ended, in milliseconds since the epoch: never, while it is in force.
    ends_ms: AtomicU64,
    /// What it was made from, to tell what a change touches.
    pub(crate) fingerprints: Fingerprints,
}

/// A privacy budget with its ledger.
#[derive(Debug)]
pub struct Budget {
    /// Its configuration.
    pub config: config::Budget,
    /// The charges.
    pub ledger: Arc<Ledger>,
}

/// What the tenants of a process share.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) keyring: &'a Arc<Keyring>,
    pub(crate) metrics: &'a Metrics,
    pub(crate) held: &'a Arc<Semaphore>,
    pub(crate) clock: &'a Clock,
    /// From which the keys of recordings are derived.
    pub(crate) capture: &'a Secret,
}

/// Policies that are ready to judge.
pub(crate) struct Ruleset {
    loaded: Arc<Loaded>,
    decider: Arc<Decider>,
    profiler: Arc<Profiler>,
    since_ms: u64,
}

impl Ruleset {
    pub(crate) fn new(loaded: Arc<Loaded>, since_ms: u64) -> Result<Self, String> {
        Ok(Self {
            decider: Arc::new(Decider::new(Arc::clone(&loaded.set))?),
            profiler: Arc::new(Profiler::new(Arc::clone(&loaded.labels), Arc::clone(&loaded.overrides))),
            loaded,
            since_ms,
        })
    }

    pub(crate) fn policies(&self) -> usize {
        self.loaded.set.len()
    }
}

/// The ways to others: made anew where their configuration, a credential or a certificate changed.
struct Ways {
    upstream: Arc<Upstream>,
    issuers: Arc<Issuers>,
    tokens: Arc<Tokens>,
    facts: Arc<Lookups>,
    discovery: Discovery,
}

/// Keys and what is kept under them.
struct Lasting {
    keyring: Arc<Keyring>,
    pseudonymizer: Arc<Pseudonymizer>,
    pseudonyms: Arc<PseudonymMap>,
    pages: Arc<Pages>,
    exports: Arc<Exports>,
    etag_secret: Secret,
    budget: Option<Arc<Budget>>,
    emergencies: Arc<Emergencies>,
    log: Arc<Log>,
    metrics: Metrics,
    limits: Limits,
    held: Arc<Semaphore>,
    clock: Clock,
    streams_timeout_ms: u64,
    watch: Arc<Watch>,
}

impl Tenant {
    /// Opens its keys and the ways to others. Anything that cannot be had stops the start.
    pub(crate) fn open(
        shared: &Shared<'_>,
        tenant: &config::Tenant,
        log: &Arc<Log>,
        loaded: Loaded,
        fingerprints: Fingerprints,
        budget: Option<Arc<Budget>>,
    ) -> Result<Self, StartError> {
        let what = |e: &dyn std::fmt::Display| StartError::new(format!("tenant `{}`: {e}", tenant.name));
        let Shared { config, keyring, metrics, held, clock, capture } = *shared;
        let secrets = keyring
            .tenant(&tenant.name)
            .map_err(|e| StartError::new(format!("cannot open the keys of `{}`: {e}", tenant.name)))?;
        let map_file = config.keys.directory.join(format!("pseudonyms-{}.redb", tenant.name));
        let pseudonyms = PseudonymMap::open(&map_file, &secrets, &tenant.project).map_err(|e| what(&e))?;
        let millis = |d: std::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let base = &tenant.public_base_url;
        let lasting = Lasting {
            keyring: Arc::clone(keyring),
            pseudonymizer: Arc::new(Pseudonymizer::new(&secrets, &tenant.project)),
            pseudonyms: Arc::new(pseudonyms),
            pages: Arc::new(Pages::new(
                HandleKey::new(secrets.derive("page", &[])),
                base,
                millis(config.limits.page_lifetime),
            )),
            exports: Arc::new(Exports::new(
                HandleKey::new(secrets.derive("export", &[])),
                base,
                millis(config.limits.export_lifetime),
            )),
            etag_secret: secrets.derive("etag", &[]),
            budget,
            emergencies: Arc::default(),
            log: Arc::clone(log),
            metrics: metrics.clone(),
            limits: config.limits.clone(),
            held: Arc::clone(held),
            clock: clock.clone(),
            streams_timeout_ms: millis(config.reload.streams_timeout),
            watch: Watch::open(tenant, capture, metrics)?,
        };
        let timeout = config.limits.connect_timeout;
        let ways = Ways {
            upstream: Arc::new(Upstream::new(&tenant.upstream, timeout).map_err(|e| what(&e))?),
            issuers: Arc::new(Issuers::new(&tenant.issuers, timeout, clock).map_err(|e| what(&e))?),
            tokens: Arc::default(),
            facts: Arc::new(
                Lookups::new(loaded.facts.clone(), &tenant.upstream, timeout, metrics)
                    .map_err(|e| what(&e))?,
            ),
            discovery: Discovery::default(),
        };
        let rules = Ruleset::new(Arc::new(loaded), clock.now_ms()).map_err(|e| what(&e))?;
        let required = tenant.policies.approvals_required;
        Self::assemble(tenant, rules, ways, lasting, (required, fingerprints)).map_err(|e| what(&e))
    }

    /// The one that takes this one's place: by the configuration `tenant`, under `rules` or, where none are given, under
    /// those in force. What did not change stays, with what it has found out. `fresh_keys`: the issuers' keys are fetched
    /// again, and no proof of a token is believed any longer.
    pub(crate) fn renewed(
        &self,
        tenant: &config::Tenant,
        rules: Option<Ruleset>,
        fingerprints: Fingerprints,
        fresh_keys: bool,
    ) -> Result<Self, String> {
        let timeout = self.limits.connect_timeout;
        let before = &self.fingerprints;
        let upstream = match before.upstream == fingerprints.upstream {
            true => Arc::clone(&self.upstream),
            false => Arc::new(Upstream::new(&tenant.upstream, timeout).map_err(|e| e.to_string())?),
        };
        let same_issuers = before.issuers == fingerprints.issuers && !fresh_keys;
        let (issuers, tokens) = match same_issuers {
            true => (Arc::clone(&self.issuers), Arc::clone(&self.tokens)),
            // Whoever was proved by the former rules is proved anew.
            false => {
                let made = Issuers::new(&tenant.issuers, timeout, &self.clock).map_err(|e| e.to_string())?;
                (Arc::new(made), Arc::default())
            }
        };
        let same_facts = before.upstream == fingerprints.upstream && rules.is_none();
        let loaded = rules.as_ref().map_or(&self.loaded, |rules| &rules.loaded);
        let facts = match same_facts {
            true => Arc::clone(&self.facts),
            false => Arc::new(
                Lookups::new(loaded.facts.clone(), &tenant.upstream, timeout, &self.metrics)
                    .map_err(|e| e.to_string())?,
            ),
        };
        let rules = rules.unwrap_or_else(|| Ruleset {
            loaded: Arc::clone(&self.loaded),
            decider: Arc::clone(&self.decider),
            profiler: Arc::clone(&self.profiler),
            since_ms: self.in_force_since_ms,
        });
        let ways = Ways { upstream, issuers, tokens, facts, discovery: self.discovery.carried() };
        let lasting = Lasting {
            keyring: Arc::clone(&self.keyring),
            pseudonymizer: Arc::clone(&self.pseudonymizer),
            pseudonyms: Arc::clone(&self.pseudonyms),
            pages: Arc::clone(&self.pages),
            exports: Arc::clone(&self.exports),
            etag_secret: self.etag_secret.clone(),
            budget: self.budget.clone(),
            emergencies: Arc::clone(&self.emergencies),
            log: Arc::clone(&self.log),
            metrics: self.metrics.clone(),
            limits: self.limits.clone(),
            held: Arc::clone(&self.held),
            clock: self.clock.clone(),
            streams_timeout_ms: self.streams_timeout_ms,
            watch: Arc::clone(&self.watch),
        };
        let required = self.approvals_required.max(tenant.policies.approvals_required);
        Self::assemble(tenant, rules, ways, lasting, (required, fingerprints))
    }

    fn assemble(
        tenant: &config::Tenant,
        rules: Ruleset,
        ways: Ways,
        lasting: Lasting,
        (approvals_required, fingerprints): (u64, Fingerprints),
    ) -> Result<Self, String> {
        let uri: http::Uri = tenant
            .public_base_url
            .parse()
            .map_err(|e: http::uri::InvalidUri| format!("`{}`: {e}", tenant.public_base_url))?;
        let Ruleset { loaded, decider, profiler, since_ms } = rules;
        let Ways { upstream, issuers, tokens, facts, discovery } = ways;
        let Lasting {
            keyring,
            pseudonymizer,
            pseudonyms,
            pages,
            exports,
            etag_secret,
            budget,
            emergencies,
            log,
            metrics,
            limits,
            held,
            clock,
            streams_timeout_ms,
            watch,
        } = lasting;
        Ok(Self {
            name: tenant.name.clone(),
            public_base: tenant.public_base_url.clone(),
            authority: uri.authority().map(|a| a.as_str().to_ascii_lowercase()).unwrap_or_default(),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            upstream,
            issuers,
            certificates: tenant.certificates.clone(),
            emergencies,
            tokens,
            cors: tenant.cors.clone(),
            gzip: tenant.gzip,
            time_zone: jiff::tz::TimeZone::get(&tenant.time_zone).map_err(|e| e.to_string())?,
            policy_digest: loaded.set.digest().to_owned(),
            catalogue: Arc::clone(&loaded.catalogue),
            redaction: loaded.redaction,
            decider,
            profiler,
            in_force_since_ms: since_ms,
            approvals_required,
            loaded,
            keyring,
            pseudonymizer,
            pseudonyms,
            pages,
            exports,
            etag_secret,
            discovery,
            facts,
            budget,
            log,
            metrics,
            limits,
            held,
            clock,
            streams_timeout_ms,
            watch,
            ends_ms: AtomicU64::new(u64::MAX),
            fingerprints,
        })
    }

    /// Which roles each purpose of use activates for that caller, by whoever vouches for her.
    pub(crate) fn purposes_of(&self, caller: &drape_view::Caller) -> &[(String, Vec<String>)] {
        match self.certified(caller) {
            Some(certified) => &certified.purposes,
            None => {
                self.issuers.find(&caller.issuer).map(|i| i.config().purposes.as_slice()).unwrap_or_default()
            }
        }
    }

    /// Whether the caller may ask for nothing that no SMART scope covers.
    pub(crate) fn wants_scopes(&self, caller: &drape_view::Caller) -> bool {
        match self.certified(caller) {
            Some(certified) => certified.scopes.is_some(),
            None => self.issuers.find(&caller.issuer).is_none_or(|i| i.config().smart_scopes),
        }
    }

    fn certified(&self, caller: &drape_view::Caller) -> Option<&config::callers::CertificateCaller> {
        let mut rules = self.certificates.iter().map(|rule| &rule.caller);
        rules.find(|c| caller.issuer == CERTIFICATES && c.sub == caller.subject)
    }

    /// Another one took its place: what streams on may do so for a stated time.
    pub(crate) fn retire(&self) {
        let ends = self.clock.now_ms().saturating_add(self.streams_timeout_ms);
        self.ends_ms.fetch_min(ends, Ordering::SeqCst);
    }

    /// Whether answers under its policies must have ended by then.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.ends_ms.load(Ordering::SeqCst)
    }

    /// Whether a `Host` header means this tenant; the usual port of its scheme may be left out.
    pub(crate) fn is_called(&self, host: &str) -> bool {
        let usual = if self.public_base.starts_with("https:") { ":443" } else { ":80" };
        host.strip_suffix(usual).unwrap_or(host)
            == self.authority.strip_suffix(usual).unwrap_or(&self.authority)
    }
}
