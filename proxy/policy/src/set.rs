//! A policy set: its files, validated strictly, checked for what Cedar alone would let pass, and its digest.

use std::path::Path;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, Schema, ValidationMode, Validator};
use drape_view::{Fault, Treatments};
use sha2::{Digest as _, Sha256};

use crate::check::{self, Reach};
use crate::entities;
use crate::known::{self, Reads};
use crate::shipped;

/// The schema that ships with Drape.
pub(crate) const SCHEMA: &str = include_str!("../../../policies/schema.cedarschema");

/// A loaded set. One that exists is valid and passed every check.
#[derive(Debug)]
pub struct PolicySet {
    pub(crate) policies: Vec<Loaded>,
    pub(crate) schema: Schema,
    pub(crate) treatments: Arc<Treatments>,
    digest: String,
    warnings: Vec<Fault>,
}

/// One policy with what is known of it beforehand.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) id: String,
    pub(crate) place: String,
    pub(crate) json: serde_json::Value,
    pub(crate) reads: Reads,
    pub(crate) reach: Reach,
    pub(crate) told_apart: Option<Vec<u64>>,
}

impl PolicySet {
    /// A shipped set. `extra` are the other texts that decide (categories, treatments, labels, overrides); they are
    /// part of the digest.
    pub fn shipped(name: &str, treatments: &Arc<Treatments>, extra: &[&[u8]]) -> Result<Self, Vec<Fault>> {
        match shipped::find(name) {
            Some(set) => Self::read(&set.policies().collect::<Vec<_>>(), treatments, extra),
            None => Err(vec![Fault::new(name, "is no shipped policy set").help(shipped::names())]),
        }
    }

    /// The `*.cedar` files of a folder.
    pub fn load(folder: &Path, treatments: &Arc<Treatments>, extra: &[&[u8]]) -> Result<Self, Vec<Fault>> {
        let fault = |e: std::io::Error| {
            vec![Fault::new(folder.display().to_string(), format!("cannot be read: {e}"))]
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fault)? {
            let path = entry.map_err(fault)?.path();
            if path.extension().is_some_and(|e| e == "cedar") {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push((name, std::fs::read_to_string(&path).map_err(fault)?));
            }
        }
        if files.is_empty() {
            return Err(vec![
                Fault::new(folder.display().to_string(), "holds no policies")
                    .help("put `*.cedar` files into it"),
            ]);
        }
        files.sort();
        let files: Vec<(&str, &str)> = files.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        Self::read(&files, treatments, extra)
    }

