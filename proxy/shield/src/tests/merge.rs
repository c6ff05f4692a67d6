//! The write-back merge: what is hidden is neither lost nor changed nor told, whatever is sent.

use drape_view::Pointer;

use super::*;
use crate::Hide;
use crate::merge::{self, Stored, Unmerged};

fn facts(record: &Value) -> Facts {
    let kind = record["resourceType"].as_str().unwrap();
    crate::facts_of(&catalogue(), &serde_json::to_vec(record).unwrap(), kind, &["http://up/fhir"], 64)
        .unwrap()
}

/// What the caller is shown of the record, and what comes of sending back what `change` made of it.
fn sent(
    record: &Value,
    verdict: &Verdict,
    change: impl FnOnce(&mut Value),
) -> Option<(Value, Result<Value, Unmerged>)> {
    sent_in(true, record, verdict, change)
}

/// The same where what is hidden is said to be hidden, or is not.
fn sent_in(
    declared: bool,
    record: &Value,
    verdict: &Verdict,
    change: impl FnOnce(&mut Value),
) -> Option<(Value, Result<Value, Unmerged>)> {
    sent_without(None, declared, record, verdict, change)
}

/// The same where references are left out for what they name.
fn sent_without(
    hide: Option<Hide>,
    declared: bool,
    record: &Value,
    verdict: &Verdict,
    change: impl FnOnce(&mut Value),
) -> Option<(Value, Result<Value, Unmerged>)> {
    let text = serde_json::to_vec(record).unwrap();
    let facts = facts(record);
    let verdicts = facts.records.iter().map(|_| verdict.clone()).collect();
    let answer = Answer { verdicts, seal_key: Some(keys().1), hide };
    let stored = Stored { text: &text, facts: &facts, answer: &answer };
    let setup = Setup { declared, ..setup(any_record(record["resourceType"].as_str().unwrap()), false) };
    let view = match merge::view(&setup, &stored) {
        Ok(view) => view,
        Err(Unmerged::Withheld(_)) => return None,
        Err(other) => panic!("{other:?}"),
    };
    let view: Value = serde_json::from_slice(&view).unwrap();
    let mut new = view.clone();
    change(&mut new);
    let merged = merge::merge(&setup, &stored, &serde_json::to_vec(&new).unwrap());
    Some((view, merged.map(|m| serde_json::from_slice(&m).unwrap())))
}

fn merged(record: &Value, verdict: &Verdict, change: impl FnOnce(&mut Value)) -> Value {
    sent(record, verdict, change).unwrap().1.unwrap()
}

