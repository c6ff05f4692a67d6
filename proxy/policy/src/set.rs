//! A policy set: its files, validated strictly, checked for what Cedar alone would let pass, and its digest.

use std::path::Path;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, Policy, PolicyId, Schema, ValidationMode, Validator};
use drape_view::{Fault, Span, Treatments};
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
    /// The file, its text and where the policy stands in it.
    pub(crate) span: Span,
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
            let fault = Fault::new(folder.display().to_string(), "holds no policies").code("empty-set");
            return Err(vec![fault.help("put `*.cedar` files into it")]);
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
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|e| {
            vec![Fault::new("schema.cedarschema", format!("cannot be read: {e}")).code("schema")]
        })?;
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
            let shared: Arc<str> = (*text).into();
            let parsed: cedar_policy::PolicySet = match text.parse() {
                Ok(parsed) => parsed,
                Err(e) => {
                    faults.extend(syntax(name, &shared, &e));
                    continue;
                }
            };
            if let Some(template) = parsed.templates().next() {
                let fault = Fault::new(*name, "holds a template").code("template");
                faults.push(fault.help("write policies without `?principal`, `?resource`").at(source(
                    name,
                    &shared,
                    &template.to_string(),
                    None,
                )));
            }
            for policy in parsed.policies() {
                let Some(id) = policy.annotation("id").map(str::to_owned) else {
                    let line = policy.to_string().lines().next().unwrap_or_default().to_owned();
                    let help = "put `@id(\"a-name\")` before it; the log names policies by it";
                    let fault = Fault::new(*name, format!("a policy has no id: `{line}`")).code("no-id");
                    faults.push(fault.help(help).at(source(name, &shared, &line, None)));
                    continue;
                };
                let span = source(name, &shared, &policy.to_string(), Some(&id));
                let place = format!("{name}:{}", span.line());
                if let Some(other) = policies.iter().find(|p| p.id == id) {
                    // Of two in one file the first is found by its id; this is the other one.
                    let what = format!("the id `{id}` is taken by {}", other.place);
                    faults.push(Fault::new(&place, what).code("id-taken").at(head(&span, &id)));
                    continue;
                }
                let policy = policy.new_id(PolicyId::new(&id));
                let json = match policy.to_json() {
                    Ok(json) => json,
                    Err(e) => {
                        let what = format!("`{id}` cannot be analysed: {e}");
                        faults.push(Fault::new(&place, what).code("not-analysed").at(head(&span, &id)));
                        continue;
                    }
                };
                let reads = known::reads(&json);
                let (reach, told_apart) = (Reach::of(&policy), known::told_apart(&json));
                policies.push(Loaded { policy, id, place, span, json, reads, reach, told_apart });
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
            faults.push(of_cedar(loaded, error, &error.to_string()).code("validation"));
        }
        let mut warnings: Vec<Fault> = Vec::new();
        for warning in result.validation_warnings() {
            let loaded = policies.iter().find(|p| warning.policy_id() == p.policy.id());
            let impossible = matches!(warning, cedar_policy::ValidationWarning::ImpossiblePolicy(_));
            let code = if impossible { "dead-rule" } else { "validation" };
            warnings.push(of_cedar(loaded, warning, &warning.to_string()).code(code));
        }
        for loaded in &policies {
            check::one(loaded, treatments, &mut faults);
        }
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

    /// The first of these words in the text of a policy, else its head.
    pub fn span(&self, id: &str, words: &[&str]) -> Option<Span> {
        self.policies.iter().find(|p| p.id == id).map(|p| p.span_of(words))
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

impl Loaded {
    /// The first of these words in the policy's text, else its head.
    pub(crate) fn span_of(&self, words: &[&str]) -> Span {
        let (text, range) = (self.span.text(), self.span.range());
        let found = words.iter().find_map(|word| {
            let place = range.start + text.get(range.clone())?.find(word)?;
            Some(place..place + word.len())
        });
        match found {
            Some(found) => Span::new(self.span.file(), &Arc::from(text), found),
            None => head(&self.span, &self.id),
        }
    }

    /// A fault of this policy, at the first of these words in it.
    pub(crate) fn fault(&self, code: &'static str, what: String, words: &[&str]) -> Fault {
        Fault::new(&self.place, what).code(code).at(self.span_of(words))
    }
}

/// Where a policy or a line of one stands in its file.
fn source(file: &str, text: &Arc<str>, policy: &str, id: Option<&str>) -> Span {
    let start = text.find(policy).or_else(|| text.find(&format!("@id(\"{}\")", id?)));
    let start = start.unwrap_or(0);
    Span::new(file, text, start..start + policy.len())
}

/// The line of a policy that says whom and what it is about.
fn head(policy: &Span, id: &str) -> Span {
    let (text, range) = (policy.text(), policy.range());
    let own = text.get(range.clone()).unwrap_or_default();
    let after = own.find(&format!("\"{id}\"")).unwrap_or(0);
    let rest = own.get(after..).unwrap_or_default();
    let effect = ["permit", "forbid"].into_iter().filter_map(|word| rest.find(word)).min();
    let start = range.start + after + effect.unwrap_or(0);
    let line = text.get(start..).unwrap_or_default();
    let line = line.split('\n').next().unwrap_or_default().trim_end();
    Span::new(policy.file(), &Arc::from(text), start..start + line.len())
}

/// What Cedar says of a policy, at the place it says it of.
fn of_cedar(loaded: Option<&Loaded>, said: &dyn miette::Diagnostic, text: &str) -> Fault {
    let what = text.split_once(", ").map_or(text, |(_, rest)| rest);
    let Some(loaded) = loaded else { return Fault::new("policies", text) };
    let fault = Fault::new(&loaded.place, format!("`{}`: {what}", loaded.id));
    let fault = match said.help() {
        Some(help) => fault.help(help.to_string()),
        None => fault,
    };
    match said.labels().and_then(|mut labels| labels.next()) {
        Some(label) => {
            let text = Arc::from(loaded.span.text());
            fault.at(Span::new(loaded.span.file(), &text, label.offset()..label.offset() + label.len()))
        }
        None => fault.at(head(&loaded.span, &loaded.id)),
    }
}

/// Syntax faults with their lines and the words of the parser.
fn syntax(name: &str, text: &Arc<str>, errors: &cedar_policy::ParseErrors) -> Vec<Fault> {
    use miette::Diagnostic as _;
    use std::error::Error as _;
    let one = |error: &cedar_policy::ParseError| {
        let mut what = error.to_string();
        if let Some(cause) = error.source() {
            what = format!("{what}: {cause}");
        }
        let label = error.labels().and_then(|mut labels| labels.next());
        let span = label.as_ref().map(|l| Span::new(name, text, l.offset()..l.offset() + l.len().max(1)));
        let place = span.as_ref().map_or_else(|| name.to_owned(), |s| format!("{name}:{}", s.line()));
        let expected = label.as_ref().and_then(|l| l.label()).map(str::to_owned);
        let help = error.help().map(|h| h.to_string()).or(expected);
        let help = help.unwrap_or_else(|| "the language is described at docs.cedarpolicy.com".to_owned());
        let fault = Fault::new(place, what).code("syntax").help(help);
        match span {
            Some(span) => fault.at(span),
            None => fault,
        }
    };
    errors.iter().map(one).collect()
}
