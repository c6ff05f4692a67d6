//! `drape audit`: verifies the log and answers who saw a patient, why, and under which policy.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use drape_audit::verify::{Check, remember};
use drape_audit::{Class, Event, EventSecret, Exit, NoteSigner, Query, Reader, VerifierKey, verify};

use super::{Failure, say};
use crate::config::Config;
use crate::logs;
use crate::officer::when;
use crate::parts::root_key;
use crate::workbench::story::reason;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Check signature, tiles, entries, chains and events. Exit status: 0 sound, 1 tampered with, 2 incomplete,
    /// 3 unreadable.
    Verify {
        /// The configuration; with it events are opened too.
        #[arg(short, long, default_value = "drape.yaml", conflicts_with_all = ["directory", "key"])]
        config: PathBuf,
        /// Instead of a configuration: the log's directory.
        #[arg(long, requires = "key")]
        directory: Option<PathBuf>,
        /// Instead of a configuration: the log's public key, `name+hash+base64`.
        #[arg(long, requires = "directory")]
        key: Option<String>,
        /// Only the log that this tenant writes to; without it every log of the configuration.
        #[arg(long, conflicts_with_all = ["directory", "key"])]
        tenant: Option<String>,
        /// A file that keeps the last verified checkpoint: the log must continue it, and a sound one is kept there.
        /// It belongs on another machine than the log.
        #[arg(long)]
        remember: Option<PathBuf>,
    },
    /// Who saw this patient, why, and under which policy; the newest first.
    Search {
        /// The configuration.
        #[arg(short, long, default_value = "drape.yaml")]
        config: PathBuf,
        /// `Patient/id`, as the FHIR server names it.
        #[arg(long)]
        patient: Option<String>,
        /// The tenant; may be left out where there is only one.
        #[arg(long)]
        tenant: Option<String>,
        /// Only of this subject (`sub`).
        #[arg(long)]
        subject: Option<String>,
        /// At most so many entries.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// As FHIR AuditEvents, one a line.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a verb; the exit status of `verify` is its result.
pub(super) fn run(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Verify { config, directory, key, tenant, remember } => {
            // 1 is kept for a log that was tampered with: a script must not take a typing error for that.
            let verified = match (directory, key) {
                (Some(directory), Some(key)) => VerifierKey::parse(&key)
                    .map_err(Failure::new)
                    .and_then(|key| check(&directory, &key, None, remember.as_deref())),
                _ => verify_by(&config, tenant.as_deref(), remember.as_deref()),
            };
            verified
                .map(|exit| ExitCode::from(exit.code()))
                .map_err(|failure| failure.code(drape_audit::Exit::Unreadable.code()))
        }
        Verb::Search { config, patient, tenant, subject, limit, json } => {
            search(&Config::load(&config)?, patient.as_deref(), tenant, subject, limit, json)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Every log of the configuration, or the one that a tenant writes to; the worst of them is the result.
fn verify_by(config: &Path, tenant: Option<&str>, remembered: Option<&Path>) -> Result<Exit, Failure> {
    let config = Config::load(config)?;
    let chosen = match tenant {
        Some(name) if config.tenants.iter().any(|t| t.name == name) => vec![logs::of(&config, name)],
        Some(name) => return Err(Failure::new(format!("`{name}` is no tenant of this configuration"))),
        None => logs::all(&config),
    };
    if remembered.is_some() && chosen.len() > 1 {
        let help = "say `--tenant NAME`, and keep a file for each";
        return Err(Failure::new(format!(
            "there are several logs, and one file remembers one of them\n  help: {help}"
        )));
    }
    let root = root_key(&config)?;
    let mut worst = Exit::Ok;
    for (of, audit) in &chosen {
        let signer = NoteSigner::from_seed_file(&audit.origin, &audit.signing_key_file)?;
        let secret = EventSecret::new(logs::secret(&config, *of, &root)?);
        if chosen.len() > 1 {
            say(format!("the log `{}`:", audit.origin));
        }
        let exit = check(&audit.directory, signer.verifier(), Some(&secret), remembered)?;
        let severity = |exit: Exit| match exit {
            Exit::Ok => 0,
            Exit::Incomplete => 1,
            Exit::Unreadable => 2,
            Exit::Tampered => 3,
        };
        if severity(exit) > severity(worst) {
            worst = exit;
        }
    }
    Ok(worst)
}

fn check(
    directory: &Path,
    key: &VerifierKey,
    secret: Option<&EventSecret>,
    remembered: Option<&Path>,
) -> Result<Exit, Failure> {
    let report = verify(&Check { directory, key, secret, remembered });
    say(&report);
    let exit = report.exit();
    if exit == Exit::Ok
        && let (Some(path), Some(note)) = (remembered, &report.note)
    {
        remember(path, note)
            .map_err(|e| Failure::new(format!("cannot keep the checkpoint in `{}`: {e}", path.display())))?;
    }
    Ok(exit)
}

fn search(
    config: &Config,
    patient: Option<&str>,
    tenant: Option<String>,
    subject: Option<String>,
    limit: usize,
    json: bool,
) -> Result<(), Failure> {
    let tenant = match (tenant, &config.tenants[..]) {
        (Some(name), tenants) if tenants.iter().any(|t| t.name == name) => name,
        (Some(name), _) => return Err(Failure::new(format!("`{name}` is no tenant of this configuration"))),
        (None, [only]) => only.name.clone(),
        (None, _) => return Err(Failure::new("there are several tenants; say `--tenant NAME`")),
    };
    let id = match patient {
        None => None,
        Some(text) => match text.strip_prefix("Patient/") {
            Some(id) if !id.is_empty() && !id.contains('/') => Some(id.to_owned()),
            _ => return Err(Failure::new(format!("`{text}` names no patient; write `Patient/id`"))),
        },
    };
    let zone =
        config.tenants.iter().find(|t| t.name == tenant).map(|t| t.time_zone.as_str()).unwrap_or("UTC");
    let zone = jiff::tz::TimeZone::get(zone)?;
    let (of, audit) = logs::of(config, &tenant);
    let secret = EventSecret::new(logs::secret(config, of, &root_key(config)?)?);
    let reader = Reader::new(&audit.directory, secret);
    let query = Query {
        patient: id.map(|id| (tenant.clone(), id)),
        tenant: Some(tenant.clone()),
        subject,
        limit,
        ..Query::default()
    };
    let found = reader.search(&query)?;
    let mut shown = 0;
    for opened in &found {
        let Some(event) = opened.event() else {
            say(format!(
                "{:>7}  (erased, or cannot be opened; `drape audit verify` says which)",
                opened.index
            ));
            continue;
        };
        if event.tenant != tenant || event.class == Class::Heartbeat {
            continue;
        }
        shown += 1;
        if json {
            say(event.to_json());
        } else {
            say(line(opened.index, event, &zone));
        }
    }
    if shown == 0 && !json {
        say("no entry fits");
    }
    Ok(())
}

/// One entry, readable.
pub(crate) fn line(index: u64, event: &Event, zone: &jiff::tz::TimeZone) -> String {
    let who = match &event.subject {
        Some(s) => {
            let roles =
                if s.roles.is_empty() { String::new() } else { format!(" as {}", s.roles.join(", ")) };
            format!("{}{roles}", s.name.as_deref().unwrap_or(&s.id))
        }
        None => "-".to_owned(),
    };
    let mut parts = vec![
        format!("{index:>7}  {}  {:<8} {who}", when(event.time_ms, zone), event.class.word()),
        format!("for {}", event.purpose.as_deref().unwrap_or("no stated purpose")),
    ];
    let what = [event.interaction.as_deref(), event.resource_type.as_deref()];
    let what: Vec<&str> = what.into_iter().flatten().collect();
    if !what.is_empty() {
        parts.push(what.join(" "));
    }
    if !event.records.is_empty() {
        let more = event.records.len().saturating_sub(3);
        let named = event.records.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        parts.push(if more > 0 { format!("{named} and {more} more") } else { named });
    }
    if !event.policies.is_empty() {
        parts.push(format!("by {}", event.policies.join(", ")));
    }
    parts.extend(event.determined.iter().map(|one| {
        let total: u64 = one.categories.values().sum();
        format!("{} {total} {}", one.treatment, reason(one, &one.policies.join(", ")))
    }));
    if let Some(status) = event.status {
        parts.push(status.to_string());
    }
    if let Some(lacks) = &event.trace.lacks {
        parts.push(format!("lacks {lacks}"));
    }
    if let Some(reason) = &event.reason {
        parts.push(reason.clone());
    }
    if !event.request.is_empty() && event.subject.is_some() {
        parts.push(format!("decision {}", event.request));
    }
    parts.join(" · ")
}
