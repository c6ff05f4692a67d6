//! Takes up changed policies, issuers, credentials and certificates while requests go on. What is not right is left
//! alone and said: the former goes on as before.

pub(crate) mod fingerprint;
mod restart;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use drape_audit::{Class, Event, OutcomeCode};
use drape_view::fault::Fault;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::approvals;
use crate::certificate::{self, Certificate};
use crate::config::{self, Config};
use crate::metrics::Taken;
use crate::parts::{Loaded, Parts, Tenant, load_policies};
use crate::tenant::Ruleset;
use crate::workbench::files::SetFiles;
use crate::workbench::testing::run_all;
use fingerprint::Fingerprints;
pub(crate) use watch::watch;

/// What was taken up and what was not.
#[derive(Debug, Default)]
pub struct Reloads {
    /// One at a time.
    turn: tokio::sync::Mutex<()>,
    /// Somebody wants the files looked at now.
    asked: Notify,
    candidates: Mutex<BTreeMap<String, Candidate>>,
    restart: Mutex<Vec<String>>,
}

/// What stands in the files and is not in force.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The digest of its policies, where they could be loaded.
    pub digest: Option<String>,
    /// When it was found, in milliseconds since the epoch.
    pub found_ms: u64,
    /// Why it is not in force: for people, one fault each.
    pub faults: Vec<String>,
    /// Whether it can be used, and waits for officers to approve.
    pub waits: bool,
    /// The policies, where they could be loaded.
    pub loaded: Option<Arc<Loaded>>,
}

/// A listener's name in messages, and what it shows.
pub(crate) type Front = (&'static str, Arc<Certificate>);

/// What makes Drape look at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Something in them changed.
    Changed,
    /// SIGHUP: the issuers' keys are fetched again as well, and every token is proved anew.
    Asked,
}

/// Of an entry's text, so that a set with a thousand faults does not fill the log.
const REASON_CHARS_MAX: usize = 1_000;

impl Reloads {
    /// What stands in a tenant's files and is not in force.
    pub fn candidate(&self, tenant: &str) -> Option<Candidate> {
        self.candidates.lock().get(tenant).cloned()
    }

    /// Has the files looked at now.
    pub(crate) fn look_again(&self) {
        self.asked.notify_one();
    }

    /// Keys of the configuration that were changed and are read at the start alone.
    pub fn restart_needed(&self) -> Vec<String> {
        self.restart.lock().clone()
    }
}

/// Reads everything again and takes up what is right. One tenant's fault is no other's.
pub(crate) async fn reload(parts: &Arc<Parts>, fronts: &[Front], why: Why) {
    let _turn = parts.reloads.turn.lock().await;
    let config = match read(parts).await {
        Ok(config) => Arc::new(config),
        Err(fault) => {
            for tenant in parts.tenants().iter() {
                refuse(parts, tenant, None, vec![fault.clone()], Taken::Refused).await;
            }
            return;
        }
    };
    say_what_needs_a_restart(parts, &config);
    for front in fronts {
        show(parts, front, &config).await;
    }
    for tenant in parts.tenants().iter() {
        if let Some(next) = config.tenants.iter().find(|t| t.name == tenant.name) {
            take_up(parts, tenant, &config, next, why).await;
        }
    }
}

/// The configuration as it stands in its file now; as it was given, where it has none.
async fn read(parts: &Parts) -> Result<Config, String> {
    match parts.config.origin.file.clone() {
        None => Ok(parts.config.clone()),
        Some(file) => tokio::task::spawn_blocking(move || Config::load(&file))
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string()),
    }
}

fn say_what_needs_a_restart(parts: &Parts, config: &Config) {
    let needed = restart::needed(&parts.config, config);
    parts.metrics.restart_needed(!needed.is_empty());
    let mut held = parts.reloads.restart.lock();
    if *held != needed && !needed.is_empty() {
        tracing::warn!(keys = needed.join(", "), "changed in the configuration, and needs a restart");
    }
    *held = needed;
}

