//! The audit logs of a process: the common one, and one of its own for each tenant that is to share none. No entry
//! stands in two.

use std::path::PathBuf;
use std::sync::Arc;

use drape_audit::{EventSecret, Log, NoteSigner, Options, VerifierKey, os_randomness};
use drape_keys::secret::Secret;
use sha2::Digest as _;

use crate::clock::Clock;
use crate::config::{Audit, Config};
use crate::parts::{StartError, make_dir};

/// One open log and what is needed to read it.
#[derive(Clone, Debug)]
pub struct Book {
    /// The tenant that alone writes here; `None` for the common log.
    pub tenant: Option<String>,
    /// The log.
    pub log: Arc<Log>,
    /// Verifies its checkpoints.
    pub key: VerifierKey,
    /// Opens its events.
    pub secret: EventSecret,
}

/// Every log of a configuration, the common one first.
pub fn all(config: &Config) -> Vec<(Option<&str>, &Audit)> {
    let own = config.tenants.iter().filter_map(|t| Some((Some(t.name.as_str()), t.audit.as_ref()?)));
    std::iter::once((None, &config.audit)).chain(own).collect()
}

/// The log that a tenant writes to.
pub fn of<'a>(config: &'a Config, tenant: &str) -> (Option<&'a str>, &'a Audit) {
    let own = all(config).into_iter().find(|(of, _)| *of == Some(tenant));
    own.unwrap_or((None, &config.audit))
}

impl Book {
    /// Opens one; it is there already, or that is a fault.
    pub(crate) fn open(
        config: &Config,
        (tenant, audit): (Option<&str>, &Audit),
        root: &Secret,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let secret = secret(config, tenant, root)?;
        let options = options(audit, secret, clock)?;
        let key = options.signer.verifier().clone();
        let log = Log::open(options).map_err(|e| {
            StartError::new(format!("cannot open the audit log: {e}")).help("`drape init` makes a new one")
        })?;
        Ok(Self {
            tenant: tenant.map(str::to_owned),
            log: Arc::new(log),
            key,
            secret: EventSecret::new(secret),
        })
    }
}

fn options(audit: &Audit, secret: [u8; 32], clock: &Clock) -> Result<Options, StartError> {
    let signer = NoteSigner::from_seed_file(&audit.origin, &audit.signing_key_file).map_err(|e| {
        StartError::new(format!("cannot use the log's signing key: {e}")).help("`drape init` makes one")
    })?;
    // One replica writes one log: its name is the log's.
    let name = sha2::Sha256::digest(audit.origin.as_bytes());
    let mut replica = [0; 8];
    replica.copy_from_slice(&name[..8]);
    let mut options = Options::new(
        audit.directory.clone(),
        Arc::new(signer),
        EventSecret::new(secret),
        replica,
        clock.function(),
        os_randomness(),
    );
    options.checkpoint_interval = audit.checkpoint_interval;
    options.heartbeat_interval = audit.heartbeat_interval;
    Ok(options)
}

/// Where the wrapped secret of a log lies, and the purpose that it is wrapped for.
fn key_file(config: &Config, tenant: Option<&str>) -> (PathBuf, String) {
    match tenant {
        None => (config.keys.directory.join("log.key"), "log".to_owned()),
        Some(name) => (config.keys.directory.join(format!("log-{name}.key")), format!("log of {name}")),
    }
}

/// The secret under which events are encrypted. It lies beside the key table, so that `drape audit` can read the log
/// of a running proxy.
pub fn secret(config: &Config, tenant: Option<&str>, root: &Secret) -> Result<[u8; 32], StartError> {
    let (file, purpose) = key_file(config, tenant);
    let secret = drape_keys::wrapped::open(&file, root, &purpose).map_err(|e| {
        StartError::new(format!("cannot open the log's key: {e}")).help("`drape init` makes one")
    })?;
    Ok(*secret.expose())
}

/// Makes the key that a log's checkpoints are signed with, where there is none; tells what was made.
pub(crate) fn make_signing_key(audit: &Audit, made: &mut Vec<String>) -> Result<(), StartError> {
    if let Some(parent) = audit.signing_key_file.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(parent)?;
    }
    if !audit.signing_key_file.exists() {
        NoteSigner::generate(&audit.origin, &audit.signing_key_file, &os_randomness())
            .map_err(|e| StartError::new(format!("cannot make the signing key: {e}")))?;
        made.push(format!("signing key {}", audit.signing_key_file.display()));
    }
    Ok(())
}

/// Makes a log's secret, where there is none.
pub(crate) fn make_secret(
    config: &Config,
    tenant: Option<&str>,
    root: &Secret,
    made: &mut Vec<String>,
) -> Result<(), StartError> {
    let (file, purpose) = key_file(config, tenant);
    if !file.exists() {
        let what = |e| StartError::new(format!("cannot make the log's key: {e}"));
        drape_keys::wrapped::create(&file, root, &purpose).map_err(what)?;
        made.push(format!("log key {}", file.display()));
    }
    Ok(())
}

/// Makes an empty log, where there is none.
pub(crate) fn make(
    audit: &Audit,
    secret: [u8; 32],
    clock: &Clock,
    made: &mut Vec<String>,
) -> Result<(), StartError> {
    if !audit.directory.join("checkpoint").exists() {
        make_dir(&audit.directory)?;
        let options = options(audit, secret, clock)?;
        Log::create(&options).map_err(|e| StartError::new(format!("cannot make the log: {e}")))?;
        made.push(format!("audit log {}", audit.directory.display()));
    }
    Ok(())
}
