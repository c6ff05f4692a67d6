//! The leak bench: records of every R4 type, filled with canaries, before everybody of the demo's cast over HTTP and under
//! plans and policies of every kind: no canary of what is hidden comes out in any encoding, every canary of what is shown
//! does, and what comes out is a valid record of that type.
//!
//! `cargo test -p drape-server --test leaks -- --nocapture figures` prints how much was looked at; `DRAPE_BENCH=full`
//! before it takes two fillings of each type instead of one and asks in every form, `all` takes four.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was looked at belongs to the result")]

mod canaries;
mod common;
mod scripted;
mod shielding;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use canaries::{Coverage, Filling, Made, find, listed, make, valid};
use common::*;
use drape_demo::Persona;
use drape_fhir::definitions::r4;
use drape_fhir::search::{Kind, parameters};
use drape_policy::{Decider, PolicySet};
use drape_shield::{BundleKind, Expect};
use drape_view::{Category, Coarsening, Plan, Treatment, Treatments, Verdict, shipped};
use http::Method;
use parking_lot::Mutex;
use proptest::prelude::*;
use scripted::{Script, Scripted};
use serde_json::{Value, json};
use shielding::{
    PUB, Person, Seen, TODAY, UP, catalogue, of_the_cast, pair, persons, rebased, record, resource_type,
    setup, shield,
};

/// How often what happened; printed at the end and held against what must have happened at least.
#[derive(Default, Debug, Clone)]
struct Tally {
    refused: usize,
    whole: usize,
    reduced: usize,
    withheld: usize,
    planted: usize,
    hidden: usize,
    shown: usize,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.refused += other.refused;
        self.whole += other.whole;
        self.reduced += other.reduced;
        self.withheld += other.withheld;
        self.planted += other.planted;
        self.hidden += other.hidden;
        self.shown += other.shown;
    }
}

/// What of the shown has to arrive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    /// All of it.
    All,
    /// That of whole records: a silent view leaves out as well what would tell that something stood beside it.
    Whole,
    /// None: where references do not tell of what is withheld, they go, and with them what could repeat them.
    Nothing,
}

/// Holds what came out against the canaries of one record.
#[allow(clippy::too_many_arguments)]
fn check(
    who: &str,
    made: &Made,
    from: usize,
    out: Option<&BTreeSet<usize>>,
    verdicts: &[Verdict],
    due: Due,
    tally: &mut Tally,
) {
    tally.planted += made.canaries.len();
    let Some(found) = out else {
        tally.withheld += 1;
        return;
    };
    let plans: Vec<Option<&Arc<Plan>>> = verdicts
        .iter()
        .map(|v| match v {
            Verdict::Keep(plan) => Some(plan),
            Verdict::Withhold(_) => None,
        })
        .collect();
    let whole = plans.iter().all(|p| p.is_some_and(|p| p.shows_all()));
    tally.whole += usize::from(whole);
    tally.reduced += usize::from(!whole);
    for (place, canary) in made.canaries.iter().enumerate() {
        let there = found.contains(&(from + place));
        let plan = plans.get(canary.place).copied().flatten();
        let may = plan.is_some_and(|p| canary.may_show(p));
        let must = match due {
            Due::All => whole || plan.is_some_and(|p| canary.must_show(p)),
            Due::Whole => whole,
            Due::Nothing => false,
        };
        let say = || {
            format!(
                "{who}: {} ({:?}), number {}: {}",
                canary.path,
                canary.needs,
                from + place,
                near(from + place, &made.text)
            )
        };
        assert!(may || !there, "leaked: {}", say());
        assert!(!must || there, "lost: {}", say());
        tally.hidden += usize::from(!may);
        tally.shown += usize::from(there);
    }
}

/// How much is looked at: a sample of one in an ordinary run, and 2 or 4 with `DRAPE_BENCH=full` or `all`.
fn rounds() -> usize {
    match std::env::var("DRAPE_BENCH").as_deref() {
        Ok("all") => 4,
        Ok("full") => 2,
        _ => 1,
    }
}

fn single(seen: &Seen) -> Option<&[u8]> {
    (!seen.out.is_empty()).then_some(&seen.out[..])
}

/// What is wrong with a record that was not wrong before.
fn new_faults(sent: &Value, came: &Value) -> Vec<String> {
    let mut after = valid::faults(came);
    if !after.is_empty() {
        let before = valid::faults(sent);
        after.retain(|f| !before.contains(f));
    }
    after
}