/// One tenant: policies and all else are taken up apart, so that a bad policy does not keep a revoked issuer in force.
async fn take_up(
    parts: &Arc<Parts>,
    tenant: &Arc<Tenant>,
    config: &Arc<Config>,
    next: &config::Tenant,
    why: Why,
) {
    let mut fingerprints = {
        let (config, name) = (Arc::clone(config), tenant.name.clone());
        match tokio::task::spawn_blocking(move || Fingerprints::of(&config, &name)).await {
            Ok(fingerprints) => fingerprints,
            Err(error) => {
                return refuse(parts, tenant, None, vec![error.to_string()], Taken::Refused).await;
            }
        }
    };
    let before = &tenant.fingerprints;
    if fingerprints == *before && why == Why::Changed {
        return parts.reloads.forget(tenant);
    }
    beside(parts, tenant, next).await;
    let rules = match judged(parts, tenant, next).await {
        Ok(Some(rules)) => Some(rules),
        Ok(None) => {
            parts.reloads.forget(tenant);
            None
        }
        Err((loaded, faults, taken)) => {
            refuse(parts, tenant, loaded, faults, taken).await;
            // What was not taken up is looked at again, whatever changes next.
            fingerprints.policies = before.policies;
            None
        }
    };
    let asked = why == Why::Asked;
    let raised = next.policies.approvals_required > tenant.approvals_required;
    if rules.is_none() && !asked && !raised && fingerprints.rest == before.rest {
        return;
    }
    let mut changed = Vec::new();
    if let Some(rules) = &rules {
        changed.push(format!(
            "policies: {} in force now, before it was the set {}",
            rules.policies(),
            tenant.policy_digest
        ));
    }
    if fingerprints.issuers != before.issuers {
        changed.push("issuers".to_owned());
    } else if asked {
        changed.push("the issuers' keys, fetched again".to_owned());
    }
    if fingerprints.upstream != before.upstream {
        changed.push("the way to the FHIR server".to_owned());
    }
    if raised {
        changed.push(format!("approvals that are needed: {}", next.policies.approvals_required));
    }
    if changed.is_empty() {
        changed.push("settings".to_owned());
    }
    let switches = rules.is_some();
    let made = {
        let (tenant, next) = (Arc::clone(tenant), next.clone());
        let made = move || tenant.renewed(&next, rules, fingerprints, asked);
        tokio::task::spawn_blocking(made).await.unwrap_or_else(|e| Err(e.to_string()))
    };
    let made = match made {
        Ok(made) => made,
        Err(fault) => return refuse(parts, tenant, None, vec![fault], Taken::Refused).await,
    };
    if !Arc::ptr_eq(&made.issuers, &tenant.issuers) {
        // So that no caller has to wait for it. An issuer that is down keeps the keys that are known.
        made.issuers.prefetch().await;
        if made.fingerprints.issuers == before.issuers {
            made.issuers.inherit(&tenant.issuers);
        }
    }
    // In the log first: a crash here leaves an entry about a set that never judged anything, and no record that was
    // judged by a set that the log does not know.
    let text = format!("taken up: {}", changed.join("; "));
    if let Err(error) = made.log.record(entry(parts, &made, text.clone())).await {
        let fault = format!("the change cannot be entered in the audit log: {error}");
        return refuse(parts, tenant, Some(Arc::clone(&made.loaded)), vec![fault], Taken::Refused).await;
    }
    let (name, digest) = (made.name.clone(), made.policy_digest.clone());
    parts.put(made);
    tracing::info!(tenant = name, digest, "{text}");
    if switches {
        parts.reloads.forget(tenant);
        parts.metrics.policies_in_force(&name, &digest, parts.clock.now_s());
    }
    parts.metrics.taken(&name, Taken::Switched);
}

