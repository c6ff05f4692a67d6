//! The two modes: what is hidden is said to be hidden, or nothing says that it is there. Either way the record is valid.

use drape_fhir::definitions::Definitions;
use drape_view::catalogue::{Edge, Kind};

use super::*;

const RACE: &str = "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race";

/// What only a reduced view has; nothing that the fillers write.
const VOCABULARY: [&str; 9] = [
    "REDACTED",
    "ABSTRED",
    "PSEUDED",
    "MASKED",
    "masked",
    "v3-ObservationValue",
    "encrypted-element",
    "dataAbsentReason\":{\"coding\":[{\"system\":\"http://terminology.hl7.org",
    "null",
];

/// What comes out of one record, to the byte; nothing where it is withheld.
fn look(record: &Value, verdict: &Verdict, declared: bool) -> Option<String> {
    let text = serde_json::to_vec(record).unwrap();
    let setup = Setup { declared, ..setup(any_record(record["resourceType"].as_str().unwrap()), false) };
    let rule = |facts: &Facts| facts.records.iter().map(|_| verdict.clone()).collect();
    let (out, _) = run(setup, &[&text], &rule).unwrap();
    let strict = crate::tape::Tape::read(&out, 64);
    assert!(out.is_empty() || strict.is_ok(), "{strict:?}: {}", String::from_utf8_lossy(&out));
    (!out.is_empty()).then(|| String::from_utf8(out).unwrap())
}

fn silent(record: &Value, verdict: &Verdict) -> Option<String> {
    look(record, verdict, false)
}

fn parsed(text: Option<&String>) -> Value {
    serde_json::from_str(text.unwrap()).unwrap()
}

#[test]
fn a_silent_view_is_the_record_that_would_be_there_without_what_is_hidden() {
    let hidden = [Category::PersonName, Category::Contact, Category::BirthDate, Category::RecordedDate];
    let without = json!({
        "resourceType": "Patient", "id": "p1", "meta": {"versionId": "3"},
        "identifier": [{"system": "urn:mrn", "value": "MRN1"}], "active": true, "gender": "female",
        "deceasedDateTime": "2020-05-06",
        "address": [{"use": "home", "line": ["1 Road"], "city": "Town", "state": "MA", "postalCode": "02139", "country": "US"}],
        "generalPractitioner": [{"reference": "Practitioner/d1", "display": "Dr Who"}],
        "link": [{"other": {"reference": "http://up/fhir/Patient/p2"}, "type": "seealso"}],
    });
    let mut with = patient();
    with["meta"] = json!({"versionId": "3", "lastUpdated": "2026-01-02T03:04:05Z", "profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-patient"]});
    with["extension"] = json!([{"url": "http://vendor/secret", "valueString": "Ann's secret"}]);
    with["contact"][0].as_object_mut().unwrap().remove("gender");
    let verdict = hiding(&hidden);
    let out = silent(&with, &verdict).unwrap();
    assert_eq!(Some(&out), silent(&without, &verdict).as_ref());
    for word in VOCABULARY {
        assert!(!out.contains(word), "{word}: {out}");
    }
    let declared = look(&with, &verdict, true).unwrap();
    assert!(declared.contains("REDACTED") && !declared.contains("us-core-patient"), "{declared}");
}

#[test]
fn a_whole_record_of_a_silent_view_does_not_differ_in_its_white_space_or_in_where_meta_stands() {
    let text = br#"{ "resourceType": "Patient",
        "id": "p1", "meta": { "versionId": "3" }, "active": true, "birthDate": "1980-02-03" }"#;
    let out = |verdict: &Verdict| {
        let setup = Setup { declared: false, ..setup(any_record("Patient"), false) };
        String::from_utf8(run(setup, &[text], &|_| vec![verdict.clone()]).unwrap().0).unwrap()
    };
    let whole = out(&hiding(&[]));
    assert_eq!(
        whole,
        r#"{"resourceType":"Patient","id":"p1","meta":{"versionId":"3"},"active":true,"birthDate":"1980-02-03"}"#
    );
    assert_eq!(out(&hiding(&[Category::BirthDate])), whole.replace(",\"birthDate\":\"1980-02-03\"", ""));
}

