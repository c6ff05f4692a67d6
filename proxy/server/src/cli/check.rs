//! `drape check`: configuration, files and policies, every fault at once, and what is allowed but probably not meant.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use drape_view::Fault;
use serde_json::{Value, json};

use super::report::{counted, document, told};
use super::{Failure, prepare, runtime, say, source};
use crate::config::{Config, Policies, PolicySource, Tenant, Upstream};
use crate::parts::load_policies;
use crate::workbench::examine::{Asked, Finding, Severity, examine};
use crate::{discovery, logs};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 nothing stands in the way, 1 there are faults (with --deny-warnings: or warnings), \
                        2 the command line is wrong.\n\nThe codes in brackets never change their meaning; \
                        docs/policies.md lists them."
)]
pub(super) struct Arguments {
    /// The configuration; all its tenants are checked.
    #[arg(short, long, value_name = "FILE", default_value = "drape.yaml", conflicts_with = "policies")]
    config: PathBuf,
    /// Instead of a configuration: a shipped set by its name, or a folder of `*.cedar` files.
    #[arg(short, long, value_name = "SET|FOLDER")]
    policies: Option<String>,
    /// Tell which of these resource types no policy reaches: a file with a CapabilityStatement, a JSON list, or one type a
    /// line.
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
    /// The same, of the types that the FHIR server itself says it has (`/metadata`).
    #[arg(long, conflicts_with_all = ["policies", "seen"])]
    upstream: bool,
    /// How to tell what was found.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Let warnings count as faults.
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: findings on standard error, what was checked on standard output.
    Text,
    /// For machines: one document on standard output.
    Json,
}

/// All that was found, with the tenant it was found in.
#[derive(Default)]
struct Report {
    findings: Vec<(Option<String>, Finding)>,
    sets: Vec<Value>,
    lines: Vec<String>,
}

/// Checks; tells what it found.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    let served = arguments.seen.as_deref().map(seen).transpose()?;
    match &arguments.policies {
        Some(name) => {
            let policies = Policies::of(source::of_name(name)?);
            report.set(None, &policies, &Asked { served: served.as_deref(), ..Asked::default() });
        }
        None => report.configuration(arguments, served.as_deref())?,
    }
    Ok(report.tell(arguments))
}

impl Report {
    fn add(&mut self, tenant: Option<&str>, severity: Severity, fault: Fault) {
        self.findings.push((tenant.map(str::to_owned), Finding { severity, fault }));
    }

    fn configuration(&mut self, arguments: &Arguments, served: Option<&[String]>) -> Result<(), Failure> {
        let (config, faults) = match Config::load_whole(&arguments.config) {
            Ok(read) => read,
            Err(error) => match error.fault() {
                Some(fault) => {
                    self.add(None, Severity::Fault, fault);
                    return Ok(());
                }
                None => return Err(error.into()),
            },
        };
        let sound = faults.is_empty();
        for fault in faults.into_iter().chain(missing(&config)) {
            self.add(None, Severity::Fault, fault);
        }
        if sound {
            self.credentials(&config);
        }
        for tenant in &config.tenants {
            // The reader has said that no set is named.
            if matches!(&tenant.policies.source, PolicySource::Shipped(name) if drape_policy::shipped::find(name).is_none())
            {
                continue;
            }
            let live = if arguments.upstream { self.live(tenant, &config) } else { None };
            let by_token = tenant.issuers.iter().flat_map(|i| &i.purposes);
            let by_certificate = tenant.certificates.iter().flat_map(|c| &c.caller.purposes);
            let purposes = by_token.chain(by_certificate).cloned().collect();
            let asked = Asked {
                upstream: Some(&tenant.upstream),
                purposes: Some(purposes),
                officer_role: Some(&config.admin.officer_role),
                served: live.as_deref().or(served),
            };
            self.set(Some(&tenant.name), &tenant.policies, &asked);
            self.shadow(tenant);
        }
        Ok(())
    }

    /// Credentials for the servers must be there before the start.
    fn credentials(&mut self, config: &Config) {
        for tenant in &config.tenants {
            if let Err(error) =
                crate::upstream::Upstream::new(&tenant.upstream, config.limits.connect_timeout)
            {
                let path = format!("tenant `{}`: the credential for its FHIR server", tenant.name);
                let fault = Fault::new(path, error.to_string()).code("no-credential");
                self.add(Some(&tenant.name), Severity::Fault, fault);
            }
        }
    }

    fn set(&mut self, tenant: Option<&str>, policies: &Policies, asked: &Asked<'_>) {
        let name = match &policies.source {
            PolicySource::Shipped(name) => format!("the shipped set `{name}`"),
            PolicySource::Directory(folder) => format!("`{}`", folder.display()),
        };
        let (found, loaded) = examine(policies, asked);
        for finding in found {
            // Tenants that share a file share its faults.
            if !self.findings.iter().any(|(_, f)| *f == finding) {
                self.findings.push((tenant.map(str::to_owned), finding));
            }
        }
        let Some(loaded) = loaded else { return };
        let (redaction, digest, count) = (loaded.redaction.name(), loaded.set.digest(), loaded.set.len());
        let who = tenant.map(|t| format!("tenant `{t}`: ")).unwrap_or_default();
        self.lines.push(format!("{who}{name}, {count} policies, redaction {redaction}, digest {digest}"));
        let (kind, source) = match &policies.source {
            PolicySource::Shipped(name) => ("set", name.clone()),
            PolicySource::Directory(folder) => ("directory", folder.display().to_string()),
        };
        self.sets.push(json!({
            "tenant": tenant,
            kind: source,
            "policies": count,
            "redaction": redaction,
            "digest": digest,
        }));
    }

