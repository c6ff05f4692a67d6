//! What the tests of whole views share: the persons of the hospital set, and a shield fed in pieces.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use drape_demo::Persona;
use drape_fhir::json::{Kind, Limits as JsonLimits, Tokens};
use drape_keys::secret::Secret;
use drape_keys::{DataKey, Keyring, Pseudonymizer};
use drape_policy::{Decider, PolicySet, RecordJudge, Standing};
use drape_shield::{Answer, Expect, Fault, Limits, Links, Setup, Shield, Step, Summary};
use drape_view::{
    Caller, Catalogue, Environment, Facts, Labels, Overrides, Profiler, Proof, Relation, Treatments, Verdict,
    View, shipped,
};

pub(crate) const UP: &str = "http://upstream.example/fhir";
pub(crate) const PUB: &str = "https://public.example/fhir";
/// The patient whom the persons have to do with.
pub(crate) const PATIENT: &str = "p1";
pub(crate) const TODAY: &str = "2026-11-01";

/// A caller with the hospital's policies.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) standing: Arc<Standing>,
    pub(crate) view: View,
    pub(crate) uniform: bool,
    pub(crate) shows_all: bool,
}

fn caller(role: &str, purpose: &str, relations: &[&str], patient: &str) -> Caller {
    let is = relations.iter().map(|r| (*r).to_owned()).collect();
    let relation = Relation { is, birth_date: Some("2011-01-01".into()) };
    let related = !relations.is_empty();
    Caller {
        issuer: "https://issuer.example".into(),
        subject: role.to_owned(),
        name: None,
        roles: [role.to_owned()].into(),
        held_roles: [role.to_owned()].into(),
        organization: Some("insurer".into()),
        departments: BTreeSet::new(),
        title: None,
        client: None,
        shift: Some((7 * 60, 19 * 60)),
        fhir_user: None,
        patient: (role == "patient").then(|| patient.to_owned()),
        scopes: vec![],
        relations: related.then(|| (patient.to_owned(), relation)).into_iter().collect(),
        purpose: purpose.into(),
        statement: Default::default(),
        proof: Proof { token_id: None, token_digest: [0; 32], expires_at: u64::MAX },
        environment: Environment {
            now_ms: 0,
            today: TODAY.into(),
            hour: 12,
            minute_of_day: 720,
            weekday: 7,
            network: None,
            break_glass: false,
        },
    }
}

fn decider() -> Arc<Decider> {
    static SHARED: OnceLock<Arc<Decider>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| {
        let treatments = Arc::new(Treatments::parse(shipped::TREATMENTS).unwrap());
        let set = PolicySet::shipped("hospital", &treatments, &[]).unwrap();
        Arc::new(Decider::new(Arc::new(set)).unwrap())
    }))
}

/// Everyone in the hospital, each in the same relation to `patient` as in life.
pub(crate) fn persons(patient: &str) -> Vec<Person> {
    [
        ("records officer", "records-officer", "HOPERAT", &[][..]),
        ("clinician", "clinician", "TREAT", &["treating"]),
        ("nurse", "nurse", "TREAT", &["ward"]),
        ("billing", "billing", "HPAYMT", &[]),
        ("researcher", "researcher", "HRESCH", &[]),
        ("patient", "patient", "PATRQT", &[]),
        ("guardian", "guardian", "FAMRQT", &["guardian"]),
        ("stranger", "clinician", "TREAT", &[]),
        ("nobody", "visitor", "TREAT", &[]),
    ]
    .into_iter()
    .map(|(name, role, purpose, relations)| {
        person(name, &decider(), caller(role, purpose, relations, patient), false)
    })
    .collect()
}

