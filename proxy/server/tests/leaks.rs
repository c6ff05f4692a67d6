//! Records of every R4 type, filled with canaries, before every person of the hospital and under plans of every kind: no
//! canary of what is hidden comes out, every canary of what is shown does, and what comes out is a record of that type.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]
#![allow(clippy::print_stdout, reason = "how much was looked at belongs to the result")]

mod canaries;
mod shielding;

use std::collections::BTreeMap;
use std::sync::Arc;

use canaries::{Filling, Made, find, listed, make, turns};
use drape_fhir::definitions::r4;
use drape_shield::{BundleKind, Expect};
use drape_view::{Category, Coarsening, Plan, Treatment, Verdict, shipped};
use proptest::prelude::*;
use shielding::{PUB, Seen, UP, catalogue, persons, rebased, record, resource_type, setup, shield};

/// How often what happened; printed at the end and held against what must have happened at least.
#[derive(Default, Debug)]
struct Tally {
    reasons: BTreeMap<&'static str, usize>,
    whole: usize,
    reduced: usize,
    withheld: usize,
    hidden: usize,
    shown: usize,
}

/// Holds what came out of one entry against its canaries.
#[allow(clippy::too_many_arguments)]
fn check(
    who: &str,
    made: &Made,
    from: usize,
    text: Option<&[u8]>,
    verdicts: &[Verdict],
    declared: bool,
    tally: &mut Tally,
) {
    let Some(text) = text else {
        tally.withheld += 1;
        return;
    };
    let found = find(text);
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
        // A silent view leaves out as well what would tell that something stood beside it.
        let must = whole || declared && plan.is_some_and(|p| canary.must_show(p));
        let say = || format!("{who}: {} ({:?}), number {}", canary.path, canary.needs, from + place);
        assert!(may || !there, "leaked: {}", say());
        assert!(!must || there, "lost: {}", say());
        tally.hidden += usize::from(!may);
        tally.shown += usize::from(there);
    }
}

fn single(seen: &Seen) -> Option<&[u8]> {
    (!seen.out.is_empty()).then_some(&seen.out[..])
}

#[test]
fn no_person_sees_a_canary_of_what_is_hidden_and_each_sees_all_that_is_shown() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let persons = persons(shielding::PATIENT);
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (number, name) in r4().resource_types().enumerate() {
        // Each choice has its turn with some person; the widest have fifty.
        let turns = turns(name);
        for (n, person) in persons.iter().enumerate() {
            let seed = (number * 100 + n) as u64;
            let tally = tallies.entry(person.name).or_default();
            let filling = Filling { turn: (number + n) % turns, from: 0, modifiers: false };
            let one = make(&catalogue, &listed, name, filling);
            let seen = person.look(record(name), UP, one.text.as_bytes(), seed).unwrap();
            if let Some(text) = single(&seen) {
                assert_eq!(resource_type(text).as_deref(), Some(name), "{}", String::from_utf8_lossy(text));
                if person.shows_all {
                    assert_eq!(text, rebased(one.text.as_bytes(), UP));
                }
            }
            assert!(!person.shows_all || !seen.out.is_empty());
            for (reason, count) in &seen.summary.withheld {
                *tally.reasons.entry(reason.name()).or_default() += *count as usize;
            }
            check(person.name, &one, 0, single(&seen), &seen.verdicts[0], true, tally);
        }
    }
    for (name, tally) in &tallies {
        println!("{name}: {tally:?}");
    }
    // Of 146 types; twelve are closed to all who are not shown everything.
    assert_eq!((tallies["records officer"].whole, tallies["records officer"].withheld), (146, 0));
    for (name, reduced, whole) in [
        ("nurse", 60, 0),
        ("billing", 80, 0),
        ("researcher", 120, 0),
        ("clinician", 20, 20),
        ("patient", 20, 20),
        ("guardian", 20, 20),
    ] {
        let tally = &tallies[name];
        assert!(tally.reduced >= reduced && tally.whole >= whole, "{name}: {tally:?}");
        assert!(tally.reduced == 0 || tally.hidden > 2_000 && tally.shown > 10_000, "{name}: {tally:?}");
    }
    assert_eq!((tallies["nobody"].withheld, tallies["nobody"].shown), (146, 0));
}

#[test]
fn a_page_of_records_is_as_tight_as_each_record_by_itself() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let persons = persons(shielding::PATIENT);
    let types: Vec<&'static str> = r4().resource_types().collect();
    let mut tally = Tally::default();
    for (page, names) in types.chunks(6).enumerate() {
        let mut text = format!(
            "{{\"resourceType\":\"Bundle\",\"id\":\"cnry99999q\",\"type\":\"searchset\",\"total\":6,\"link\":[{{\"relation\":\"self\",\"url\":\"{UP}/Patient\"}}],\n \"entry\":["
        );
        let mut all = Vec::new();
        for (n, name) in names.iter().enumerate() {
            let filling = Filling { turn: page + n, from: n * 4_000, modifiers: false };
            let one = make(&catalogue, &listed, name, filling);
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
        for (n, person) in persons.iter().enumerate() {
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
                check(person.name, one, *from, entry.as_deref(), verdicts, true, &mut tally);
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
    assert!(tally.reduced > 150 && tally.withheld > 300 && tally.shown > 50_000, "{tally:?}");
}

#[test]
fn a_modifier_that_nobody_knows_closes_a_record_to_every_reduced_view() {
    let (catalogue, listed) = (catalogue(), listed(shipped::CATEGORIES));
    let hide = |c: Category| if c == Category::Genomic { Treatment::Redact } else { Treatment::Show };
    let plan = Arc::new(Plan::new(Category::ALL.map(hide), vec![]));
    for name in r4().resource_types() {
        let one = make(&catalogue, &listed, name, Filling { turn: 0, from: 0, modifiers: true });
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
        let mut tally = Tally::default();
        for name in r4().resource_types().skip(first).step_by(29) {
            let filling = Filling { turn, from: 0, modifiers: false };
            let one = make(&catalogue, &listed, name, filling);
            let judge = |facts: &drape_view::Facts| {
                let inside = facts.records.iter().skip(1).map(|_| Verdict::Keep(Arc::clone(&inner)));
                std::iter::once(Verdict::Keep(Arc::clone(&outer))).chain(inside).collect()
            };
            let seen = shield(setup(record(name), UP, false, false, declared), one.text.as_bytes(), seed, &judge).unwrap();
            if let Some(text) = single(&seen) {
                prop_assert_eq!(resource_type(text), Some(name.to_owned()));
            }
            check(name, &one, 0, single(&seen), &seen.verdicts[0], declared, &mut tally);
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