#[test]
fn every_element_of_every_type_is_filled_and_judged_and_each_choice_has_its_turn() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let persons = persons(shielding::PATIENT);
    let mut coverage = Coverage::default();
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut records = 0;
    for (number, name) in r4().resource_types().enumerate() {
        for turn in 0..60 {
            // Of the data types, only those of whole definitions (ElementDefinition) are as wide.
            let own = coverage.is_complete(name);
            if turn >= 2
                && own
                && (name != "StructureDefinition" || coverage.is_complete("ElementDefinition"))
            {
                break;
            }
            let filling = Filling { turn: number + turn, from: 0, modifiers: turn % 4 == 3 };
            let one = make(&catalogue, &listed, &mut coverage, name, filling);
            records += 1;
            let sent: Value = serde_json::from_str(&one.text).unwrap();
            // Each filling before some of the persons; all of them see each type.
            let looks = |n: usize| match turn {
                0 | 1 => (n + turn).is_multiple_of(2),
                _ => n == 3 + turn % 2 || n == 0 && (turn == 3 || rounds() > 1),
            };
            for (n, person) in persons.iter().enumerate().filter(|(n, _)| looks(*n)) {
                let tally = tallies.entry(person.name).or_default();
                let seed = (number * 100 + n) as u64;
                let seen = person.look(record(name), UP, one.text.as_bytes(), seed).unwrap();
                if let Some(text) = single(&seen) {
                    // The widest cost a judge seconds each: every type goes to him as some persons see it.
                    if turn < 2 && n % 3 == number % 3 {
                        pair(&format!("filled {name}, {}", person.name), name, UP, one.text.as_bytes(), text);
                    }
                    if person.shows_all {
                        assert_eq!(text, rebased(one.text.as_bytes(), UP));
                    }
                    let came: Value = serde_json::from_slice(text).unwrap();
                    assert_eq!(came["resourceType"], name);
                    let faults = new_faults(&sent, &came);
                    assert!(faults.is_empty(), "{} made {name} invalid: {faults:?}", person.name);
                }
                assert!(!person.shows_all || !seen.out.is_empty());
                let found = single(&seen).map(find);
                check(person.name, &one, 0, found.as_ref(), &seen.verdicts[0], Due::All, tally);
            }
        }
    }
    for (name, tally) in &tallies {
        println!("{name}: {tally:?}");
    }
    let covered = coverage.covered();
    println!("{records} records; {covered:?}");
    assert!(covered.missing.is_empty(), "never filled: {:?}", covered.missing);
    assert_eq!(tallies["records officer"].withheld, 0);
    assert_eq!(tallies["nobody"].shown, 0);
    for (name, reduced, whole) in
        [("nurse", 60, 0), ("billing", 80, 0), ("researcher", 100, 0), ("clinician", 20, 20)]
    {
        let tally = &tallies[name];
        assert!(tally.reduced >= reduced && tally.whole >= whole, "{name}: {tally:?}");
        assert!(tally.hidden > 2_000 && tally.shown > 10_000, "{name}: {tally:?}");
    }
}

/// How a record is asked for over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Read,
    Vread,
    /// With the patient included where the type leads to one.
    Search,
    History,
    /// A read and a search in one batch.
    Batch,
    /// A line of a bulk export.
    Export,
}

impl Form {
    /// The search first: it tells the names by which some callers know a record.
    const ALL: [Self; 6] = [Self::Search, Self::Read, Self::Vread, Self::History, Self::Batch, Self::Export];
}

/// What the upstream holds at the moment: one record, and the patient who is included with it.
struct Held {
    made: Made,
    patient: Made,
    name: &'static str,
    id: String,
    version: String,
}

/// In every header and error that the upstream sends: never to be seen by anybody.
const POISON: usize = 29_999;
/// The first canary of the included patient.
const INCLUDED: usize = 20_000;

fn answer(held: &Held, target: &str) -> Script {
    let Held { name, id, .. } = held;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let poison = format!("cnry{POISON}q");
    let headers = vec![
        ("ETag", "W/\"3\"".to_owned()),
        ("Last-Modified", "Tue, 27 Oct 2026 10:00:00 GMT".to_owned()),
        ("X-Request-Id", poison.clone()),
        ("Server", poison.clone()),
        ("Warning", format!("199 - \"{poison}\"")),
        ("Set-Cookie", format!("s={poison}")),
        ("Link", format!("</{poison}>; rel=next")),
    ];
    let include = query.contains("_include").then(|| {
        format!(
            ",{{\"fullUrl\":\"{UP}/Patient/p1\",\"resource\":{},\"search\":{{\"mode\":\"include\"}}}}",
            held.patient.text
        )
    });
    let one = &held.made.text;
    let text = match path.trim_start_matches('/').split('/').collect::<Vec<_>>().as_slice() {
        ["$export"] => {
            let status = ("Content-Location", format!("{UP}/$export-poll-status?job={poison}"));
            return Script::Json(202, vec![status], vec![]);
        }
        // White space between the parts of a record may be a line break elsewhere.
        ["files", _] => {
            return Script::Typed(
                200,
                "application/fhir+ndjson",
                format!("{}\n", one.replace('\n', " ")).into(),
            );
        }
        ["$export-poll-status"] => {
            let file = json!({"type": name, "url": format!("{UP}/files/{poison}"), "count": 1});
            let none = json!([{"type": "OperationOutcome", "url": format!("{UP}/{poison}")}]);
            let manifest = json!({"transactionTime": "2026-10-27T10:00:00Z", "request": poison, "requiresAccessToken": false,
                "output": [file], "deleted": none, "error": none, "extension": {"x": poison}});
            return Script::Typed(200, "application/json", manifest.to_string().into());
        }
        [_] => format!(
            "{{\"resourceType\":\"Bundle\",\"id\":\"{poison}\",\"type\":\"searchset\",\"total\":1,\"link\":[{{\"relation\":\"self\",\"url\":\"{UP}/{poison}\"}}],\"entry\":[{{\"fullUrl\":\"{UP}/{name}/{id}\",\"resource\":{one},\"search\":{{\"mode\":\"match\"}}}}{}]}}",
            include.unwrap_or_default()
        ),
        [_, _, "_history"] => format!(
            "{{\"resourceType\":\"Bundle\",\"id\":\"{poison}\",\"type\":\"history\",\"total\":1,\"entry\":[{{\"fullUrl\":\"{UP}/{name}/{id}\",\"resource\":{one},\"request\":{{\"method\":\"PUT\",\"url\":\"{name}/{id}\"}},\"response\":{{\"status\":\"200\"}}}}]}}"
        ),
        _ => one.clone(),
    };
    Script::Json(200, headers, text.into_bytes())
}