fn refused(record: &Value, verdict: &Verdict, change: impl FnOnce(&mut Value)) -> String {
    match sent(record, verdict, change).unwrap().1 {
        Err(Unmerged::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn public(record: &Value) -> Value {
    serde_json::from_str(&record.to_string()).unwrap()
}

#[test]
fn what_is_shown_may_be_changed_and_what_is_hidden_stays() {
    let verdict = hiding(&[Category::Identifier, Category::BirthDate, Category::Region]);
    let out = merged(&patient(), &verdict, |new| {
        new["gender"] = json!("male");
        new["telecom"][0]["value"] = json!("556");
        new["extension"].as_array_mut().unwrap().clear();
        new.as_object_mut().unwrap().remove("generalPractitioner");
        new["maritalStatus"] = json!({"coding": [{"code": "M"}]});
    });
    let mut expected = patient();
    expected["gender"] = json!("male");
    expected["telecom"][0]["value"] = json!("556");
    // Its rank is no number, as FHIR would have it, so it was not shown, and stays, as does what was hidden of the list.
    expected["extension"].as_array_mut().unwrap().remove(0);
    expected.as_object_mut().unwrap().remove("generalPractitioner");
    expected["maritalStatus"] = json!({"coding": [{"code": "M"}]});
    assert_eq!(out, expected);
}

#[test]
fn what_is_sent_back_as_it_was_shown_changes_nothing() {
    for verdict in [
        hiding(&[]),
        hiding(&[Category::PersonName, Category::Identifier]),
        hiding(&[Category::Label]),
        plan(|c| {
            if c == Category::BirthDate { Treatment::Generalize(Coarsening::Year) } else { Treatment::Show }
        }),
        plan(
            |c| if c == Category::Death { Treatment::Generalize(Coarsening::Flag) } else { Treatment::Show },
        ),
        plan(
            |c| {
                if c == Category::Address { Treatment::Generalize(Coarsening::Zip3) } else { Treatment::Show }
            },
        ),
        plan(|c| if c == Category::PersonName { Treatment::Encrypt } else { Treatment::Show }),
        plan(|c| if c == Category::BirthDate { Treatment::Encrypt } else { Treatment::Show }),
        plan(|c| if c == Category::Identifier { Treatment::Pseudonymize } else { Treatment::Show }),
    ] {
        assert_eq!(merged(&patient(), &verdict, |_| {}), public(&patient()), "{verdict:?}");
        // Who leaves out `meta` says nothing about labels.
        let out = merged(&patient(), &verdict, |new| drop(new.as_object_mut().unwrap().remove("meta")));
        assert_eq!(out["meta"]["security"], patient()["meta"]["security"]);
    }
}

#[test]
fn nothing_is_written_where_something_is_hidden_whether_it_is_there_or_not() {
    let verdict = hiding(&[Category::Identifier, Category::BirthDate]);
    let mut without = patient();
    for name in ["identifier", "birthDate", "_birthDate"] {
        without.as_object_mut().unwrap().remove(name);
    }
    let guesses: [fn(&mut Value); 6] = [
        |new| new["birthDate"] = json!("1980-02-03"),
        |new| new["birthDate"] = json!("1999-01-01"),
        |new| new["identifier"] = json!([{"system": "urn:mrn", "value": "MRN1"}]),
        |new| {
            new["extension"]
                .as_array_mut()
                .unwrap()
                .push(json!({"url": "http://vendor/secret", "valueString": "x"}))
        },
        |new| new["contained"] = json!([{"resourceType": "Organization", "id": "x"}]),
        |new| new["nonsense"] = json!(1),
    ];
    for guess in guesses {
        assert_eq!(refused(&patient(), &verdict, guess), refused(&without, &verdict, guess));
    }
    // A birth date of a year alone looks the same before and after; it is no more the caller's to write.
    let year = plan(|c| {
        if c == Category::BirthDate { Treatment::Generalize(Coarsening::Year) } else { Treatment::Show }
    });
    let mut whole = patient();
    whole["birthDate"] = json!("1980");
    whole.as_object_mut().unwrap().remove("_birthDate");
    let other: fn(&mut Value) = |new| new["birthDate"] = json!("1981");
    assert_eq!(refused(&patient(), &year, other), refused(&whole, &year, other));
    assert!(
        refused(&whole, &year, |new| drop(new.as_object_mut().unwrap().remove("birthDate")))
            .contains("birthDate")
    );
}

#[test]
fn another_form_of_a_choice_that_may_be_hidden_is_not_written_beside_it() {
    let of = |value: Option<&str>| {
        let mut record = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]}});
        if let Some(value) = value {
            record["valueString"] = json!(value);
        }
        record
    };
    let verdict = hiding(&[Category::Identifier]);
    let write: fn(&mut Value) = |new| new["valueQuantity"] = json!({"value": 1});
    let (with, without) = (refused(&of(Some("hush")), &verdict, write), refused(&of(None), &verdict, write));
    assert_eq!(with, without);
    assert!(with.contains("`Observation.valueQuantity`"), "{with}");
    let shown = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]},
        "valueQuantity": {"value": 1}});
    let out = merged(&shown, &verdict, |new| {
        new.as_object_mut().unwrap().remove("valueQuantity");
        new["valueInteger"] = json!(2);
    });
    assert_eq!(out["valueInteger"], 2);
}

fn people() -> Value {
    json!({"resourceType": "Patient", "id": "p1", "contact": [
        {"relationship": [{"text": "t", "coding": [{"code": "mother"}]}], "name": {"family": "A"}},
        {"name": {"family": "hidden whole"}},
        {"relationship": [{"coding": [{"code": "father"}]}], "organization": {"reference": "Organization/1"}, "name": {"family": "B"}},
        {"id": "third", "relationship": [{"coding": [{"code": "aunt"}]}], "organization": {"reference": "Organization/2"}, "name": {"family": "C"}},
        {"organization": {"reference": "Organization/3"}},
    ]})
}