fn person(name: &'static str, decider: &Arc<Decider>, caller: Caller, patient_only: bool) -> Person {
    let profiler = Arc::new(Profiler::new(
        Arc::new(Labels::parse(shipped::LABELS).unwrap()),
        Arc::new(Overrides::parse("").unwrap()),
    ));
    let caller = Arc::new(caller);
    let standing = Arc::new(decider.standing(&caller).unwrap());
    let shows_all = standing.shows_all();
    let bounds = if patient_only { drape_view::Bounds::patient() } else { drape_view::Bounds::free() };
    let view = View::new(Arc::new(RecordJudge::new(Arc::clone(&standing))), caller, profiler, bounds);
    let uniform = view.uniform();
    Person { name, standing, view, uniform, shows_all: shows_all && uniform }
}

/// What the rules of the hospital, or of `set` in its place, say of a member of the demo's cast: the same roles, purpose
/// and relations as in the token, and nothing of the way that the token takes.
pub(crate) fn of_the_cast(persona: Persona, set: Option<&Arc<Decider>>) -> Person {
    let relations: &[&str] = match persona {
        Persona::Doctor => &["treating"],
        Persona::Nurse => &["ward"],
        Persona::Guardian => &["guardian"],
        _ => &[],
    };
    let role = persona.roles().first().copied().unwrap_or("nothing");
    let shared = decider();
    person(
        persona.word(),
        set.unwrap_or(&shared),
        caller(role, persona.purpose(), relations, PATIENT),
        persona == Persona::Patient,
    )
}

/// Somebody in one role, by the policies of any set, in relation to nobody.
pub(crate) fn in_the_role(name: &'static str, role: &str, purpose: &str, set: &Arc<Decider>) -> Person {
    person(name, set, caller(role, purpose, &[], PATIENT), false)
}

/// A shipped set with its own treatments.
pub(crate) fn shipped_set(name: &str) -> Arc<Decider> {
    let own = drape_policy::shipped::find(name).unwrap().file("treatments.yaml");
    let treatments = Arc::new(Treatments::parse(own.unwrap_or(shipped::TREATMENTS)).unwrap());
    Arc::new(Decider::new(Arc::new(PolicySet::shipped(name, &treatments, &[]).unwrap())).unwrap())
}

pub(crate) fn catalogue() -> Arc<Catalogue> {
    static SHARED: OnceLock<Arc<Catalogue>> = OnceLock::new();
    let make = || Arc::new(Catalogue::parse(shipped::CATEGORIES, drape_fhir::definitions::r4()).unwrap());
    Arc::clone(SHARED.get_or_init(make))
}

fn keys() -> (Arc<Pseudonymizer>, Arc<DataKey>) {
    static SHARED: OnceLock<(Arc<Pseudonymizer>, Arc<DataKey>)> = OnceLock::new();
    SHARED
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let ring = Keyring::open(&dir.path().join("k"), Secret::new([3; 32])).unwrap();
            let pseudonyms = Pseudonymizer::new(&ring.tenant("t").unwrap(), "p");
            (Arc::new(pseudonyms), ring.patient_key("t", "Patient/p1").unwrap())
        })
        .clone()
}

/// Keeps every link under the public base.
struct Rebase(String);

impl Links for Rebase {
    fn rewrite(&mut self, _: &str, url: &str) -> Option<String> {
        Some(url.strip_prefix(&self.0).map_or_else(|| url.to_owned(), |rest| format!("{PUB}{rest}")))
    }
}

pub(crate) fn setup(expect: Expect, base: &str, shows_all: bool, uniform: bool, declared: bool) -> Setup {
    Setup {
        catalogue: catalogue(),
        expect,
        upstream_base: base.to_owned(),
        public_base: PUB.into(),
        limits: Limits { entry_bytes_max: 64 << 20, depth_max: 64 },
        uniform,
        shows_all,
        declared,
        paging: None,
        links: Box::new(Rebase(base.to_owned())),
        pseudonyms: keys().0,
        tenant: "t".into(),
        today: TODAY.into(),
        pointers: true,
    }
}