/// Errors as an upstream may send them, with the record and the poison in them.
fn errors(held: &Held) -> Vec<Script> {
    let said = format!(
        "{{\"resourceType\":\"OperationOutcome\",\"text\":{{\"div\":\"cnry{POISON}q\"}},\"issue\":[{{\"severity\":\"error\",\"code\":\"processing\",\"diagnostics\":\"cnry{POISON}q\",\"details\":{{\"text\":\"Y25yeTI5OTk5cQ==\"}}}}],\"contained\":[{}]}}",
        held.made.text
    );
    let whole = held.made.text.as_bytes();
    vec![
        Script::ok(said.clone()).with(400),
        Script::ok(said.clone()).with(404),
        Script::ok(said.clone()).with(422),
        Script::ok(said.clone()).with(500),
        Script::Typed(500, "text/html", held.made.text.clone().into_bytes()),
        Script::Typed(200, "text/plain", held.made.text.clone().into_bytes()),
        Script::Cut(whole[..whole.len() / 2].to_vec(), whole.len() / 2),
        Script::Chunks(whole[..whole.len() - 1].to_vec(), true),
        Script::ok(said),
    ]
}

/// Everything that the process writes to its log while the bench runs.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct IntoLog;

impl std::io::Write for IntoLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A search for the type that brings the patient along, where one of its parameters leads there.
fn including(name: &str) -> Option<String> {
    let leads = |p: &&drape_fhir::search::Parameter| {
        p.base == name
            && p.kind == Kind::Reference
            && p.is_resolvable()
            && p.targets().any(|t| t == "Patient")
    };
    let mut codes: Vec<&str> = parameters().filter(leads).map(|p| p.code).collect();
    codes.sort_unstable_by_key(|c| (*c != "patient", *c != "subject", *c));
    codes.first().map(|code| format!("{name}?_include={name}:{code}:Patient"))
}

#[test]
fn figures_of_the_bench_over_http() {
    let _ =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| IntoLog).try_init();
    // Two at a time, each with servers and every other type of its own.
    let half = |which| tokio::runtime::Runtime::new().unwrap().block_on(half_of_the_bench(which));
    let (mut tallies, mut metrics) = (Tallies::new(), 0);
    std::thread::scope(|scope| {
        for running in [0, 1].map(|which| scope.spawn(move || half(which))) {
            let (some, length) = running.join().unwrap();
            for (key, tally) in some {
                tallies.entry(key).or_default().add(&tally);
            }
            metrics += length;
        }
    });
    let log = std::mem::take(&mut *LOG.lock());
    assert!(log.len() > 1_000, "the log is looked at");
    let told = find(&log);
    assert!(told.is_empty(), "the process log tells {told:?}");
    print_figures(&tallies, metrics, log.len());
    let part = rounds();
    for form in Form::ALL {
        for persona in [Persona::Attacker, Persona::Officer, Persona::Analyst] {
            let tally = &tallies[&(persona.word(), form)];
            assert!(tally.shown == 0 && tally.whole + tally.reduced == 0, "{persona:?} {form:?}: {tally:?}");
        }
        let tally = &tallies[&(Persona::RecordsOfficer.word(), form)];
        assert!(tally.withheld == 0 && tally.refused == 0 && tally.whole >= 28 * part, "{form:?}: {tally:?}");
        assert_eq!(tally.shown, tally.planted, "{form:?}: {tally:?}");
    }
    for (persona, form, least) in [
        (Persona::Doctor, Form::Read, 10),
        (Persona::Doctor, Form::History, 10),
        (Persona::Doctor, Form::Batch, 10),
        (Persona::Nurse, Form::Search, 30),
        (Persona::Billing, Form::Read, 5),
        (Persona::Researcher, Form::Read, 5),
        (Persona::Researcher, Form::Batch, 5),
        (Persona::Researcher, Form::Export, 25),
        (Persona::Researcher, Form::Search, 30),
        (Persona::Patient, Form::Vread, 5),
        (Persona::Guardian, Form::Search, 40),
    ] {
        let tally = &tallies[&(persona.word(), form)];
        let came = tally.whole + tally.reduced;
        assert!(came >= least * part && tally.shown > 300, "{persona:?} {form:?}: {tally:?}");
    }
}