/// Takes up other shadow policies. Those that cannot be loaded leave the former in the shadow, and the live ones are none
/// of their business.
async fn beside(parts: &Arc<Parts>, tenant: &Arc<Tenant>, next: &config::Tenant) {
    let (of, next) = (Arc::clone(tenant), next.clone());
    let taken = tokio::task::spawn_blocking(move || of.watch.take_up(&next, &of.metrics)).await;
    let text = match taken {
        Ok(Ok(None)) => return,
        Ok(Ok(Some(told))) => format!("taken up: {told}"),
        Ok(Err(faults)) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            return tracing::error!(
                tenant = tenant.name,
                "the shadow policies cannot be used, the former stay: {}",
                faults.join("; ")
            );
        }
        Err(error) => return tracing::error!(%error, "the shadow policies cannot be loaded"),
    };
    if let Err(error) = tenant.log.record(entry(parts, tenant, text)).await {
        tracing::error!(%error, "a change of shadow policies cannot be entered");
    }
}

/// A candidate that stays out: its policies, where they could be loaded, and why.
type Out = (Option<Arc<Loaded>>, Vec<String>, Taken);

/// The policies as they stand in the files, if they may be switched to; `None` where they are those in force.
async fn judged(
    parts: &Arc<Parts>,
    tenant: &Arc<Tenant>,
    next: &config::Tenant,
) -> Result<Option<Ruleset>, Out> {
    let (policies, upstream) = (next.policies.clone(), next.upstream.clone());
    let refused = |faults| (None, faults, Taken::Refused);
    let loaded = tokio::task::spawn_blocking(move || load_policies(&policies, Some(&upstream)))
        .await
        .map_err(|e| refused(vec![e.to_string()]))?
        .map_err(|faults| refused(faults.iter().map(ToString::to_string).collect()))?;
    if loaded.set.digest() == tenant.policy_digest {
        return Ok(None);
    }
    let loaded = Arc::new(loaded);
    if parts.config.reload.tests
        && let Err(faults) = tested(parts, next, &loaded).await
    {
        return Err((Some(loaded), faults, Taken::Refused));
    }
    let required = tenant.approvals_required.max(next.policies.approvals_required);
    match approvals::lack(parts, tenant, loaded.set.digest(), required).await {
        Ok(None) => {}
        Ok(Some(lack)) => return Err((Some(loaded), vec![format!("the policies {lack}")], Taken::Waiting)),
        Err((fault, taken)) => return Err((Some(loaded), vec![fault], taken)),
    }
    let rules = Ruleset::new(Arc::clone(&loaded), parts.clock.now_ms())
        .map_err(|fault| (Some(loaded), vec![fault], Taken::Refused))?;
    Ok(Some(rules))
}

/// Failed cases that are named; the others are counted.
const FAILED_MAX: usize = 10;

/// Runs the tests that the set brings along, if it brings any.
async fn tested(parts: &Parts, next: &config::Tenant, loaded: &Arc<Loaded>) -> Result<(), Vec<String>> {
    let texts = |faults: Vec<Fault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    let one = |fault: Fault| vec![fault.to_string()];
    let files = SetFiles::of(&next.policies.source).map_err(one)?;
    let mut found = Vec::new();
    for ending in [".yaml", ".cedar.json"] {
        found.extend(files.list("tests/", ending).map_err(one)?);
    }
    if found.is_empty() {
        return Ok(());
    }
    let now_ms = parts.clock.now_ms();
    let run = run_all(Loaded::clone(loaded), &files, &loaded.personas, Some(next), now_ms, None);
    let report = Box::pin(run).await.map_err(texts)?;
    let failed: Vec<String> = report
        .results
        .iter()
        .filter(|case| !case.faults.is_empty())
        .map(|case| format!("{}: `{}` fails: {}", files.path(&case.file), case.name, case.faults.join("; ")))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let more = failed.len().saturating_sub(FAILED_MAX);
    let mut told: Vec<String> = failed.into_iter().take(FAILED_MAX).collect();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    Err(told)
}