    /// From texts. Every fault is reported at once, each with its file and line.
    pub fn read(
        files: &[(&str, &str)],
        treatments: &Arc<Treatments>,
        extra: &[&[u8]],
    ) -> Result<Self, Vec<Fault>> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA)
            .map_err(|e| vec![Fault::new("schema.cedarschema", format!("cannot be read: {e}"))])?;
        let mut faults = Vec::new();
        let mut policies: Vec<Loaded> = Vec::new();
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        };
        add(SCHEMA.as_bytes());
        extra.iter().for_each(|e| add(e));
        for (name, text) in files {
            add(name.as_bytes());
            add(text.as_bytes());
            let parsed: cedar_policy::PolicySet = match text.parse() {
                Ok(parsed) => parsed,
                Err(e) => {
                    faults.push(syntax(name, text, &e));
                    continue;
                }
            };
            if parsed.templates().next().is_some() {
                faults.push(
                    Fault::new(*name, "holds a template")
                        .help("write policies without `?principal`, `?resource`"),
                );
            }
            for policy in parsed.policies() {
                let Some(id) = policy.annotation("id").map(str::to_owned) else {
                    let line = policy.to_string().lines().next().unwrap_or_default().to_owned();
                    let help = "put `@id(\"a-name\")` before it; the log names policies by it";
                    faults.push(Fault::new(*name, format!("a policy has no id: `{line}`")).help(help));
                    continue;
                };
                let place = format!("{name}:{}", line_of(text, &id));
                if let Some(other) = policies.iter().find(|p| p.id == id) {
                    faults.push(Fault::new(&place, format!("the id `{id}` is taken by {}", other.place)));
                    continue;
                }
                let policy = policy.new_id(PolicyId::new(&id));
                let json = match policy.to_json() {
                    Ok(json) => json,
                    Err(e) => {
                        faults.push(Fault::new(&place, format!("`{id}` cannot be analysed: {e}")));
                        continue;
                    }
                };
                let reads = known::reads(&json);
                let (reach, told_apart) = (Reach::of(&policy), known::told_apart(&json));
                policies.push(Loaded { policy, id, place, json, reads, reach, told_apart });
            }
        }
        let mut all = cedar_policy::PolicySet::new();
        for loaded in &policies {
            if let Err(e) = all.add(loaded.policy.clone()) {
                faults.push(Fault::new(&loaded.place, e.to_string()));
            }
        }
        let result = Validator::new(schema.clone()).validate(&all, ValidationMode::Strict);
        for error in result.validation_errors() {
            let loaded = policies.iter().find(|p| error.policy_id() == p.policy.id());
            let place = loaded.map_or_else(|| "policies".to_owned(), |p| p.place.clone());
            let text = error.to_string();
            let what = text.split_once(", ").map_or(text.as_str(), |(_, rest)| rest);
            let id = loaded.map(|p| p.id.as_str()).unwrap_or_default();
            faults.push(Fault::new(place, format!("`{id}`: {what}")));
        }
        let mut warnings: Vec<Fault> =
            result.validation_warnings().map(|w| Fault::new("policies", w.to_string())).collect();
        for loaded in &policies {
            check::one(loaded, treatments, &mut faults, &mut warnings);
        }
        check::all(&policies, &mut warnings);
        if let Err(e) = entities::fixed(&schema) {
            faults.push(Fault::new(
                "schema.cedarschema",
                format!("does not hold the catalogue's entities: {e}"),
            ));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let digest = digest.finalize().iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { policies, schema, treatments: Arc::clone(treatments), digest, warnings })
    }

    /// SHA-256 over everything that decides, in hex. Each entry of the log names it.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What is allowed but worth a look.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies that permit `action` and say so by its name: where each stands, and its id.
    pub fn permitting(&self, action: &str) -> impl Iterator<Item = (&str, &str)> {
        let named = move |p: &&Loaded| {
            p.policy.effect() == Effect::Permit
                && matches!(p.policy.action_constraint(), ActionConstraint::In(_) | ActionConstraint::Eq(_))
                && p.reach.covers(action, None)
        };
        self.policies.iter().filter(named).map(|p| (p.place.as_str(), p.id.as_str()))
    }

    /// All of them: id, and where it stands.
    pub fn ids(&self) -> impl Iterator<Item = (&str, &str)> {
        self.policies.iter().map(|p| (p.id.as_str(), p.place.as_str()))
    }

    /// Where a policy stands, `file:line`.
    pub fn place(&self, id: &str) -> Option<&str> {
        self.policies.iter().find(|p| p.id == id).map(|p| p.place.as_str())
    }
}

fn line_of(text: &str, id: &str) -> usize {
    let needle = format!("\"{id}\"");
    text.lines().position(|l| l.contains("@id") && l.contains(&needle)).map_or(1, |l| l + 1)
}

/// A syntax fault with its line and the words of the parser.
fn syntax(name: &str, text: &str, error: &cedar_policy::ParseErrors) -> Fault {
    use std::error::Error as _;
    let mut what = error.to_string();
    if let Some(cause) = error.source() {
        what = format!("{what}: {cause}");
    }
    let line = error.iter().find_map(|e| {
        let labels = miette_offset(e)?;
        Some(text[..labels.min(text.len())].matches('\n').count() + 1)
    });
    let place = line.map_or_else(|| name.to_owned(), |l| format!("{name}:{l}"));
    Fault::new(place, what).help("the language is described at docs.cedarpolicy.com")
}

fn miette_offset(error: &cedar_policy::ParseError) -> Option<usize> {
    use miette::Diagnostic as _;
    error.labels()?.next().map(|l| l.offset())
}