type Tallies = BTreeMap<(&'static str, Form), Tally>;

/// Every second type, asked for by everybody; and how long the metrics pages were.
async fn half_of_the_bench(which: usize) -> (Tallies, usize) {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let rounds = rounds();
    let state: Arc<Mutex<(Option<Held>, Option<Script>)>> = Arc::default();
    let scripts = Arc::clone(&state);
    let shelf = Scripted::open(move |heard| {
        let state = scripts.lock();
        let script = match (&state.1, &state.0) {
            (Some(error), _) => error.clone(),
            (None, Some(held)) => answer(held, &heard.target),
            (None, None) => Script::unknown(),
        };
        let base = heard.headers.iter().find(|(n, _)| n == "host").map(|(_, v)| format!("http://{v}/fhir"));
        moved(script, &base.unwrap_or_default())
    })
    .await;
    let noon = format!("{TODAY}T12:00:00[America/New_York]").parse::<jiff::Zoned>().unwrap().timestamp();
    let (clock, _) = drape_server::clock::Clock::fixed(u64::try_from(noon.as_millisecond()).unwrap());
    let keep = "version: 1\nrelations: { claim: true }\nages: { claim: true }\nreferences: { mode: keep }\n";
    let house = House::with(Wishes {
        upstream: Some(shelf.base.clone()),
        clock: Some(clock.clone()),
        files: vec![("facts.yaml", keep.to_owned())],
        ..Wishes::default()
    })
    .await;
    // As it is shipped, a record loses its references to what may be withheld, and more with them.
    let shipped_house = House::with(Wishes {
        upstream: Some(shelf.base.clone()),
        clock: Some(clock),
        issuer: Some(Arc::clone(&house.issuer)),
        ..Wishes::default()
    })
    .await;
    let life = std::time::Duration::from_secs(3_000);
    let cast: Vec<(Persona, Person, String)> = Persona::ALL
        .into_iter()
        .map(|p| (p, of_the_cast(p, None), house.issuer.token_at(p, noon, life).unwrap()))
        .collect();
    let bench = |house, due| Bench { house, due, client: client(), base: &shelf.base, state: &state };
    let benches = [bench(&house, Due::All), bench(&shipped_house, Due::Nothing)];
    let mut coverage = Coverage::default();
    let mut tallies = Tallies::new();
    for (number, name) in r4().resource_types().enumerate().skip(which).step_by(2) {
        for round in 0..rounds {
            let turn = number + round;
            let made =
                make(&catalogue, &listed, &mut coverage, name, Filling { turn, from: 0, modifiers: false });
            let included = Filling { turn, from: INCLUDED, modifiers: false };
            let patient = make(&catalogue, &listed, &mut coverage, "Patient", included);
            let sent: Value = serde_json::from_str(&made.text).unwrap();
            let text = |path: &str| sent.pointer(path).and_then(Value::as_str).unwrap_or("1").to_owned();
            let (id, version) = (text("/id"), text("/meta/versionId"));
            state.lock().0 = Some(Held { made, patient, name, id, version });
            for (persona, person, token) in &cast {
                let bench = &benches[usize::from((turn + *persona as usize) % 4 == 3)];
                // An address by itself: who knows records by pseudonym only asks by what the search told.
                let mut known = None;
                // In a sample, and in the second of two rounds, each type is asked for by everybody in two of the forms, in
                // turn. The only one who may export a part does so always.
                let all = rounds > 2 || rounds == 2 && round == 0;
                let other = Form::ALL[1 + (number + *persona as usize) % 5];
                let exports = |f| f == Form::Export && *persona == Persona::Researcher;
                let asked = |f: &Form| all || *f == Form::Search || *f == other || exports(*f);
                for form in Form::ALL.into_iter().filter(asked) {
                    let tally = tallies.entry((persona.word(), form)).or_default();
                    let asked = bench.ask(person, token, form, &mut known, tally).await;
                    if let Some(came) = asked {
                        let faults = new_faults(&sent, &came);
                        assert!(faults.is_empty(), "{} {form:?} {name}: {faults:?}", person.name);
                    }
                }
            }
            if round == 0 && number % if rounds > 1 { 15 } else { 73 } == 0 {
                benches[0].errors(&cast).await;
            }
        }
    }
    let mut metrics = 0;
    for bench in &benches {
        let page = ask(Method::GET, &format!("{}/metrics", bench.house.admin), None, &[], "").await.text;
        assert!(page.contains("drape_elements_treated_total"), "{page}");
        assert!(find(page.as_bytes()).is_empty(), "a metric tells: {page}");
        metrics += page.len();
    }
    (tallies, metrics)
}

/// The script with every address of the generator's server under `base`.
fn moved(script: Script, base: &str) -> Script {
    let moved = |body: Vec<u8>| String::from_utf8(body).unwrap().replace(UP, base).into_bytes();
    match script {
        Script::Json(status, headers, body) => {
            let headers = headers.into_iter().map(|(name, value)| (name, value.replace(UP, base)));
            Script::Json(status, headers.collect(), moved(body))
        }
        Script::Typed(status, media, body) => Script::Typed(status, media, moved(body)),
        other => other,
    }
}

struct Bench<'a> {
    house: &'a House,
    due: Due,
    client: Client,
    /// The upstream's.
    base: &'a str,
    state: &'a Mutex<(Option<Held>, Option<Script>)>,
}

