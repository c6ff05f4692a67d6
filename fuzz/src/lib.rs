//! What is fuzzed: each function takes any bytes and panics where an invariant does not hold. The bounded run on every
//! `cargo test` (`proxy/server/tests/fuzz.rs`) and the endless one by cargo-fuzz (`fuzz/targets`) use the same.

use std::sync::{Arc, OnceLock};

use drape_caller::token::Peek;
use drape_fhir::bundle::Requests;
use drape_fhir::interaction::{self, Interaction, Parts};
use drape_fhir::json::{JsonError, Kind, Limits, Token, Tokenizer, Tokens, unescape};
use drape_keys::secret::Secret;
use drape_keys::{DataKey, Keyring, Pseudonymizer};
use drape_shield::{Answer, BundleKind, Expect, Links, PlaceOfMore, Setup, Shield, Step};
use drape_view::{Catalogue, Category, Coarsening, Plan, Treatment, Verdict};
use serde_json::Value;

/// One target.
pub type Target = fn(&[u8]);

/// All of them, by name. JSON Patch and FHIRPath Patch belong here as soon as they are read.
pub const TARGETS: [(&str, Target); 5] =
    [("url", url), ("json", json), ("shield", shield), ("batch", batch), ("token", token)];

/// A request line and, for a form, a body: what is rebuilt from a search reads as the same search.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (method, target) = text.split_once(' ').unwrap_or(("GET", &text));
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = query.unwrap_or_default().as_bytes();
    for (method, path, query, headers, body) in [
        (method, path.to_owned(), query, &[][..], None),
        ("POST", format!("{path}/_search"), None, &form[..], Some(body)),
    ] {
        let parts = Parts { method, path: &path, query, headers, body };
        let Ok(Interaction::Search(search)) = interaction::parse(&parts) else { continue };
        let again = search.to_target();
        let (path, query) = again.split_once('?').map_or((&*again, None), |(p, q)| (p, Some(q)));
        let parts = Parts { method: "GET", path, query, headers: &[], body: None };
        match interaction::parse(&parts) {
            Ok(Interaction::Search(rebuilt)) => assert_eq!(rebuilt, search, "{again}"),
            other => panic!("{again} reads as {other:?}"),
        }
    }
}

fn pieces(parts: &[&[u8]], limits: Limits) -> (Vec<Token>, Option<JsonError>) {
    let (mut tokenizer, mut all) = (Tokenizer::new(limits), Vec::new());
    for part in parts {
        let mut at = 0;
        loop {
            match tokenizer.next_token(part, &mut at) {
                Ok(Some(token)) => all.push(token),
                Ok(None) => break,
                Err(fault) => return (all, Some(fault)),
            }
        }
    }
    loop {
        match tokenizer.finish() {
            Ok(Some(token)) => all.push(token),
            Ok(None) => return (all, None),
            Err(fault) => return (all, Some(fault)),
        }
    }
}

/// A text in pieces reads as it does whole; what is accepted serde_json accepts, with the same values.
pub fn json(data: &[u8]) {
    let limits = Limits::default();
    let mut tokens = Tokens::new(data, limits);
    let (mut whole, mut fault) = (Vec::new(), None);
    loop {
        match tokens.next_token() {
            Ok(Some(token)) => whole.push(token),
            Ok(None) => break,
            Err(e) => {
                fault = Some(e);
                break;
            }
        }
    }
    let step = data.len() % 7 + 1;
    let parts: Vec<&[u8]> = data.chunks(step).collect();
    let (cut, cut_fault) = pieces(&parts, limits);
    assert_eq!(fault, cut_fault, "in pieces of {step}");
    let said =
        |tokens: &[Token]| tokens.iter().map(|t| (t.kind, t.start, t.end, t.depth)).collect::<Vec<_>>();
    assert_eq!(said(&whole), said(&cut), "in pieces of {step}");
    if fault.is_some() {
        return;
    }
    match serde_json::from_slice::<Value>(data) {
        Ok(theirs) => assert_eq!(tree(data, &mut whole.iter().peekable()), theirs),
        // A double ends at about 1.8e308; JSON does not.
        Err(e) => assert!(e.to_string().contains("number out of range"), "serde_json refuses: {e}"),
    }
}

fn tree<'a>(text: &[u8], tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a Token>>) -> Value {
    let Some(token) = tokens.next() else { return Value::Null };
    let raw = |t: &Token| &text[t.start as usize..t.end as usize];
    match token.kind {
        Kind::ObjectStart => {
            let mut map = serde_json::Map::new();
            while let Some(key) = tokens.next().filter(|k| k.kind != Kind::ObjectEnd) {
                map.insert(unescape(raw(key)).into_owned(), tree(text, tokens));
            }
            map.into()
        }
        Kind::ArrayStart => {
            let mut items = Vec::new();
            while tokens.peek().is_some_and(|t| t.kind != Kind::ArrayEnd) {
                items.push(tree(text, tokens));
            }
            tokens.next();
            items.into()
        }
        Kind::String => unescape(raw(token)).into_owned().into(),
        Kind::Number => serde_json::from_slice(raw(token)).unwrap_or_default(),
        Kind::True => true.into(),
        Kind::False => false.into(),
        _ => Value::Null,
    }
}

/// Stands in seeds where a value stands that must not be seen when nothing is shown.
pub const HUSH: &str = "Umberfield";