#[test]
fn items_with_hidden_parts_are_found_again_where_they_went() {
    let verdict = hiding(&[Category::PersonName]);
    let (view, _) = sent(&people(), &verdict, |_| {}).unwrap();
    let codes = |v: &Value| -> Vec<String> {
        let contacts = v["contact"].as_array().unwrap().iter();
        contacts.map(|c| c["name"]["family"].as_str().unwrap_or("-").to_owned()).collect()
    };
    assert_eq!(view["contact"].as_array().unwrap().len(), 3, "{view}");
    // Moved.
    let out = merged(&people(), &verdict, |new| new["contact"].as_array_mut().unwrap().reverse());
    assert_eq!(codes(&out), ["A", "hidden whole", "-", "C", "B"]);
    // Moved and changed: by its id.
    let out = merged(&people(), &verdict, |new| {
        let contacts = new["contact"].as_array_mut().unwrap();
        contacts.swap(0, 1);
        contacts[0]["organization"]["reference"] = json!("Organization/9");
    });
    assert_eq!(codes(&out), ["A", "hidden whole", "C", "B", "-"]);
    assert_eq!(out["contact"][2]["organization"]["reference"], "Organization/9");
    // Changed in its place.
    let out = merged(&people(), &verdict, |new| new["contact"][0]["gender"] = json!("male"));
    assert_eq!(
        out["contact"][2],
        json!({"relationship": [{"coding": [{"code": "father"}]}],
        "organization": {"reference": "Organization/1"}, "gender": "male", "name": {"family": "B"}})
    );
    // Added in front, and one that is shown whole is taken out.
    let out = merged(&people(), &verdict, |new| {
        let contacts = new["contact"].as_array_mut().unwrap();
        contacts.pop();
        contacts.insert(0, json!({"organization": {"reference": "Organization/8"}}));
    });
    assert_eq!(codes(&out), ["A", "hidden whole", "-", "B", "C"]);
    // One of which something is hidden cannot go.
    let text = refused(&people(), &verdict, |new| drop(new["contact"].as_array_mut().unwrap().remove(0)));
    assert!(text.contains("`Patient.contact[0]`") && text.contains("cannot be removed"), "{text}");
}

#[test]
fn values_and_what_stands_beside_them_stay_together() {
    let record = json!({"resourceType": "Patient", "id": "p1", "name": [{"given": ["Ann", "Bea", null, "Dot"], "_given": [
        {"extension": [{"url": "http://vendor/x", "valueString": "hush"}]}, null,
        {"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}, null]}]});
    let verdict = hiding(&[Category::Identifier]);
    let out = merged(&record, &verdict, |new| {
        let given = new["name"][0]["given"].as_array_mut().unwrap();
        given.swap(0, 1);
        given[3] = json!("Dora");
    });
    assert_eq!(out["name"][0]["given"], json!(["Bea", "Ann", null, "Dora"]));
    assert_eq!(out["name"][0]["_given"][1]["extension"][0]["valueString"], "hush");
    assert_eq!(out["name"][0]["_given"][0], Value::Null);
    // The name changed in its place keeps what is hidden beside it.
    let out = merged(&record, &verdict, |new| new["name"][0]["given"][0] = json!("Anna"));
    assert_eq!(out["name"][0]["_given"][0]["extension"][0]["valueString"], "hush");
}

#[test]
fn marks_of_drapes_are_taken_off_and_none_can_be_forged() {
    let verdict = hiding(&[Category::FindingCode]);
    let record = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"coding": [{"code": "x"}]},
        "valueQuantity": {"value": 1.50}});
    let (view, back) = sent(&record, &verdict, |new| new["valueQuantity"]["value"] = json!(2.5)).unwrap();
    assert_eq!(view["meta"]["security"][0]["code"], "REDACTED");
    assert_eq!(view["code"]["extension"][0]["valueCode"], "masked");
    let back = back.unwrap();
    assert_eq!(back["code"], record["code"]);
    assert!(back.get("meta").is_none(), "{back}");
    let absent = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
    let label =
        json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "MASKED"});
    refused(&record, &verdict, |new| new["meta"]["security"].as_array_mut().unwrap().push(label.clone()));
    // Read while something was hidden, sent while nothing is: what it lacks must not be lost.
    let text = refused(&record, &hiding(&[]), |new| new["meta"] = json!({"security": [label.clone()]}));
    assert!(text.contains("read it again"), "{text}");
    let forgeries: [fn(&mut Value, &str); 3] = [
        |new, url| new["_status"] = json!({"extension": [{"url": url, "valueCode": "masked"}]}),
        |new, url| new["code"] = json!({"extension": [{"url": url, "valueCode": "unknown"}]}),
        |new, _| new["extension"] = json!([{"url": ENCRYPTED_ELEMENT, "valueBase64Binary": "AAAA"}]),
    ];
    for forge in forgeries {
        refused(&record, &verdict, |new| forge(new, absent));
    }
    // Who is shown everything forges none either.
    let text = refused(&record, &hiding(&[]), |new| forgeries[2](new, absent));
    assert!(text.contains("drape.dev"), "{text}");
    // A ciphertext belongs to its place.
    let sealed = plan(|c| {
        if matches!(c, Category::PersonName | Category::Contact) {
            Treatment::Encrypt
        } else {
            Treatment::Show
        }
    });
    refused(&patient(), &sealed, |new| new["telecom"][0] = new["name"][0].clone());
    let out = merged(&patient(), &sealed, |new| new["gender"] = json!("other"));
    assert_eq!((&out["name"], &out["telecom"]), (&patient()["name"], &patient()["telecom"]));
}

#[test]
fn contained_records_are_merged_by_their_own_verdicts() {
    let request = json!({"resourceType": "MedicationRequest", "id": "m", "status": "active", "intent": "order",
        "contained": [
            {"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Hush"}]},
            {"resourceType": "Medication", "id": "med", "identifier": [{"value": "hush"}], "code": {"coding": [{"system": "s", "code": "c"}]}},
        ],
        "medicationReference": {"reference": "#med"}, "requester": {"reference": "#doc", "display": "Hush"},
        "subject": {"reference": "http://up/fhir/Patient/p1"}});
    let verdict = hiding(&[Category::Staff, Category::Identifier]);
    let (view, out) = sent(&request, &verdict, |new| {
        new["contained"][0]["code"]["coding"][0]["code"] = json!("d");
    })
    .unwrap();
    assert_eq!(view["subject"]["reference"], "https://pub/Patient/p1");
    let mut expected = request.clone();
    expected["contained"][1]["code"]["coding"][0]["code"] = json!("d");
    assert_eq!(out.unwrap(), expected);
    let text = refused(&request, &verdict, |new| {
        new["contained"].as_array_mut().unwrap().push(json!({"resourceType": "Medication", "id": "other"}));
        new["supportingInformation"] = json!([{"reference": "#other"}]);
    });
    assert!(text.contains("shown all of it"), "{text}");
}