#[test]
fn nothing_is_sealed_where_nothing_may_be_said() {
    let sealing = plan(|c| if c == Category::BirthDate { Treatment::Encrypt } else { Treatment::Show });
    assert_eq!(silent(&patient(), &sealing), silent(&patient(), &hiding(&[Category::BirthDate])));
    assert!(look(&patient(), &sealing, true).unwrap().contains(ENCRYPTED_ELEMENT));
}

#[test]
fn what_is_mandatory_and_hidden_is_unknown_in_silence_and_masked_in_words() {
    let observation = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]}});
    let verdict = hiding(&[Category::FindingCode]);
    for (declared, code) in [(true, "masked"), (false, "unknown")] {
        let out = parsed(look(&observation, &verdict, declared).as_ref());
        assert_eq!(
            out["code"],
            json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": code}]})
        );
    }
}

#[test]
fn a_code_from_a_fixed_list_is_a_real_one_or_the_record_goes() {
    let task = json!({"resourceType": "Task", "status": "requested", "intent": "order"});
    let gender = json!({"resourceType": "Patient", "gender": "female", "active": true});
    let sealed = plan(|c| if c == Category::Demographics { Treatment::Encrypt } else { Treatment::Show });
    let out = parsed(look(&gender, &sealed, true).as_ref());
    assert_eq!(out["gender"], "unknown");
    assert_eq!(out["_gender"]["extension"][1]["url"], ENCRYPTED_ELEMENT);
    assert_eq!(parsed(silent(&gender, &sealed).as_ref()), json!({"resourceType": "Patient", "active": true}));
    // The status of a Task is a modifier, and so nothing stands in its place.
    assert_eq!(look(&task, &hiding(&[Category::Structure]), true), None);
    // Nothing but the time is hidden, and what is left is no history.
    let episode = json!({"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": "Patient/1"},
        "statusHistory": [{"status": "planned", "period": {"start": "2020-01-01"}}]});
    assert!(
        parsed(silent(&episode, &hiding(&[Category::EventDate])).as_ref()).get("statusHistory").is_none()
    );
}

#[test]
fn rules_over_several_elements_hold_in_both_modes() {
    let cases: [(Value, &[Category], Value); 8] = [
        (
            json!({"resourceType": "Organization", "name": "House"}),
            &[Category::Staff],
            json!({"resourceType": "Organization", "_name": {"extension": "absent"}}),
        ),
        (
            json!({"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/1"},
                "code": {"coding": [{"code": "hush"}]}, "orderDetail": [{"coding": [{"code": "hush"}]}]}),
            &[Category::Service],
            json!({"resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/1"}}),
        ),
        (
            json!({"resourceType": "Appointment", "status": "booked", "start": "2026-01-02T03:04:05Z", "end": "2026-01-02T04:04:05Z",
                "participant": [{"status": "accepted", "actor": {"reference": "Patient/1"}}]}),
            &[Category::EventDate, Category::PatientLink],
            json!({"resourceType": "Appointment", "status": "booked", "participant": [{"status": "accepted", "actor": {"extension": "absent"}}],
                "_start": {"extension": "absent"}, "_end": {"extension": "absent"}}),
        ),
        (
            json!({"resourceType": "Appointment", "status": "proposed", "start": "2026-01-02T03:04:05Z", "end": "2026-01-02T04:04:05Z",
                "participant": [{"status": "accepted", "actor": {"reference": "Patient/1"}}]}),
            &[Category::EventDate],
            json!({"resourceType": "Appointment", "status": "proposed", "participant": [{"status": "accepted", "actor": {"reference": "Patient/1"}}]}),
        ),
        (
            json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "x"}]}, "component": [{"code": {"coding": [{"code": "y"}]},
                "referenceRange": [{"low": {"value": 1}, "text": "normal"}]}]}),
            &[Category::FindingValue],
            json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "x"}]}, "component": [{"code": {"coding": [{"code": "y"}]}}]}),
        ),
        (
            json!({"resourceType": "FamilyMemberHistory", "status": "completed", "patient": {"reference": "Patient/1"},
                "relationship": {"coding": [{"code": "FTH"}]}, "ageString": "old"}),
            &[Category::BirthDate],
            json!({"resourceType": "FamilyMemberHistory", "status": "completed", "patient": {"reference": "Patient/1"},
                "relationship": {"coding": [{"code": "FTH"}]}}),
        ),
        (
            json!({"resourceType": "Contract", "status": "executed", "signer": [{"type": {"code": "AMENDER"}, "party": {"reference": "Organization/1"},
                "signature": [{"type": [{"code": "hush"}], "when": "2020-01-01T00:00:00Z", "who": {"reference": "Practitioner/1"}}]}]}),
            &[Category::Signature],
            json!({"resourceType": "Contract", "status": "executed", "signer": [{"type": {"code": "AMENDER"}, "party": {"reference": "Organization/1"},
                "signature": [{"who": {"reference": "Practitioner/1"}, "type": [{"extension": "absent"}], "_when": {"extension": "absent"}}]}]}),
        ),
        (
            json!({"resourceType": "Communication", "status": "completed", "payload": [{"contentString": "hush"}]}),
            &[Category::Genomic],
            json!({"resourceType": "Communication", "status": "completed"}),
        ),
    ];
    for (record, hidden, expected) in cases {
        for declared in [true, false] {
            let mut out = parsed(look(&record, &hiding(hidden), declared).as_ref());
            let mut expected = expected.clone();
            // The words of the mode are looked at above.
            out.as_object_mut().unwrap().remove("meta");
            plain(&mut out);
            plain(&mut expected);
            assert_eq!(out, expected, "{record}");
        }
    }
}