struct Nowhere;

impl Links for Nowhere {
    fn rewrite(&mut self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn more(&mut self, _: PlaceOfMore, _: u32) -> Option<String> {
        None
    }
}

fn keys() -> (Arc<Pseudonymizer>, Arc<DataKey>) {
    static SHARED: OnceLock<(Arc<Pseudonymizer>, Arc<DataKey>)> = OnceLock::new();
    let make = || {
        let folder = std::env::temp_dir().join(format!("drape-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for keys");
        let ring = Keyring::open(&folder.join("k"), Secret::new([3; 32])).expect("a keyring");
        let tenant = ring.tenant("t").expect("a tenant");
        (Arc::new(Pseudonymizer::new(&tenant, "p")), ring.patient_key("t", "Patient/p1").expect("a key"))
    };
    SHARED.get_or_init(make).clone()
}

fn catalogue() -> Arc<Catalogue> {
    static SHARED: OnceLock<Arc<Catalogue>> = OnceLock::new();
    let make = || {
        let parsed = Catalogue::parse(drape_view::shipped::CATEGORIES, drape_fhir::definitions::r4());
        Arc::new(parsed.expect("the shipped catalogue"))
    };
    Arc::clone(SHARED.get_or_init(make))
}

/// A plan out of a number: everything hidden for zero, otherwise any mixture.
fn plan(mut random: u64) -> Arc<Plan> {
    let hidden = random == 0;
    let all = [
        Treatment::Show,
        Treatment::Redact,
        Treatment::Show,
        Treatment::Pseudonymize,
        Treatment::Encrypt,
        Treatment::Generalize(Coarsening::Year),
        Treatment::Generalize(Coarsening::Zip3),
        Treatment::Generalize(Coarsening::Flag),
    ];
    let treatments = Category::ALL.map(|category| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = all[(random >> 61) as usize];
        if hidden || !chosen.fits(category) { Treatment::Redact } else { chosen }
    });
    Arc::new(Plan::new(treatments, vec![]))
}

/// An upstream body, the first two bytes choosing plan and expectation: what is not refused is whole JSON, and where
/// nothing is shown nothing is said.
pub fn shield(data: &[u8]) {
    let [chance, what, text @ ..] = data else { return };
    let expect = match what % 4 {
        0 => Expect::Bundle(BundleKind::Searchset),
        1 => Expect::Bundle(BundleKind::History),
        n => {
            let resource_type = if n == 2 { "Patient" } else { "Observation" };
            Expect::Record { resource_type: resource_type.to_owned(), id: None, version: None }
        }
    };
    let plan = plan(u64::from(chance % 32));
    let setup = Setup {
        catalogue: catalogue(),
        expect,
        upstream_base: "http://up.example/fhir".into(),
        public_base: "https://pub.example/fhir".into(),
        limits: drape_shield::Limits { entry_bytes_max: 1 << 20, depth_max: 64 },
        uniform: false,
        shows_all: false,
        declared: what & 64 != 0,
        paging: (what & 128 != 0).then(Default::default),
        links: Box::new(Nowhere),
        pseudonyms: keys().0,
        tenant: "t".into(),
        today: "2026-11-01".into(),
        pointers: true,
    };
    let (mut shield, mut out) = (Shield::new(setup), Vec::new());
    for mut piece in text.chunks(usize::from(what >> 2 & 15) * 13 + 1) {
        loop {
            let Ok((taken, step)) = shield.feed(piece, &mut out) else { return };
            piece = &piece[taken..];
            match step {
                Step::Hungry => break,
                Step::Ask(facts) => {
                    let verdicts = facts.records.iter().map(|_| Verdict::Keep(Arc::clone(&plan))).collect();
                    let answer = Answer { verdicts, seal_key: Some(keys().1), hide: None };
                    if shield.answer(answer, &mut out).is_err() {
                        return;
                    }
                }
            }
        }
    }
    if shield.finish(&mut out).is_err() {
        return;
    }
    if !out.is_empty() {
        let said = serde_json::from_slice::<Value>(&out);
        let huge = said.as_ref().is_err_and(|e| e.to_string().contains("number out of range"));
        assert!(said.is_ok() || huge, "{}", String::from_utf8_lossy(&out));
    }
    if chance % 32 == 0 {
        let text = String::from_utf8_lossy(&out);
        assert!(!text.contains(HUSH), "nothing is shown, and yet: {text}");
    }
}

/// A batch as a caller sends it.
pub fn batch(data: &[u8]) {
    if let Ok(requests) = Requests::read(data, Limits::default(), 50) {
        assert!(serde_json::from_slice::<Value>(data).is_ok() || data.len() > 300, "{requests:?}");
    }
}

/// A bearer token, before anything of it is proved.
pub fn token(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    // Any two texts in the places of header and payload.
    let (header, payload) = text.split_once('\n').unwrap_or((&text, "{}"));
    let encode = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    let _ = Peek::read(&text, 4_096);
    let signed = format!("{}.{}.{}", encode(header), encode(payload), encode("sig"));
    if Peek::read(&signed, 1 << 16).is_ok() {
        let read: Value = serde_json::from_str(header).expect("an accepted header is JSON");
        assert!(read.is_object());
    }
    let _ = drape_caller::scopes::parse(&text);
}
