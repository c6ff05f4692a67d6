//! How many megabytes of records pass the shield in a second, whole and treated, on one thread; and whether the time
//! grows with the size alone. Then the CPU time of one ordinary page.
//!
//!     cargo run --release -p drape-shield --example rewrite_speed
//!
//! With the name of a plan (`show`, `redact`, `research`, `encrypt`) and of a file that holds a searchset, such as
//! `conformance/bench/bodies.py` makes, only that page under that plan: for profilers and for counting instructions.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use drape_fhir::definitions::r4;
use drape_keys::secret::Secret;
use drape_keys::{DataKey, Keyring, Pseudonymizer};
use drape_shield::{Answer, BundleKind, Expect, Limits, Links, Setup, Shield, Step};
use drape_view::{Catalogue, Category, Coarsening, Plan, Treatment, Verdict, shipped};

struct NoLinks;

impl Links for NoLinks {
    fn rewrite(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }
}

struct Keys {
    catalogue: Arc<Catalogue>,
    pseudonyms: Arc<Pseudonymizer>,
    seal: Arc<DataKey>,
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let ring = Keyring::open(&dir.path().join("k"), Secret::new([3; 32])).unwrap();
    let keys = Keys {
        catalogue: Arc::new(Catalogue::parse(shipped::CATEGORIES, r4()).unwrap()),
        pseudonyms: Arc::new(Pseudonymizer::new(&ring.tenant("t").unwrap(), "p")),
        seal: ring.patient_key("t", "Patient/1").unwrap(),
    };
    let whole = |_: Category| Treatment::Show;
    // As the nurse of the shipped set: some categories hidden.
    let redacted = |c: Category| match c {
        Category::Identifier | Category::Contact | Category::Address | Category::Financial => {
            Treatment::Redact
        }
        _ => Treatment::Show,
    };
    // As the researcher: years, pseudonyms, no names.
    let research = |c: Category| match c {
        c if c.is_link() => Treatment::Pseudonymize,
        Category::BirthDate | Category::EventDate | Category::RecordedDate => {
            Treatment::Generalize(Coarsening::Year)
        }
        Category::PersonName | Category::Identifier | Category::Staff | Category::Label => Treatment::Redact,
        _ => Treatment::Show,
    };
    let sealed = |c: Category| if c == Category::FindingValue { Treatment::Encrypt } else { Treatment::Show };
    let plans: [(&str, Plan); 4] = [
        ("show all", Plan::new(Category::ALL.map(whole), vec![])),
        ("redact", Plan::new(Category::ALL.map(redacted), vec![])),
        ("research", Plan::new(Category::ALL.map(research), vec![])),
        ("encrypt", Plan::new(Category::ALL.map(sealed), vec![])),
    ];
    if let [_, only, file] = std::env::args().collect::<Vec<_>>().as_slice() {
        let text = std::fs::read(file).unwrap();
        for (name, plan) in plans.into_iter().filter(|(name, _)| name.starts_with(only.as_str())) {
            page(name, &keys, &text, &plan);
        }
        return;
    }
    println!("{:<34} {:>10} {:>8} {:>10}", "", "size", "MB/s", "out");
    for (name, plan) in &plans {
        for entries in [5_000, 20_000] {
            let text = bundle(entries);
            measure(
                &format!("{name}, {entries} entries"),
                &keys,
                Expect::Bundle(BundleKind::Searchset),
                &text,
                plan,
            );
        }
        for components in [10_000, 40_000] {
            let text = wide(components);
            measure(&format!("{name}, one of {components} components"), &keys, record(), &text, plan);
        }
        for contained in [1_000, 4_000] {
            let text = containing(contained);
            measure(&format!("{name}, one of {contained} contained"), &keys, record(), &text, plan);
        }
    }
    for (name, plan) in &plans {
        page(name, &keys, &bundle(50), plan);
    }
}

fn record() -> Expect {
    Expect::Record { resource_type: "Observation".into(), id: None, version: None }
}

/// How often a page is shielded for one figure.
const ROUNDS: usize = 200;

fn page(name: &str, keys: &Keys, text: &[u8], plan: &Plan) {
    let pass = || shield(keys, Expect::Bundle(BundleKind::Searchset), text, plan);
    // The first pass reads the tables of FHIR.
    let written = pass();
    let before = cpu_ns();
    for _ in 0..ROUNDS {
        pass();
    }
    let micros = (cpu_ns() - before) as f64 / 1e3 / ROUNDS as f64;
    println!("{name}, a page: {micros:.0} µs of CPU for {} bytes, {written} out", text.len());
}

/// The CPU time of this thread, which other work on the machine does not lengthen.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

fn measure(name: &str, keys: &Keys, expect: Expect, text: &[u8], plan: &Plan) {
    let start = Instant::now();
    let written = shield(keys, expect, text, plan);
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    let size = megabytes(text.len());
    println!("{name:<34} {size:>7.1} MB {:>8.0} {:>7.1} MB", size / seconds, megabytes(written));
}