/// Data-absent-reasons as one word, whichever.
fn plain(value: &mut Value) {
    if let Value::Object(map) = value {
        if map.get("extension").is_some_and(|e| e.to_string().contains("data-absent-reason")) {
            map.insert("extension".into(), json!("absent"));
        }
        map.values_mut().for_each(plain);
    } else if let Value::Array(items) = value {
        items.iter_mut().for_each(plain);
    }
}

#[test]
fn a_reference_of_a_silent_view_is_left_alone_by_nothing_that_stood_beside_it() {
    let of = |subject: Value| json!({"resourceType": "Observation", "status": "final", "code": {"coding": [{"code": "x"}]}, "performer": [subject]});
    let verdict = hiding(&[Category::PatientLink]);
    let nothing = silent(&of(json!({"reference": "Patient/hush"})), &verdict);
    for left in [
        json!({"reference": "Patient/hush", "display": "Ann"}),
        json!({"type": "Patient", "display": "Ann", "identifier": {"value": "1"}}),
        json!({"reference": "Patient/hush", "type": "Patient", "identifier": {"value": "1"}}),
    ] {
        assert_eq!(silent(&of(left), &verdict), nothing);
    }
    let shown = json!({"reference": "Practitioner/1", "type": "Practitioner", "display": "Dr Who"});
    assert_eq!(parsed(silent(&of(shown.clone()), &verdict).as_ref())["performer"][0], shown);
}

#[test]
fn positions_in_lists_of_primitives_stay_together_and_leave_no_gap_of_our_making() {
    let race = json!({"extension": [{"url": RACE, "valueString": "shown"}]});
    let hush = json!({"extension": [{"url": "http://vendor/x", "valueString": "hush"}]});
    let name = |given: Value, beside: Value| json!({"resourceType": "Patient", "name": [{"given": given, "_given": beside}]});
    let verdict = hiding(&[Category::BirthDate]);
    let out = parsed(silent(&name(json!(["A", null, "B"]), json!([null, hush, race])), &verdict).as_ref());
    assert_eq!(out["name"][0], json!({"given": ["A", "B"], "_given": [null, race]}));
    let with = name(json!(["A", null]), json!([hush, hush]));
    let without = json!({"resourceType": "Patient", "name": [{"given": ["A"]}]});
    assert_eq!(silent(&with, &verdict), silent(&without, &verdict));
}