impl Bench<'_> {
    /// Asks for the held record in that form, holds the whole answer against the canaries, and gives the record that
    /// came.
    async fn ask(
        &self,
        person: &Person,
        token: &str,
        form: Form,
        known: &mut Option<String>,
        tally: &mut Tally,
    ) -> Option<Value> {
        let (name, path) = {
            let state = self.state.lock();
            let held = state.0.as_ref().unwrap();
            let (name, id) = (held.name, known.as_ref().unwrap_or(&held.id));
            let path = match form {
                Form::Read => format!("{name}/{id}"),
                Form::Vread => format!("{name}/{id}/_history/{}", held.version),
                Form::Search => including(name).unwrap_or_else(|| name.to_owned()),
                Form::History => format!("{name}/{id}/_history"),
                Form::Batch => format!("{name}/{id}"),
                Form::Export => format!("$export?_type={name}"),
            };
            (name, path)
        };
        let due = if person.shows_all { Due::All } else { self.due };
        let url = |path: &str| format!("{}/{path}", self.house.base);
        let mut reply = if form == Form::Batch {
            let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
            let body = json!({"resourceType": "Bundle", "type": "batch", "entry": [get(&path), get(name)]});
            let json = [("content-type", "application/fhir+json")];
            ask_with(&self.client, Method::POST, &url(""), Some(token), &json, &body.to_string()).await
        } else if form == Form::Export {
            self.export(person, token, &url(&path)).await
        } else {
            ask_with(&self.client, Method::GET, &url(&path), Some(token), &[], "").await
        };
        let mut included = path.contains("_include");
        if form == Form::Search && included && reply.status == 403 {
            self.nothing(person, &reply);
            included = false;
            reply = ask_with(&self.client, Method::GET, &url(name), Some(token), &[], "").await;
        }
        let state = self.state.lock();
        let held = state.0.as_ref().unwrap();
        let facts = |text: &str, kind: &str| {
            let text = text.replace(UP, self.base);
            drape_shield::facts_of(&catalogue(), text.as_bytes(), kind, &[self.base], 64).unwrap()
        };
        if reply.status != 200 {
            assert!(
                [403, 404].contains(&reply.status.as_u16()),
                "{} {path}: {} {}",
                person.name,
                reply.status,
                reply.text
            );
            assert!(!person.shows_all, "{path}: {}", reply.text);
            tally.refused += usize::from(reply.status == 403);
            // It may name what the caller asked for, and nothing else.
            self.nothing(person, &reply);
            check(person.name, &held.made, 0, None, &[], due, tally);
            return None;
        }
        let verdicts = person.view.rule(&facts(&held.made.text, name));
        let json = match form {
            Form::Export => {
                reply.text.lines().next().map_or(Value::Null, |l| serde_json::from_str(l).unwrap())
            }
            _ => reply.json(),
        };
        let came = match form {
            Form::Export => Some(json.clone()).filter(|line| !line.is_null()),
            Form::Read | Form::Vread => Some(json.clone()),
            Form::Batch => Some(json["entry"][0]["resource"].clone()).filter(|r| r["resourceType"] == name),
            _ => json["entry"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|e| &e["resource"])
                .find(|r| r["resourceType"] == name)
                .cloned(),
        };
        let found = find(everything(&reply).as_bytes());
        // The Bundle's own id is part of what the one who sees everything is shown.
        let words = if person.shows_all { find(headers(&reply).as_bytes()) } else { found.clone() };
        assert!(!words.contains(&POISON), "{} {path}: the upstream's own words left", person.name);
        if form == Form::Search {
            *known = came.as_ref().and_then(|c| c["id"].as_str()).map(str::to_owned);
        }
        if came.is_some() {
            check(person.name, &held.made, 0, Some(&found), &verdicts, due, tally);
        } else {
            assert!(!person.shows_all);
            check(person.name, &held.made, 0, None, &[], due, tally);
            assert!(
                found.iter().all(|n| *n >= INCLUDED),
                "{} {path}: withheld and told {found:?}",
                person.name
            );
        }
        if included && form == Form::Search {
            let verdicts = person.view.rule(&facts(&held.patient.text, "Patient"));
            let there = found.iter().any(|n| *n >= INCLUDED);
            check(person.name, &held.patient, INCLUDED, there.then_some(&found), &verdicts, due, tally);
        } else {
            assert!(found.iter().all(|n| *n < INCLUDED || person.shows_all), "{} {path}", person.name);
        }
        came
    }

    /// The one file of an export, or the first answer on the way to it that is none. The others hold no canary.
    async fn export(&self, person: &Person, token: &str, kick_off: &str) -> Reply {
        let get = async |url: &str| {
            let wait = [("prefer", "respond-async")];
            let wait = if url == kick_off { &wait[..] } else { &[] };
            ask_with(&self.client, Method::GET, url, Some(token), wait, "").await
        };
        let begun = get(kick_off).await;
        if begun.status != 202 {
            return begun;
        }
        self.nothing(person, &begun);
        let manifest = get(begun.header("content-location")).await;
        self.nothing(person, &manifest);
        let files = manifest.json()["output"].clone();
        assert_eq!(files.as_array().map(Vec::len), Some(1), "{}", manifest.text);
        get(files[0]["url"].as_str().unwrap()).await
    }

    /// That an answer holds no canary at all, but the address that the caller itself sent.
    fn nothing(&self, person: &Person, reply: &Reply) {
        let found = find(everything(reply).as_bytes());
        assert!(found.is_empty(), "{}: {} tells {found:?}: {}", person.name, reply.status, reply.text);
    }

    async fn errors(&self, cast: &[(Persona, Person, String)]) {
        let (scripts, name, id) = {
            let state = self.state.lock();
            let held = state.0.as_ref().unwrap();
            (errors(held), held.name, held.id.clone())
        };
        for script in scripts {
            self.state.lock().1 = Some(script);
            for (_, person, token) in cast {
                for path in [format!("{name}/{id}"), name.to_owned()] {
                    let reply = ask_with(
                        &self.client,
                        Method::GET,
                        &format!("{}/{path}", self.house.base),
                        Some(token),
                        &[],
                        "",
                    )
                    .await;
                    assert!(reply.status.as_u16() >= 400, "{} {path}: {}", person.name, reply.text);
                    self.nothing(person, &reply);
                }
            }
        }
        self.state.lock().1 = None;
    }
}