/// Keeps the former in force and says why, once for each candidate.
async fn refuse(
    parts: &Parts,
    tenant: &Tenant,
    loaded: Option<Arc<Loaded>>,
    faults: Vec<String>,
    taken: Taken,
) {
    parts.metrics.taken(&tenant.name, taken);
    let candidate = Candidate {
        digest: loaded.as_ref().map(|loaded| loaded.set.digest().to_owned()),
        found_ms: parts.clock.now_ms(),
        faults,
        waits: taken == Taken::Waiting,
        loaded,
    };
    let text = format!("{}: {}", taken.says(), candidate.faults.join("; "));
    {
        let mut candidates = parts.reloads.candidates.lock();
        let known = candidates.get(&tenant.name);
        if known.is_some_and(|k| k.digest == candidate.digest && k.faults == candidate.faults) {
            return;
        }
        candidates.insert(tenant.name.clone(), candidate);
    }
    parts.metrics.candidate(&tenant.name, true);
    match taken {
        Taken::Waiting => tracing::warn!(tenant = tenant.name, "{text}"),
        _ => tracing::error!(tenant = tenant.name, "{text}"),
    }
    let mut event = entry(parts, tenant, text.chars().take(REASON_CHARS_MAX).collect());
    event.outcome = Some(OutcomeCode::MinorFailure);
    if let Err(error) = tenant.log.record(event).await {
        tracing::error!(%error, "a refused candidate cannot be entered");
    }
}

impl Reloads {
    fn forget(&self, tenant: &Tenant) {
        self.candidates.lock().remove(&tenant.name);
        tenant.metrics.candidate(&tenant.name, false);
    }
}

/// Shows a renewed certificate, if it is one.
async fn show(parts: &Parts, (name, certificate): &Front, config: &Config) {
    let listen = if *name == "admin" { &config.admin.listen } else { &config.listen };
    let Some(files) = listen.tls.clone() else { return };
    let now_s = i64::try_from(parts.clock.now_s()).unwrap_or(i64::MAX);
    let (of, read) = (Arc::clone(certificate), files.clone());
    let next = tokio::task::spawn_blocking(move || of.candidate(&read, now_s))
        .await
        .unwrap_or_else(|e| Err(e.to_string()));
    let next = match next {
        Ok(None) => return,
        Ok(Some(next)) => next,
        Err(fault) => {
            parts.metrics.certificate(name, Taken::Refused);
            tracing::error!(listener = name, "the certificate is not taken up: {fault}");
            return;
        }
    };
    let until = next.valid.map(|(_, until)| until);
    let text = format!(
        "taken up: the certificate of `{name}`, SHA-256 {}, valid until {}",
        next.name,
        until.map(certificate::when).unwrap_or_default()
    );
    let mut event = Event::new(Class::Config, parts.clock.now_ms(), parts.request_id(), String::new());
    event.reason = Some(text.clone());
    if let Err(error) = parts.log.record(event).await {
        parts.metrics.certificate(name, Taken::Refused);
        tracing::error!(%error, listener = name, "the certificate is not taken up: the audit log takes no entry");
        return;
    }
    certificate.show(next);
    parts.metrics.certificate(name, Taken::Switched);
    parts.metrics.certificate_until(name, until);
    tracing::info!(listener = name, "{text}");
}

/// An entry about what is in force in a tenant.
pub(crate) fn entry(parts: &Parts, tenant: &Tenant, what: String) -> Event {
    let mut event = Event::new(Class::Config, parts.clock.now_ms(), parts.request_id(), tenant.name.clone());
    event.reason = Some(what);
    event.policy_digest = Some(tenant.policy_digest.clone());
    event.server = Some(tenant.public_base.clone());
    event
}