/// Adds to some values what can stand beside a value: an id, an extension that is listed and one that nobody knows.
fn beside(value: &mut Value, turn: &mut usize) {
    let Value::Object(map) = value else {
        if let Value::Array(items) = value {
            items.iter_mut().for_each(|v| beside(v, turn));
        }
        return;
    };
    let mut more = Map::new();
    for (key, value) in map.iter_mut() {
        beside(value, turn);
        let (list, leaf) = match value {
            Value::Array(items) => (true, !items[0].is_object()),
            other => (false, !other.is_object()),
        };
        if !leaf || ["resourceType", "id", "url", "reference", "div"].contains(&key.as_str()) {
            continue;
        }
        *turn += 1;
        let one = match *turn % 5 {
            0 => json!({"id": "e1", "extension": [{"url": "http://vendor/x", "valueString": "v"}]}),
            1 => {
                json!({"extension": [{"url": RACE, "valueString": "r"}, {"url": "http://vendor/x", "valueString": "v"}]})
            }
            _ => continue,
        };
        more.insert(format!("_{key}"), if list { json!([one]) } else { one });
    }
    map.extend(more);
}

/// Whether nothing below an element may be seen under that plan.
fn is_hidden(edge: &Edge, value: &Value, plan: &Plan) -> bool {
    let gone = |c: Category| matches!(plan.treatment(c), Treatment::Redact | Treatment::Encrypt);
    match edge.category {
        Assigned::Fixed(_) if edge.is_bracket() => false,
        // Of these some parts have a category of their own.
        Assigned::Fixed(c) if edge.kind == Kind::Complex => {
            gone(c)
                && !["Address", "Dosage", "Timing", "Annotation", "Meta", "Identifier", "Signature"]
                    .contains(&edge.type_name)
        }
        Assigned::Fixed(c) => gone(c),
        Assigned::Extension(_) => {
            value.to_string().contains("http://vendor/x") && !value.to_string().contains(RACE)
        }
        // What else a Reference says is judged by what it names, which the fillers have all be one patient.
        Assigned::Reference => edge.type_name == "Reference" && gone(Category::PatientLink),
    }
}

/// The record without hidden elements that may be left out: all of them, or the one whose turn it is.
fn without(value: &Value, at: &'static str, node: NodeId, plan: &Plan, turn: &mut Option<usize>) -> Value {
    let Value::Object(map) = value else { return value.clone() };
    let catalogue = catalogue();
    let mut out = Map::new();
    for (key, value) in map {
        let name = key.trim_start_matches('_');
        let Some(edge) = catalogue.edge(node, name).copied() else {
            out.insert(key.clone(), value.clone());
            continue;
        };
        let element = element_of(r4(), at, name);
        let may_go = element.is_some_and(|e| e.min == 0 && !e.modifier) && name != "use";
        let stands_beside = key.starts_with('_');
        let hidden = is_hidden(&edge, value, plan) && !stands_beside;
        if may_go && hidden {
            let now = turn.as_mut().is_none_or(|left| {
                let now = *left == 0;
                *left = left.wrapping_sub(1);
                now
            });
            if now {
                continue;
            }
        }
        let inner = element.map(|e| r4().children_of(&e, edge.type_name)).unwrap_or_default();
        let each = |v: &Value, turn: &mut Option<usize>| match edge.kind {
            Kind::Complex if !matches!(edge.category, Assigned::Extension(_)) => {
                without(v, inner, edge.node, plan, turn)
            }
            _ => v.clone(),
        };
        let value = match value {
            Value::Array(items) => Value::Array(items.iter().map(|v| each(v, turn)).collect()),
            one => each(one, turn),
        };
        // What stood beside a value that has gone goes with it.
        if !stands_beside || out.contains_key(name) || !map.contains_key(name) {
            out.insert(key.clone(), value);
        }
    }
    Value::Object(out)
}

fn element_of(definitions: &Definitions, at: &str, name: &str) -> Option<Element> {
    definitions.elements(at).iter().find(|e| e.json_names().any(|(n, _)| n == name)).copied()
}