/// Body and headers of an answer, as one text.
fn everything(reply: &Reply) -> String {
    format!("{}\n{}", headers(reply), reply.text)
}

fn headers(reply: &Reply) -> String {
    reply.headers.iter().map(|(n, v)| format!("{n}: {}\n", v.to_str().unwrap())).collect()
}

/// The figures that `docs/threat-model.md` quotes.
fn print_figures(tallies: &Tallies, metrics: usize, log: usize) {
    let mut all = Tally::default();
    println!(
        "{:<16}{:<9}{:>7}{:>8}{:>9}{:>8}{:>10}{:>10}{:>10}",
        "who", "form", "whole", "reduced", "withheld", "refused", "planted", "hidden", "shown"
    );
    for ((who, form), t) in tallies {
        println!(
            "{who:<16}{:<9}{:>7}{:>8}{:>9}{:>8}{:>10}{:>10}{:>10}",
            format!("{form:?}").to_lowercase(),
            t.whole,
            t.reduced,
            t.withheld,
            t.refused,
            t.planted,
            t.hidden,
            t.shown
        );
        all.add(t);
    }
    println!(
        "{} types x {} forms x {} persons: {} canaries planted, {} hidden, 0 leaked, {} shown; {} bytes of metrics and {} of process log with none",
        r4().resource_types().count(),
        Form::ALL.len(),
        Persona::ALL.len(),
        all.planted,
        all.planted - all.shown,
        all.shown,
        metrics,
        log
    );
}

#[test]
fn a_page_of_records_is_as_tight_as_each_record_by_itself() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let persons = persons(shielding::PATIENT);
    let types: Vec<&'static str> = r4().resource_types().collect();
    let mut coverage = Coverage::default();
    let mut tally = Tally::default();
    for (page, names) in types.chunks(6).enumerate() {
        let mut text = format!(
            "{{\"resourceType\":\"Bundle\",\"id\":\"cnry99999q\",\"type\":\"searchset\",\"total\":6,\"link\":[{{\"relation\":\"self\",\"url\":\"{UP}/Patient\"}}],\n \"entry\":["
        );
        let mut all = Vec::new();
        for (n, name) in names.iter().enumerate() {
            let filling = Filling { turn: page + n, from: n * 4_000, modifiers: false };
            let one = make(&catalogue, &listed, &mut coverage, name, filling);
            let id: serde_json::Value = serde_json::from_str(&one.text).unwrap();
            let id = id["id"].as_str().unwrap();
            let gap = if n > 0 { ", " } else { "" };
            text += &format!(
                "{gap}{{ \"fullUrl\":\"{UP}/{name}/{id}\",\"resource\":{},\"search\":{{\"mode\":\"match\",\"score\":0.25}}}}",
                one.text
            );
            all.push((one, n * 4_000));
        }
        text += "]}";
        // Half of the persons see each page, unless all is looked at.
        let looks = |n: usize| rounds() > 1 || (page + n).is_multiple_of(2);
        for (n, person) in persons.iter().enumerate().filter(|(n, _)| looks(*n)) {
            let seed = (page * 10 + n) as u64;
            let seen = person.look(Expect::Bundle(BundleKind::Searchset), UP, text.as_bytes(), seed).unwrap();
            assert_eq!(resource_type(&seen.out).as_deref(), Some("Bundle"));
            if person.shows_all {
                assert_eq!(seen.out, rebased(text.as_bytes(), UP));
                continue;
            }
            let out = String::from_utf8(seen.out).unwrap();
            assert!(!out.contains("cnry99999q"));
            // Each entry by itself: those that came through, in their order.
            let value: serde_json::Value = serde_json::from_str(&out).unwrap();
            let members = value.as_object().unwrap().keys();
            assert!(
                members.into_iter().all(|k| ["resourceType", "type", "link", "entry"].contains(&k.as_str()))
            );
            let mut entries = value["entry"].as_array().into_iter().flatten().peekable();
            for ((one, from), (name, verdicts)) in all.iter().zip(names.iter().zip(&seen.verdicts)) {
                let came = entries.next_if(|e| e["resource"]["resourceType"] == **name);
                let entry = came.map(|e| serde_json::to_vec(e).unwrap());
                check(
                    person.name,
                    one,
                    *from,
                    entry.as_deref().map(find).as_ref(),
                    verdicts,
                    Due::All,
                    &mut tally,
                );
            }
            assert!(entries.next().is_none(), "an entry came through that was not sent");
            // And all together: nothing of one entry stands in another.
            for number in find(out.as_bytes()) {
                let (one, from) = &all[number / 4_000];
                let canary = &one.canaries[number - from];
                let verdict = seen.verdicts[number / 4_000].get(canary.place);
                assert!(
                    matches!(verdict, Some(Verdict::Keep(plan)) if canary.may_show(plan)),
                    "{}",
                    canary.path
                );
            }
        }
    }
    println!("pages: {tally:?}");
    assert!(tally.reduced > 75 && tally.withheld > 150 && tally.shown > 25_000, "{tally:?}");
}

