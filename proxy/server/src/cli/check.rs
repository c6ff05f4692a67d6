//! `drape check`: configuration, files and policies, every fault at once.

use std::path::Path;

use drape_view::Redaction;

use super::{Failure, say};
use crate::config::{Config, PolicySource};
use crate::logs;
use crate::parts::load_policies;
use crate::upstream::Upstream;

/// Checks; prints what it found.
pub(super) fn run(path: &Path) -> Result<(), Failure> {
    let config = Config::load(path)?;
    let mut faults = Vec::new();
    let mut missing = |file: &Path, what: &str, help: &str| {
        if !file.exists() {
            faults.push(format!("{what} `{}` does not exist\n    help: {help}", file.display()));
        }
    };
    missing(&config.keys.root_file, "the root key", "`drape init` makes one");
    for (_, audit) in logs::all(&config) {
        missing(&audit.signing_key_file, "the log's signing key", "`drape init` makes one");
        let checkpoint = audit.directory.join("checkpoint");
        missing(&checkpoint, "the log's checkpoint", "`drape init` makes an empty log");
    }
    for tls in [&config.listen.tls, &config.admin.listen.tls].into_iter().flatten() {
        missing(&tls.certificate_file, "the certificate", "PEM, leaf first");
        missing(&tls.key_file, "the private key", "PEM");
    }
    for tenant in &config.tenants {
        if let Err(error) = Upstream::new(&tenant.upstream, config.limits.connect_timeout) {
            faults.push(format!("tenant `{}`: the credential for its FHIR server: {error}", tenant.name));
        }
    }
    let mut lines = Vec::new();
    for tenant in &config.tenants {
        let source = match &tenant.policies.source {
            PolicySource::Shipped(name) => format!("the shipped set `{name}`"),
            PolicySource::Directory(folder) => format!("`{}`", folder.display()),
        };
        match load_policies(&tenant.policies, Some(&tenant.upstream)) {
            Err(found) => {
                faults.extend(
                    found.iter().map(|f| {
                        format!("tenant `{}`: {}", tenant.name, f.to_string().replace('\n', "\n  "))
                    }),
                );
            }
            Ok(loaded) => {
                match tenant.policies.in_shadow().map(|p| load_policies(&p, Some(&tenant.upstream))) {
                    None => {}
                    Some(Ok(shadow)) => lines.push(format!(
                        "tenant `{}`: in the shadow {}, digest {}",
                        tenant.name,
                        shadow.source,
                        shadow.set.digest()
                    )),
                    Some(Err(found)) => faults.extend(found.iter().map(|f| {
                        let fault = f.to_string().replace('\n', "\n  ");
                        format!("tenant `{}`: in the shadow: {fault}", tenant.name)
                    })),
                }
                let (redaction, digest) = (loaded.redaction.name(), loaded.set.digest());
                lines.push(format!(
                    "tenant `{}`: {source}, redaction {redaction}, digest {digest}",
                    tenant.name
                ));
                if loaded.redaction == Redaction::Silent {
                    lines.extend(loaded.set.permitting("encrypt").map(|(place, id)| {
                        format!("  warning: {place}: `{id}` permits to encrypt, which a silent view cannot show: it is left out")
                    }));
                }
                lines.extend(loaded.set.warnings().iter().map(|w| format!("  warning: {w}")));
            }
        }
    }
    lines.iter().for_each(say);
    if faults.is_empty() {
        say("the configuration can be used");
        return Ok(());
    }
    let list: Vec<String> = faults.iter().map(|f| format!("  {f}")).collect();
    Err(Failure::new(format!("{} fault(s):\n{}", list.len(), list.join("\n"))))
}