/// Passes `text` through a shield of its own; gives how many bytes came out.
fn shield(keys: &Keys, expect: Expect, text: &[u8], plan: &Plan) -> usize {
    let plan = Arc::new(plan.clone());
    let setup = Setup {
        catalogue: Arc::clone(&keys.catalogue),
        expect,
        upstream_base: "http://upstream.example/fhir".into(),
        public_base: "https://public.example/fhir".into(),
        limits: Limits { entry_bytes_max: 64 << 20, depth_max: 64 },
        uniform: plan.shows_all(),
        shows_all: plan.shows_all(),
        declared: true,
        paging: None,
        links: Box::new(NoLinks),
        pseudonyms: Arc::clone(&keys.pseudonyms),
        tenant: "t".into(),
        today: "2026-11-01".into(),
        pointers: false,
    };
    let mut shield = Shield::new(setup);
    let (mut out, mut written) = (Vec::new(), 0);
    for mut piece in text.chunks(16 << 10) {
        loop {
            let (taken, step) = shield.feed(piece, &mut out).unwrap();
            piece = &piece[taken..];
            let Step::Ask(facts) = step else { break };
            let verdicts = facts.records.iter().map(|_| Verdict::Keep(Arc::clone(&plan))).collect();
            shield
                .answer(Answer { verdicts, seal_key: Some(Arc::clone(&keys.seal)), hide: None }, &mut out)
                .unwrap();
        }
        // As the server does it: a window at a time.
        if out.len() > 256 << 10 {
            written += out.len();
            out.clear();
            shield.drain();
        }
    }
    shield.finish(&mut out).unwrap();
    written + out.len()
}

fn observation(n: usize, more: &str) -> String {
    format!(
        "{{\"resourceType\":\"Observation\",\"id\":\"{n}\",\"meta\":{{\"versionId\":\"1\",\"lastUpdated\":\"2026-01-02T03:04:05.678+00:00\",\
         \"profile\":[\"http://hl7.org/fhir/StructureDefinition/vitalsigns\"]}},\"status\":\"final\",\"category\":[{{\"coding\":[{{\"system\":\
         \"http://terminology.hl7.org/CodeSystem/observation-category\",\"code\":\"vital-signs\",\"display\":\"Vital signs\"}}]}}],\"code\":\
         {{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"8867-4\",\"display\":\"Heart rate\"}}],\"text\":\"Heart rate\"}},\"subject\":\
         {{\"reference\":\"Patient/{n}\",\"display\":\"Ann Example {n}\"}},\"encounter\":{{\"reference\":\"http://upstream.example/fhir/Encounter/{n}\"}},\
         \"performer\":[{{\"reference\":\"Practitioner/{n}\"}}],\"effectiveDateTime\":\"2026-01-02T03:04:05+00:00\",\"issued\":\
         \"2026-01-02T03:04:05.678+00:00\",\"valueQuantity\":{{\"value\":{}.50,\"unit\":\"beats/minute\",\"system\":\"http://unitsofmeasure.org\",\
         \"code\":\"/min\"}}{more}}}",
        60 + n % 60
    )
}

fn bundle(entries: usize) -> Vec<u8> {
    let mut text = "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"entry\":[".to_owned();
    for n in 0..entries {
        let comma = if n > 0 { "," } else { "" };
        let record = observation(n, "");
        write!(
            text,
            "{comma}{{\"fullUrl\":\"http://upstream.example/fhir/Observation/{n}\",\"resource\":{record},\"search\":{{\"mode\":\"match\"}}}}"
        )
        .unwrap();
    }
    text.push_str("]}");
    text.into_bytes()
}

/// One record with very many parts.
fn wide(components: usize) -> Vec<u8> {
    let mut more = ",\"component\":[".to_owned();
    for n in 0..components {
        let comma = if n > 0 { "," } else { "" };
        write!(
            more,
            "{comma}{{\"id\":\"c{n}\",\"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"8480-6\",\"display\":\"Systolic blood pressure\"}}],\
             \"text\":\"Systolic\"}},\"valueQuantity\":{{\"value\":{n}.25,\"unit\":\"mmHg\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"mm[Hg]\"}}}}"
        )
        .unwrap();
    }
    more.push(']');
    observation(1, &more).into_bytes()
}

/// One record with very many contained ones, each named by the next: the worst for whoever follows references.
fn containing(contained: usize) -> Vec<u8> {
    let mut more = ",\"contained\":[".to_owned();
    for n in 0..contained {
        let comma = if n > 0 { "," } else { "" };
        let next = (n + 1) % contained;
        write!(
            more,
            "{comma}{{\"resourceType\":\"Observation\",\"id\":\"c{n}\",\"status\":\"final\",\"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\
             \"code\":\"8867-4\"}}]}},\"derivedFrom\":[{{\"reference\":\"#c{next}\"}}],\"effectiveDateTime\":\"2026-01-02\",\"valueString\":\"{}\"}}",
            "x".repeat(2_000)
        )
        .unwrap();
    }
    more.push_str("],\"hasMember\":[{\"reference\":\"#c0\"}]");
    observation(1, &more).into_bytes()
}