#[test]
fn a_modifier_that_nobody_knows_closes_a_record_to_every_reduced_view() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let hide = |c: Category| if c == Category::Genomic { Treatment::Redact } else { Treatment::Show };
    let plan = Arc::new(Plan::new(Category::ALL.map(hide), vec![]));
    for name in r4().resource_types() {
        let one = make(
            &catalogue,
            &listed,
            &mut Coverage::default(),
            name,
            Filling { turn: 0, from: 0, modifiers: true },
        );
        let judge = |facts: &drape_view::Facts| {
            facts.records.iter().map(|_| Verdict::Keep(Arc::clone(&plan))).collect()
        };
        let seen =
            shield(setup(record(name), UP, false, false, true), one.text.as_bytes(), 7, &judge).unwrap();
        // Bundle and Parameters have no such extension, nor has Binary, whose mandatory code goes with its content.
        let withheld = one.text.contains("modifierExtension") || name == "Binary";
        assert_eq!(seen.out.is_empty(), withheld, "{name}");
    }
}

fn treatment(category: Category) -> impl Strategy<Value = Treatment> {
    let all = [
        Treatment::Show,
        Treatment::Generalize(Coarsening::Year),
        Treatment::Generalize(Coarsening::City),
        Treatment::Generalize(Coarsening::Zip3),
        Treatment::Generalize(Coarsening::Flag),
        Treatment::Pseudonymize,
        Treatment::Encrypt,
        Treatment::Redact,
    ];
    // Half are shown, or hardly anything would come through.
    let fitting: Vec<Treatment> = all.into_iter().filter(|t| t.fits(category)).collect();
    prop_oneof![2 => Just(Treatment::Show), 1 => prop::sample::select(fitting)]
}

fn plan() -> impl Strategy<Value = Arc<Plan>> {
    let treatments: Vec<_> = Category::ALL.into_iter().map(treatment).collect();
    treatments.prop_map(|t| Arc::new(Plan::new(t.try_into().unwrap(), vec![])))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_plan_nothing_hidden_leaves_and_everything_shown_arrives(
        outer in plan(),
        inner in plan(),
        structure: bool,
        first in 0usize..146,
        turn in 0usize..50,
        seed: u64,
        declared: bool,
    ) {
        let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
        // Without its modifiers nearly every record is withheld, so half of the plans show what most of them are.
        let show = |plan: &Plan| {
            let keep = |c: Category| match c {
                Category::Structure | Category::Diagnosis | Category::Demographics | Category::Death | Category::PatientLink if structure => Treatment::Show,
                c => plan.treatment(c),
            };
            Arc::new(Plan::new(Category::ALL.map(keep), vec![]))
        };
        let (outer, inner) = (show(&outer), show(&inner));
        let inner = Arc::new(inner.stricter(&outer));
        let due = if declared { Due::All } else { Due::Whole };
        let mut coverage = Coverage::default();
        let mut tally = Tally::default();
        for name in r4().resource_types().skip(first).step_by(29) {
            let filling = Filling { turn, from: 0, modifiers: false };
            let one = make(&catalogue, &listed, &mut coverage, name, filling);
            let judge = |facts: &drape_view::Facts| {
                let inside = facts.records.iter().skip(1).map(|_| Verdict::Keep(Arc::clone(&inner)));
                std::iter::once(Verdict::Keep(Arc::clone(&outer))).chain(inside).collect()
            };
            let seen = shield(setup(record(name), UP, false, false, declared), one.text.as_bytes(), seed, &judge).unwrap();
            if let Some(text) = single(&seen) {
                prop_assert_eq!(resource_type(text), Some(name.to_owned()));
            }
            check(name, &one, 0, single(&seen).map(find).as_ref(), &seen.verdicts[0], due, &mut tally);
        }
    }
}

/// What a random policy set says of one category.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// The action that is permitted, if any.
    permits: Option<&'static str>,
    /// A condition on it, whether it holds for the doctor's patients, and its text.
    when: (bool, &'static str),
    /// Whether a forbid stands against showing it.
    forbidden: bool,
}