#[test]
fn what_changes_is_told_by_category_and_what_access_rests_on_apart() {
    let changed = |old: &Value, new: &Value| {
        let text = |v: &Value| serde_json::to_vec(v).unwrap();
        merge::changes(&catalogue(), Some(&text(old)), Some(&text(new)), "http://up/fhir", 64).unwrap()
    };
    let set = |c: &[Category]| c.iter().copied().collect::<drape_view::CategorySet>();
    let mut new = patient();
    new["meta"]["versionId"] = json!("4");
    assert_eq!(changed(&patient(), &new), merge::Changes::default());
    new["telecom"][0]["value"] = json!("5");
    assert_eq!(changed(&patient(), &new).change, set(&[Category::Contact]));
    assert!(changed(&patient(), &new).relate.is_empty());
    let mut new = patient();
    new["generalPractitioner"][0]["reference"] = json!("Practitioner/me");
    assert_eq!(changed(&patient(), &new).relate, set(&[Category::Staff]));
    let mut new = patient();
    new["meta"]["security"] = json!([]);
    assert_eq!(changed(&patient(), &new).relate, set(&[Category::Label]));
    let condition = json!({"resourceType": "Condition", "subject": {"reference": "Patient/1"},
        "code": {"text": "t", "coding": [{"system": "s", "code": "c", "display": "d"}]}, "recordedDate": "2020"});
    let mut new = condition.clone();
    new["code"]["coding"][0]["display"] = json!("e");
    assert!(changed(&condition, &new).relate.is_empty());
    new["code"]["coding"][0]["code"] = json!("e");
    assert_eq!(changed(&condition, &new).relate, set(&[Category::Diagnosis]));
    let mut new = condition.clone();
    new["subject"]["reference"] = json!("Patient/2");
    assert_eq!(changed(&condition, &new).relate, set(&[Category::PatientLink]));
    let mut new = condition.clone();
    new["recordedDate"] = json!("2021");
    let found = changed(&condition, &new);
    assert!(found.relate.is_empty());
    assert_eq!(found.read.len(), 1);
    let whole =
        merge::changes(&catalogue(), None, Some(&serde_json::to_vec(&condition).unwrap()), "", 64).unwrap();
    assert_eq!(whole.relate, set(&[Category::PatientLink, Category::Diagnosis, Category::Note]));
}