    /// The candidate beside the tenant's policies: without it there is no start.
    fn shadow(&mut self, tenant: &Tenant) {
        let Some(policies) = tenant.policies.in_shadow() else { return };
        let who = format!("tenant `{}`: in the shadow", tenant.name);
        match load_policies(&policies, Some(&tenant.upstream)) {
            Ok(shadow) => {
                self.lines.push(format!("{who}: {}, digest {}", shadow.source, shadow.set.digest()));
            }
            Err(faults) => {
                for mut fault in faults {
                    fault.path = format!("{who}: {}", fault.path);
                    self.add(Some(&tenant.name), Severity::Fault, fault);
                }
            }
        }
    }

    /// The types that the tenant's server says it has.
    fn live(&mut self, tenant: &Tenant, config: &Config) -> Option<Vec<String>> {
        match ask(&tenant.upstream, config) {
            Ok(types) => Some(types),
            Err(what) => {
                let path = format!("tenant `{}` upstream", tenant.name);
                let fault =
                    Fault::new(path, what).code("no-answer").help("`--seen FILE` does without the server");
                self.add(Some(&tenant.name), Severity::Fault, fault);
                None
            }
        }
    }

    fn tell(mut self, arguments: &Arguments) -> ExitCode {
        self.findings.sort_by_key(|(_, f)| f.severity);
        let stops = |f: &Finding| {
            f.severity == Severity::Fault || arguments.deny_warnings && f.severity == Severity::Warning
        };
        let usable = !self.findings.iter().any(|(_, f)| stops(f));
        match arguments.format {
            Format::Json => {
                let found: Vec<Value> =
                    self.findings.iter().map(|(t, f)| document(f, t.as_deref())).collect();
                say(format!("{:#}", json!({ "usable": usable, "faults": found, "tenants": self.sets })));
            }
            Format::Text => self.tell_people(arguments.policies.is_none(), usable),
        }
        ExitCode::from(u8::from(!usable))
    }

    fn tell_people(&self, configuration: bool, usable: bool) {
        self.lines.iter().for_each(say);
        let several = self.sets.len() > 1;
        for (tenant, finding) in &self.findings {
            let mut fault = finding.fault.clone();
            if let Some(tenant) = tenant
                .as_ref()
                .filter(|_| several && fault.span.is_none() && !fault.path.starts_with("tenant `"))
            {
                fault.path = format!("tenant `{tenant}`: {}", fault.path);
            }
            super::tell(told(finding.severity, &fault) + "\n");
        }
        let all: Vec<Finding> = self.findings.iter().map(|(_, f)| f.clone()).collect();
        let count = counted(&all);
        let what = if configuration { "the configuration" } else { "the set" };
        match (usable, count.is_empty()) {
            (true, true) => say(format!("{what} can be used")),
            (true, false) => say(format!("{what} can be used: {count}")),
            (false, _) => super::tell(format!("drape: {what} cannot be used: {count}")),
        }
    }
}

/// Files that must be there before the first start.
fn missing(config: &Config) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut missing = |file: &Path, what: &str, help: &str| {
        if !file.exists() {
            let fault = Fault::new(what, format!("`{}` does not exist", file.display()));
            faults.push(fault.code("no-file").help(help));
        }
    };
    // A path that is nothing is told already.
    let named = |file: &Path| file.file_name().is_some();
    if named(&config.keys.root_file) {
        missing(&config.keys.root_file, "the root key", "`drape init` makes one");
    }
    for (_, audit) in logs::all(config) {
        if named(&audit.signing_key_file) {
            missing(&audit.signing_key_file, "the log's signing key", "`drape init` makes one");
        }
        if !named(&audit.directory) {
            continue;
        }
        let checkpoint = audit.directory.join("checkpoint");
        missing(&checkpoint, "the log's checkpoint", "`drape init` makes an empty log");
    }
    for tls in [&config.listen.tls, &config.admin.listen.tls].into_iter().flatten() {
        missing(&tls.certificate_file, "the certificate", "PEM, leaf first");
        missing(&tls.key_file, "the private key", "PEM");
    }
    faults
}

/// The types that a file names.
fn seen(path: &Path) -> Result<Vec<String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::new(format!("cannot read `{}`: {e}", path.display())))?;
    let definitions = drape_fhir::definitions::r4();
    let listed: Vec<String> = match serde_json::from_str::<Value>(&text) {
        // A server may have types of other versions; those are not R4's and never reached.
        Ok(statement @ Value::Object(_)) => {
            let types = discovery::types_of(&statement);
            if types.is_empty() {
                return Err(Failure::new(format!(
                    "`{}` names no resource types\n  help: a CapabilityStatement names them under `rest[0].resource`",
                    path.display()
                )));
            }
            return Ok(types);
        }
        Ok(Value::Array(items)) => {
            items.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect()
        }
        _ => text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
            .map(str::to_owned)
            .collect(),
    };
    if let Some(wrong) = listed.iter().find(|name| !definitions.is_resource(name)) {
        let help = match drape_view::fault::near(wrong, definitions.resource_types()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one FHIR R4 type a line, a JSON list of them, or a CapabilityStatement".to_owned(),
        };
        return Err(Failure::new(format!(
            "`{}`: `{wrong}` is no resource type\n  help: {help}",
            path.display()
        )));
    }
    Ok(listed)
}

/// Asks a server what it has.
fn ask(upstream: &Upstream, config: &Config) -> Result<Vec<String>, String> {
    prepare();
    let upstream =
        crate::upstream::Upstream::new(upstream, config.limits.connect_timeout).map_err(|e| e.to_string())?;
    let runtime = runtime().map_err(|_| "cannot be asked".to_owned())?;
    let statement = runtime.block_on(discovery::statement(&upstream, config.limits.upstream_timeout))?;
    Ok(discovery::types_of(&statement))
}