fn rule() -> impl Strategy<Value = Rule> {
    let permits = prop_oneof![
        3 => Just(Some("show")),
        1 => prop::sample::select(vec![Some("pseudonymize"), Some("generalize"), Some("encrypt"), None]),
    ];
    let when = prop::sample::select(vec![
        (true, "true"),
        (true, "context.env.purpose == \"TREAT\""),
        (true, "!context.env.breakGlass"),
        (false, "context.env.purpose == \"HRESCH\""),
        (false, "context.record.type == ResourceType::\"Bundle\""),
    ]);
    (permits, when, prop::bool::weighted(0.1)).prop_map(|(permits, when, forbidden)| Rule {
        permits,
        when,
        forbidden,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_policies_nothing_hidden_leaves_and_everything_shown_arrives(
        rules in prop::collection::vec(rule(), Category::COUNT),
        first in 0usize..146,
        seed: u64,
    ) {
        let role = "principal in Role::\"clinician\"";
        let mut text = format!("@id(\"receive\") permit({role}, action == Action::\"receive\", resource);\n");
        // What the catalogue of treatments does not offer for a category is shown instead.
        let offered = |c: Category, action: &str| {
            let name = format!("  {c}: ");
            shipped::TREATMENTS.lines().any(|l| l.starts_with(&name) && l.contains(action))
        };
        let rules: Vec<Rule> = Category::ALL
            .into_iter()
            .zip(rules)
            .map(|(c, rule)| Rule { permits: rule.permits.map(|a| if offered(c, a) { a } else { "show" }), ..rule })
            .collect();
        for (category, rule) in Category::ALL.into_iter().zip(&rules) {
            let resource = format!("resource == Category::\"{category}\"");
            if let Some(action) = rule.permits {
                text += &format!("@id(\"p-{category}\") permit({role}, action == Action::\"{action}\", {resource}) when {{ {} }};\n", rule.when.1);
            }
            if rule.forbidden {
                text += &format!("@id(\"f-{category}\") forbid({role}, action == Action::\"show\", {resource});\n");
            }
        }
        let treatments = Arc::new(Treatments::parse(shipped::TREATMENTS).unwrap());
        let set = PolicySet::read(&[("random.cedar", &text)], &treatments, &[]);
        let set = set.unwrap_or_else(|f| panic!("{}\n{text}", f.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")));
        let person = of_the_cast(Persona::Doctor, Some(&Arc::new(Decider::new(Arc::new(set)).unwrap())));
        let shown = |c: Category| {
            let rule = rules[c.index()];
            rule.permits == Some("show") && rule.when.0 && !rule.forbidden
        };
        let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
        let (mut coverage, mut tally) = (Coverage::default(), Tally::default());
        for name in r4().resource_types().skip(first).step_by(31) {
            let one = make(&catalogue, &listed, &mut coverage, name, Filling { turn: first, from: 0, modifiers: false });
            let seen = person.look(record(name), UP, one.text.as_bytes(), seed).unwrap();
            for verdict in &seen.verdicts[0] {
                if let Verdict::Keep(plan) = verdict {
                    for category in Category::ALL.into_iter().filter(|c| plan.treatment(*c) == Treatment::Show) {
                        prop_assert!(shown(category), "{category} of {name} is shown, and no policy says so:\n{text}");
                    }
                }
            }
            check(name, &one, 0, single(&seen).map(find).as_ref(), &seen.verdicts[0], Due::All, &mut tally);
        }
    }
}

#[test]
fn the_search_for_canaries_finds_them_in_every_disguise() {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let hex: String = b"cnry7q".iter().map(|b| format!("{b:02X}")).collect();
    for disguise in [
        "cnry7q".to_owned(),
        "x-cnry7q-y".to_owned(),
        "\\u0063nry7q".to_owned(),
        "%63%6e%72%79%37q".to_owned(),
        engine.encode("cnry7q"),
        engine.encode("acnry7q"),
        engine.encode("abcnry7q"),
        format!("prefix/{}", engine.encode("cnry7q?>")),
        engine.encode("cnry7q").trim_end_matches('=').to_owned(),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode("\u{fffd}\u{fffe}cnry7q"),
        base64::engine::general_purpose::URL_SAFE.encode("\u{fffd}\u{fffe}?cnry7q"),
        base64::engine::general_purpose::URL_SAFE.encode("\u{fffd}\u{fffe}??cnry7q"),
        hex.to_lowercase(),
        hex.clone(),
        format!("a{hex}"),
        "970000779".to_owned(),
        "1700-01-08T10:11:12Z".to_owned(),
        "00:00:07".to_owned(),
        "2026-10-02T00:00:07Z".to_owned(),
    ] {
        let text = format!("{{\"x\":[\"{disguise}\"]}}");
        assert_eq!(find(text.as_bytes()).into_iter().collect::<Vec<_>>(), [7], "{disguise}");
    }
    assert_eq!(find(format!("{{\"{PUB}\":970000779.50,\"cnry8q\":1}}").as_bytes()).len(), 2);
    assert!(find(br#"{"x":"1980","y":"97000077","z":"cnry"}"#).is_empty());
}

/// The surroundings of a canary, for messages.
fn near(number: usize, text: &str) -> &str {
    let place = text.find(&format!("cnry{number}q")).unwrap_or(0);
    text.get(place.saturating_sub(120)..(place + 40).min(text.len())).unwrap_or_default()
}