/// A plan of random treatments. Some are not fit for their category, and leave it out.
fn random_plan(bits: u64, sealing: bool) -> Verdict {
    plan(|c| match bits >> (2 * (c.index() % 32)) & 3 {
        0 if c == Category::Address => Treatment::Generalize(Coarsening::Zip3),
        0 if c == Category::Death => Treatment::Generalize(Coarsening::Flag),
        0 => Treatment::Generalize(Coarsening::Year),
        1 if sealing => Treatment::Encrypt,
        1 => Treatment::Redact,
        _ => Treatment::Show,
    })
}

/// Every place in a value, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let at = format!("{at}/{name}");
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        Value::Array(items) => {
            for (place, inner) in items.iter().enumerate() {
                let at = format!("{at}/{place}");
                found.push(at.clone());
                places(inner, &at, found);
            }
        }
        _ => {}
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return };
    match value.pointer_mut(parent) {
        // In the order that the others had.
        Some(Value::Object(map)) => {
            *map = std::mem::take(map).into_iter().filter(|(n, _)| n != name).collect()
        }
        Some(Value::Array(items)) => drop(items.remove(name.parse().unwrap())),
        _ => {}
    }
}

/// Takes off what a view adds, so that what is left can be compared with what was sent.
fn unmarked(value: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().remove("meta");
    value
}

fn names() -> impl Strategy<Value = &'static str> {
    let open: Vec<&'static str> =
        r4().resource_types().filter(|t| !["Parameters", "Bundle"].contains(t)).collect();
    proptest::sample::select(open)
}

fn filled(name: &'static str) -> (Value, Vec<(String, Option<Category>)>) {
    let mut filler = Filler { catalogue: catalogue(), canaries: Vec::new() };
    let mut record = filler.resource(name);
    // An unknown modifier extension withholds every reduced view.
    strip(&mut record, "modifierExtension");
    record["id"] = json!("r1");
    // Some lists have more than one item, with other texts in it.
    if let Value::Object(map) = &mut record {
        for value in map.values_mut() {
            if let Value::Array(items) = value {
                let text = items[0].to_string().replace("cnry", "twin");
                items.push(serde_json::from_str(&text).unwrap());
            }
        }
    }
    (record, filler.canaries)
}

/// Has every reference name a record of its own, of several types.
fn scatter(value: &mut Value, count: &mut usize) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == "reference" && inner.is_string() {
                    let kind =
                        ["Patient", "Observation", "Condition", "Encounter", "Practitioner"][*count % 5];
                    *inner = json!(format!("{kind}/{count}"));
                    *count += 1;
                } else {
                    scatter(inner, count);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| scatter(item, count)),
        _ => {}
    }
}

/// Leaves out references to half the records of the types that `bits` picks. What may be of such a type but is not
/// known goes too.
fn random_hide(bits: u8) -> Option<Hide> {
    let hidden = move |kind: &str| bits >> (kind.bytes().map(usize::from).sum::<usize>() % 5) & 1 == 1;
    let hides = move |pointer: &Pointer| match (pointer.resource_type.as_deref(), &pointer.id) {
        (None, _) => true,
        (Some(kind), None) => hidden(kind),
        (Some(kind), Some(id)) => {
            let even = id.bytes().rfind(u8::is_ascii_digit).is_none_or(|last| last % 2 == 0);
            hidden(kind) && even
        }
    };
    (bits >= 32).then(|| Hide::new(hides))
}