/// Whether everything that must stand in what came out does, as far as it stood in what went in, and nothing is empty.
fn is_sound(before: &Value, after: &Value, at: &'static str, place: &str) -> Result<(), String> {
    let Value::Object(map) = after else { return Ok(()) };
    if map.is_empty() {
        return Err(format!("{place} is empty"));
    }
    for element in r4().elements(at) {
        let there =
            |map: &Value, name: &str| map.get(name).is_some() || map.get(format!("_{name}")).is_some();
        let names: Vec<_> = element.json_names().collect();
        let stood = names.iter().any(|(n, _)| there(before, n));
        if element.min > 0 && stood && !names.iter().any(|(n, _)| there(after, n)) {
            return Err(format!("{place}.{} is gone", element.name));
        }
        if element.required_binding
            && names.iter().any(|(n, t)| *t == "code" && after.get(n).is_none() && there(after, n))
        {
            return Err(format!("{place}.{} has no code", element.name));
        }
        for (name, kind) in names {
            let Some(value) = after.get(&name) else { continue };
            let inner = r4().children_of(element, kind);
            let mine = &before[&name];
            match (value, mine) {
                (Value::Array(items), _) if items.is_empty() => {
                    return Err(format!("{place}.{name} is empty"));
                }
                (Value::String(text), _) if text.is_empty() => {
                    return Err(format!("{place}.{name} is empty"));
                }
                // The fillers write one item into each list.
                (Value::Array(items), Value::Array(mine)) if kind != "Extension" => {
                    is_sound(&mine[0], &items[0], inner, &format!("{place}.{name}"))?;
                }
                (one, mine) if kind != "Extension" => is_sound(mine, one, inner, &format!("{place}.{name}"))?,
                _ => {}
            }
        }
    }
    Ok(())
}

fn any_plan() -> impl Strategy<Value = Arc<Plan>> {
    let one = |c: Category| {
        let all = [
            Treatment::Generalize(Coarsening::Year),
            Treatment::Generalize(Coarsening::City),
            Treatment::Generalize(Coarsening::Zip3),
            Treatment::Generalize(Coarsening::Flag),
            Treatment::Pseudonymize,
            Treatment::Encrypt,
            Treatment::Redact,
            Treatment::Redact,
        ];
        let fitting: Vec<_> = all.into_iter().filter(|t| t.fits(c)).collect();
        prop_oneof![1 => Just(Treatment::Show), 1 => prop::sample::select(fitting)]
    };
    let treatments: Vec<_> = Category::ALL.into_iter().map(one).collect();
    (treatments, any::<bool>()).prop_map(|(treatments, modifiers)| {
        let mut treatments: [Treatment; Category::COUNT] = treatments.try_into().unwrap();
        // Without its modifiers nearly every record is withheld, so half of the plans show what most of them are.
        if modifiers {
            for c in [Category::Structure, Category::Diagnosis, Category::Demographics, Category::Death] {
                treatments[c.index()] = Treatment::Show;
            }
        }
        Arc::new(Plan::new(treatments, vec![]))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_hidden_both_modes_are_valid_and_silence_cannot_be_told_from_absence(
        plan in any_plan(),
        first in 0usize..12,
        turns in prop::collection::vec(0usize..60, 2),
    ) {
        let catalogue = catalogue();
        let verdict = Verdict::Keep(Arc::clone(&plan));
        for name in r4().resource_types().skip(first).step_by(12) {
            let mut filler = Filler { catalogue: Arc::clone(&catalogue), canaries: Vec::new() };
            let mut record = filler.resource(name);
            strip(&mut record, "modifierExtension");
            beside(&mut record, &mut 0);
            let said = look(&record, &verdict, true);
            let quiet = look(&record, &verdict, false);
            for out in [&said, &quiet].into_iter().flatten() {
                let after: Value = serde_json::from_str(out).unwrap();
                let sound = is_sound(&record, &after, name, name);
                prop_assert!(sound.is_ok(), "{}", sound.unwrap_err());
            }
            let Some(quiet) = quiet else { continue };
            for word in VOCABULARY {
                prop_assert!(!quiet.contains(word), "{name}: {word}");
            }
            let node = catalogue.root(name).unwrap();
            for turn in [None].into_iter().chain(turns.iter().copied().map(Some)) {
                let less = without(&record, name, node, &plan, &mut turn.clone());
                let out = look(&less, &verdict, false);
                let (out, quiet) = (out.unwrap_or_default(), quiet.as_str());
                let differ = out.bytes().zip(quiet.bytes()).take_while(|(a, b)| a == b).count();
                let near = |text: &str| text.get(differ.saturating_sub(120)..).map(|t| t.chars().take(240).collect::<String>());
                prop_assert!(out == quiet, "{name}: {:?} instead of {:?}", near(&out), near(quiet));
            }
        }
    }
}