/// What came out, and how each entry was judged.
pub(crate) struct Seen {
    pub(crate) out: Vec<u8>,
    pub(crate) verdicts: Vec<Vec<Verdict>>,
    pub(crate) summary: Summary,
}

/// Feeds `text` in pieces whose sizes come from `seed`.
pub(crate) fn shield(
    setup: Setup,
    text: &[u8],
    seed: u64,
    judge: &dyn Fn(&Facts) -> Vec<Verdict>,
) -> Result<Seen, Fault> {
    let mut shield = Shield::new(setup);
    let (mut out, mut all, mut random) = (Vec::new(), Vec::new(), seed | 1);
    let mut rest = text;
    while !rest.is_empty() {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly network-like pieces, now and then a handful of bytes.
        let size = if random >> 60 == 0 { random >> 40 & 7 } else { random >> 40 & 0x3fff } as usize + 1;
        let (mut piece, after) = rest.split_at(size.min(rest.len()));
        rest = after;
        loop {
            let (taken, step) = shield.feed(piece, &mut out)?;
            piece = &piece[taken..];
            match step {
                Step::Hungry => break,
                Step::Ask(facts) => {
                    let verdicts = judge(&facts);
                    all.push(verdicts.clone());
                    shield.answer(Answer { verdicts, seal_key: Some(keys().1), hide: None }, &mut out)?;
                }
            }
        }
    }
    let summary = shield.finish(&mut out)?;
    Ok(Seen { out, verdicts: all, summary })
}

impl Person {
    pub(crate) fn look(&self, expect: Expect, base: &str, text: &[u8], seed: u64) -> Result<Seen, Fault> {
        let setup = setup(expect, base, self.shows_all, self.uniform, true);
        shield(setup, text, seed, &|facts| self.view.rule(facts))
    }
}

pub(crate) fn record(resource_type: &str) -> Expect {
    Expect::Record { resource_type: resource_type.to_owned(), id: None, version: None }
}

/// Writes down a body before and after the shield, for a judge who is not ours, where `DRAPE_PAIRS` names a folder.
/// What is the same but for the base, or not there, is not worth judging.
pub(crate) fn pair(name: &str, kind: &str, base: &str, before: &[u8], after: &[u8]) {
    static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let folder = std::env::var_os("DRAPE_PAIRS").filter(|f| !f.is_empty()).map(PathBuf::from)?;
        std::fs::create_dir_all(&folder).unwrap();
        Some(Mutex::new(File::create(folder.join(concat!(env!("CARGO_CRATE_NAME"), ".jsonl"))).unwrap()))
    });
    let Some(file) = file else { return };
    if after.is_empty() || after == rebased(before, base) {
        return;
    }
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let pair = serde_json::json!({
        "name": name, "kind": kind, "unshielded": text(before), "shielded": text(after),
    });
    // One call for one line, so that tests that run side by side do not mix theirs.
    file.lock().unwrap().write_all(format!("{pair}\n").as_bytes()).unwrap();
}

/// Whether a text is JSON to our own strict tokenizer, and its `resourceType`.
pub(crate) fn resource_type(text: &[u8]) -> Option<String> {
    let mut tokens = Tokens::new(text, JsonLimits::default());
    let (mut found, mut named) = (None, false);
    while let Some(token) = tokens.next_token().ok()? {
        if token.depth == 1 && named && token.kind == Kind::String {
            found = Some(drape_fhir::json::unescape(tokens.raw(&token)).into_owned());
        }
        named = token.kind == Kind::Key && token.depth == 1 && tokens.key() == "resourceType";
    }
    found
}

/// The document with every address that begins with `base` under the public base.
pub(crate) fn rebased(text: &[u8], base: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let mut out = text.to_owned();
    for end in ["/", "?", "#", "\""] {
        out = out.replace(&format!("\"{base}{end}"), &format!("\"{PUB}{end}"));
    }
    out.into_bytes()
}