/// Something else of the same kind.
fn other(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() >= 10 && text.starts_with("1961") => {
            json!(text.replace("1961", "1971"))
        }
        Value::String(text) if text == "Patient/p1" => json!("Patient/p2"),
        Value::String(text) => json!(format!("{text}-new")),
        Value::Number(_) => json!(8),
        Value::Bool(b) => json!(!b),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn sending_back_what_was_shown_is_no_change(
        name in names(), bits: u64, sealing: bool, declared: bool, hide: u8,
    ) {
        let (mut record, _) = filled(name);
        scatter(&mut record, &mut 0);
        let plan = random_plan(bits, sealing);
        let Some((_, back)) = sent_without(random_hide(hide), declared, &record, &plan, |_| {}) else {
            return Ok(());
        };
        prop_assert_eq!(back.unwrap(), record);
    }

    #[test]
    fn what_is_sent_is_what_is_shown_afterwards_and_nothing_hidden_is_lost(
        name in names(), bits: u64, which: u64, how in 0u8..3, hide: u8,
    ) {
        let verdict = random_plan(bits, false);
        let (mut record, mut canaries) = filled(name);
        let mut count = 0;
        scatter(&mut record, &mut count);
        let named = ["Patient", "Observation", "Condition", "Encounter", "Practitioner"];
        canaries.extend((0..count).map(|n| (format!("\"{}/{n}\"", named[n % 5]), None)));
        let mut new = Value::Null;
        let Some((view, back)) = sent_without(random_hide(hide), true, &record, &verdict, |sent| {
            let mut found = Vec::new();
            places(sent, "", &mut found);
            let at = &found[usize::try_from(which % found.len() as u64).unwrap()];
            match how {
                0 => remove(sent, at),
                1 => {
                    let changed = other(sent.pointer(at).unwrap());
                    *sent.pointer_mut(at).unwrap() = changed;
                }
                _ => {
                    let (parent, _) = at.rsplit_once('/').unwrap();
                    if let Some(Value::Array(items)) = sent.pointer_mut(parent) {
                        items.rotate_left(1);
                    }
                }
            }
            new = sent.clone();
        }) else { return Ok(()) };
        let Ok(merged) = back else { return Ok(()) };
        let (now, again) = sent_without(random_hide(hide), true, &merged, &verdict, |_| {}).unwrap();
        prop_assert_eq!(again.unwrap(), merged.clone());
        // What loses its last shown part is not shown any more, though its hidden ones stay.
        if how != 0 && new["resourceType"] == record["resourceType"] && new["id"] == view["id"] {
            prop_assert!(unmarked(&now) == unmarked(&new), "{name}: what is shown is not what was sent");
        }
        let (before, after, shown) = (record.to_string(), merged.to_string(), view.to_string());
        for (canary, _) in &canaries {
            for text in [canary.clone(), canary.replace("cnry", "twin")] {
                if before.contains(&text) && !shown.contains(&text) {
                    prop_assert!(after.contains(&text), "{text} is lost");
                }
            }
        }
        for mark in ["\"masked\"", "\"REDACTED\"", "\"ABSTRED\"", "drape.dev"] {
            prop_assert!(!after.contains(mark), "{mark} in {after}");
        }
    }

    #[test]
    fn the_answer_does_not_depend_on_what_is_hidden(
        name in names(), bits: u64, hidden: u64, which: u64, how in 0u8..3, declared: bool, hide: u8,
    ) {
        // Where references are left out, what else is hidden must not be what the answer turns on.
        let verdict = if hide & 1 == 1 { random_plan(bits, false) } else { hiding(&[]) };
        let (mut record, _) = filled(name);
        scatter(&mut record, &mut 0);
        let mut found = Vec::new();
        places(&record, "", &mut found);
        let at = found[usize::try_from(hidden % found.len() as u64).unwrap()].clone();
        // Another record of which the same is shown: something hidden is something else, or is not there.
        let mut twin = record.clone();
        let guess = record.pointer(&at).unwrap().clone();
        if how == 0 {
            remove(&mut twin, &at);
        } else {
            *twin.pointer_mut(&at).unwrap() = other(&guess);
        }
        let (Some((one, _)), Some((two, _))) = (
            sent_without(random_hide(hide), declared, &record, &verdict, |_| {}),
            sent_without(random_hide(hide), declared, &twin, &verdict, |_| {}),
        ) else {
            return Ok(());
        };
        if one != two || twin == record {
            return Ok(());
        }
        // The guess itself, at its place, and any other change.
        let put = |sent: &mut Value| {
            let (parent, name) = at.rsplit_once('/').unwrap();
            if let Some(Value::Object(map)) = sent.pointer_mut(parent) {
                map.insert(name.to_owned(), guess.clone());
            }
        };
        let change = |sent: &mut Value| {
            let mut found = Vec::new();
            places(sent, "", &mut found);
            let at = &found[usize::try_from(which % found.len() as u64).unwrap()];
            let changed = other(sent.pointer(at).unwrap());
            *sent.pointer_mut(at).unwrap() = changed;
        };
        for edit in [&put as &dyn Fn(&mut Value), &change] {
            let outcome = |record: &Value| match sent_without(random_hide(hide), declared, record, &verdict, |sent| edit(sent)).unwrap().1 {
                Ok(_) => "merged".to_owned(),
                Err(Unmerged::Refused(text)) => text,
                Err(other) => format!("{other:?}"),
            };
            prop_assert_eq!(outcome(&record), outcome(&twin), "{}", at);
        }
    }
}
