//! Whatever is written is judged by what its author was shown: nothing that she was not shown is lost, changed or told.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;
mod shelf;

use std::time::Duration;

use common::*;
use drape_demo::Persona;
use http::Method;
use serde_json::{Value, json};
use shelf::Shelf;

/// A clerk (in the role of a clinician) writes records of one patient, is shown neither her identifiers nor her birth
/// date, nothing of HIV and nothing of others; a records officer is shown and writes everything.
const POLICY: &str = r#"
@id("requests") permit (principal, action in Action::"access", resource);
@id("searches") permit (principal, action == Action::"searchBy", resource);
@id("clerk-sees") permit (principal in Role::"clinician", action in [Action::"receive", Action::"show"], resource)
when { context.patient.known && context.patient.relations.contains("treating") };
@id("clerk-hides") forbid (principal in Role::"clinician", action in Action::"release", resource)
when { context.record.type == ResourceType::"Patient" && [Category::"identifier", Category::"birth-date"].contains(resource) };
@id("clerk-not-hiv") forbid (principal in Role::"clinician", action in Action::"observe", resource)
when { context.record.labels.contains("HIV") };
@id("clerk-writes") permit (principal in Role::"clinician", action in [Action::"change", Action::"relate"], resource);
@id("clerk-not-contact") forbid (principal in Role::"clinician", action == Action::"change", resource == Category::"contact");
@id("records") permit (principal in Role::"records-officer",
  action in [Action::"receive", Action::"show", Action::"change", Action::"relate"], resource);
"#;

fn patient(id: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "identifier": [{"system": "urn:mrn", "value": format!("Canary-MRN-{id}")}],
        "extension": [{"url": "http://vendor.example/x", "valueString": "Canary-Extension"}],
        "name": [{"family": "Shown", "given": ["Ann"]}], "birthDate": "1980-02-03", "gender": "female",
        "telecom": [{"system": "phone", "value": "555"}],
        "maritalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus", "code": "M"}]},
    })
}

fn condition(id: &str, patient: &str, code: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}})
}

struct Ward {
    house: House,
    shelf: Shelf,
}

impl Ward {
    async fn open(records: Vec<Value>) -> Self {
        let shelf = Shelf::of(records).await;
        let wishes = Wishes { upstream: Some(shelf.url.clone()), policy: Some(POLICY), ..Wishes::default() };
        Self { house: House::with(wishes).await, shelf }
    }

    async fn ask(
        &self,
        persona: Persona,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let mut all = vec![];
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/fhir+json"));
        }
        all.extend_from_slice(headers);
        let url = format!("{}/{path}", self.house.base);
        ask(method, &url, Some(&self.house.token(persona)), &all, body).await
    }

    /// What the clerk is shown.
    async fn view(&self, path: &str) -> (Value, String) {
        let reply = self.ask(Persona::Doctor, Method::GET, path, &[], "").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        (reply.json(), reply.header("etag").to_owned())
    }

    async fn put(&self, path: &str, body: &Value) -> Reply {
        self.ask(Persona::Doctor, Method::PUT, path, &[], &body.to_string()).await
    }

    async fn patch(&self, path: &str, patch: &Value) -> Reply {
        let json = [("content-type", "application/json-patch+json")];
        self.ask(Persona::Doctor, Method::PATCH, path, &json, &patch.to_string()).await
    }

    /// The record as it is stored, without its version.
    fn stored(&self, key: &str) -> Value {
        let mut record = self.shelf.get(key).unwrap();
        record["meta"].as_object_mut().unwrap().remove("versionId");
        if record["meta"] == json!({}) {
            record.as_object_mut().unwrap().remove("meta");
        }
        record
    }
}

/// All that a caller can tell two refusals apart by.
fn told(reply: &Reply) -> (u16, String, Vec<(String, String)>) {
    let mut body: Value = serde_json::from_str(&reply.text).unwrap_or_default();
    nameless(&mut body["issue"][0]);
    let headers = reply.headers.iter().filter(|(n, _)| !["x-request-id", "date"].contains(&n.as_str()));
    let headers = headers.map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned()));
    (reply.status.as_u16(), body.to_string(), headers.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reduced_view_that_is_sent_back_changed_destroys_nothing() {
    let ward = Ward::open(vec![patient("p1")]).await;
    let (mut view, etag) = ward.view("Patient/p1").await;
    let shown = view.to_string();
    assert!(!shown.contains("Canary") && !shown.contains("1980") && shown.contains("REDACTED"), "{shown}");
    view["name"][0]["family"] = json!("Changed");
    let headers = [("if-match", etag.as_str())];
    let reply = ward.ask(Persona::Doctor, Method::PUT, "Patient/p1", &headers, &view.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let mut expected = patient("p1");
    expected["name"][0]["family"] = json!("Changed");
    assert_eq!(ward.stored("Patient/p1"), expected);
    // What comes back is what a read would bring.
    assert!(!reply.text.contains("Canary") && reply.text.contains("Changed"), "{}", reply.text);
    // By a patch too, and where nothing is wished back nothing comes.
    let patch = json!([{"op": "replace", "path": "/name/0/given/0", "value": "Bea"}]);
    let headers = [("content-type", "application/json-patch+json"), ("prefer", "return=minimal")];
    let reply = ward.ask(Persona::Doctor, Method::PATCH, "Patient/p1", &headers, &patch.to_string()).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, ""));
    let parameters = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
        {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.gender"},
        {"name": "value", "valueCode": "other"}]}]});
    let reply = ward.ask(Persona::Doctor, Method::PATCH, "Patient/p1", &[], &parameters.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    expected["name"][0]["given"][0] = json!("Bea");
    expected["gender"] = json!("other");
    assert_eq!(ward.stored("Patient/p1"), expected);
    let xml = [("content-type", "application/xml-patch+xml")];
    let reply = ward.ask(Persona::Doctor, Method::PATCH, "Patient/p1", &xml, "<diff/>").await;
    assert_eq!(reply.status, 415, "{}", reply.text);
    House::log_is_sound(ward.house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_decides_on_each_category_that_changes_and_on_what_access_rests_on() {
    let ward = Ward::open(vec![patient("p1")]).await;
    let (view, _) = ward.view("Patient/p1").await;
    let with = |change: &dyn Fn(&mut Value)| {
        let mut new = view.clone();
        change(&mut new);
        new
    };
    let reply = ward.put("Patient/p1", &with(&|new| new["telecom"][0]["value"] = json!("556"))).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(reply.text.contains("you may not write contact"), "{}", reply.text);
    // Who may relate may not while something is hidden from her: it could be what hides it.
    for change in [
        &(|new: &mut Value| new["generalPractitioner"] = json!([{"reference": "Practitioner/me"}]))
            as &dyn Fn(&mut Value),
        &|new| new["meta"]["tag"] = json!([{"code": "mine"}]),
        &|new| new["link"] = json!([{"other": {"reference": "Patient/p1"}, "type": "seealso"}]),
        &|new| new["maritalStatus"]["coding"][0]["code"] = json!("S"),
    ] {
        let reply = ward.put("Patient/p1", &with(change)).await;
        assert_eq!(reply.status, 403, "{}", reply.text);
        assert!(reply.text.contains("access itself rests on"), "{}", reply.text);
    }
    assert_eq!(ward.stored("Patient/p1"), patient("p1"));
    // Whoever is shown all of it may.
    let mut whole = patient("p1");
    whole["generalPractitioner"] = json!([{"reference": "Practitioner/me"}]);
    let reply = ward.ask(Persona::RecordsOfficer, Method::PUT, "Patient/p1", &[], &whole.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // But not from a copy that she read when she was shown less.
    let reply = ward.ask(Persona::RecordsOfficer, Method::PUT, "Patient/p1", &[], &view.to_string()).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert_eq!(ward.stored("Patient/p1"), whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guess_at_what_is_hidden_is_answered_alike_right_or_wrong_there_or_not() {
    let mut bare = patient("p1");
    for name in ["identifier", "birthDate", "extension"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    let (with, without) = (Ward::open(vec![patient("p1")]).await, Ward::open(vec![bare]).await);
    for (name, guess) in [
        ("birthDate", json!("1980-02-03")),
        ("birthDate", json!("1999-09-09")),
        ("identifier", json!([{"system": "urn:mrn", "value": "Canary-MRN-p1"}])),
        ("extension", json!([{"url": "http://vendor.example/x", "valueString": "Canary-Extension"}])),
    ] {
        let guessed = async |ward: &Ward| {
            let (mut view, _) = ward.view("Patient/p1").await;
            view[name] = guess.clone();
            ward.put("Patient/p1", &view).await
        };
        let (one, two) = (guessed(&with).await, guessed(&without).await);
        assert_eq!(one.status, 403, "{}", one.text);
        assert_eq!(told(&one), told(&two));
    }
    assert!(with.shelf.writes().is_empty() && without.shelf.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_35_a_patch_finds_nothing_at_a_hidden_path_whatever_is_there() {
    let mut bare = patient("p1");
    for name in ["identifier", "birthDate", "extension"] {
        bare.as_object_mut().unwrap().remove(name);
    }
    let (with, without) = (Ward::open(vec![patient("p1")]).await, Ward::open(vec![bare]).await);
    for patch in [
        json!([{"op": "test", "path": "/birthDate", "value": "1980-02-03"}]),
        json!([{"op": "test", "path": "/birthDate", "value": "1999-09-09"}]),
        json!([{"op": "copy", "from": "/birthDate", "path": "/name/0/family"}]),
        json!([{"op": "move", "from": "/identifier/0/value", "path": "/name/0/family"}]),
        json!([{"op": "remove", "path": "/identifier/0"}]),
        json!([{"op": "replace", "path": "/extension/0/valueString", "value": "x"}]),
        json!([{"op": "add", "path": "/identifier/-", "value": {"value": "x"}}]),
    ] {
        let (one, two) = (with.patch("Patient/p1", &patch).await, without.patch("Patient/p1", &patch).await);
        assert_eq!(one.status, 422, "{patch}: {}", one.text);
        assert_eq!(told(&one), told(&two), "{patch}");
        assert!(!one.text.contains("1980") && !one.text.contains("Canary"), "{}", one.text);
    }
    // What is put where something is hidden is refused, there or not.
    let patch = json!([{"op": "add", "path": "/birthDate", "value": "1980-02-03"}]);
    let (one, two) = (with.patch("Patient/p1", &patch).await, without.patch("Patient/p1", &patch).await);
    assert_eq!((one.status.as_u16(), told(&one)), (403, told(&two)));
    for (path, status) in
        [("Patient.birthDate", 422), ("Patient.identifier[0].value", 422), ("Patient.name.first()", 400)]
    {
        let patch = json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": path},
            {"name": "value", "valueString": "x"}]}]})
        .to_string();
        let one = with.ask(Persona::Doctor, Method::PATCH, "Patient/p1", &[], &patch).await;
        let two = without.ask(Persona::Doctor, Method::PATCH, "Patient/p1", &[], &patch).await;
        assert_eq!((one.status.as_u16(), told(&one)), (status, told(&two)), "{path}");
    }
    assert!(with.shelf.writes().is_empty() && without.shelf.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_36_a_version_is_compared_only_for_those_who_see_the_record_and_with_their_own_view() {
    let ward = Ward::open(vec![patient("p1"), patient("p2"), condition("hiv", "p1", "B20")]).await;
    let put = async |path: &str, etag: &str, body: &Value| {
        ward.ask(Persona::Doctor, Method::PUT, path, &[("if-match", etag)], &body.to_string()).await
    };
    // Right, wrong, and of a record that is not there: all alike.
    let absent = put("Condition/none", "W/\"1\"", &condition("none", "p1", "I10")).await;
    assert_eq!(absent.status, 404, "{}", absent.text);
    for etag in ["W/\"1\"", "W/\"7\""] {
        assert_eq!(told(&put("Condition/hiv", etag, &condition("hiv", "p1", "I10")).await), told(&absent));
        assert_eq!(told(&put("Patient/p2", etag, &patient("p2")).await), told(&absent));
    }
    let (view, etag) = ward.view("Patient/p1").await;
    assert!(etag.starts_with("W/\"1-"), "{etag}");
    for stale in ["W/\"2\"", "W/\"1-00000000\"", "W/\"\"", "*"] {
        let reply = put("Patient/p1", stale, &view).await;
        assert_eq!(reply.status, 412, "{stale}: {}", reply.text);
    }
    assert_eq!(put("Patient/p1", &etag, &view).await.status, 200);
    let reply = put("Patient/p1", &etag, &view).await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    // Who is shown all of it now cannot hold it to what she was shown of it once.
    let headers = [("if-match", "W/\"2-00000000\"")];
    let reply = ward
        .ask(Persona::RecordsOfficer, Method::PUT, "Patient/p1", &headers, &patient("p1").to_string())
        .await;
    assert_eq!(reply.status, 412, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_who_read_the_same_one_is_told_that_she_is_late() {
    let ward = Ward::open(vec![patient("p1")]).await;
    let (view, etag) = ward.view("Patient/p1").await;
    let named = |name: &str| {
        let mut new = view.clone();
        new["name"][0]["family"] = json!(name);
        new.to_string()
    };
    // Both are judged by the same version before either is sent.
    ward.shelf.meet_at("Patient/p1");
    let headers = [("if-match", etag.as_str())];
    let (one, two) = (named("One"), named("Two"));
    let (one, two) = tokio::join!(
        ward.ask(Persona::Doctor, Method::PUT, "Patient/p1", &headers, &one),
        ward.ask(Persona::Doctor, Method::PUT, "Patient/p1", &headers, &two),
    );
    let mut statuses = [one.status.as_u16(), two.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{} {}", one.text, two.text);
    let winner = if one.status == 200 { "One" } else { "Two" };
    let mut expected = patient("p1");
    expected["name"][0]["family"] = json!(winner);
    assert_eq!(ward.stored("Patient/p1"), expected);
    let late = if one.status == 200 { &two } else { &one };
    assert!(!late.text.contains("Canary"), "{}", late.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_deleted_by_who_is_shown_all_of_it_and_in_the_version_that_was_judged() {
    let ward = Ward::open(vec![
        patient("p1"),
        patient("p2"),
        condition("c1", "p1", "I10"),
        condition("hiv", "p1", "B20"),
    ])
    .await;
    let delete = async |persona, path: &str| ward.ask(persona, Method::DELETE, path, &[], "").await;
    let absent = delete(Persona::Doctor, "Condition/none").await;
    assert_eq!(absent.status, 404);
    assert_eq!(told(&delete(Persona::Doctor, "Condition/hiv").await), told(&absent));
    assert_eq!(told(&delete(Persona::Doctor, "Patient/p2").await), told(&absent));
    let reply = delete(Persona::Doctor, "Patient/p1").await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    assert!(ward.shelf.writes().is_empty());
    let stale = ward
        .ask(Persona::RecordsOfficer, Method::DELETE, "Condition/c1", &[("if-match", "W/\"9\"")], "")
        .await;
    assert_eq!(stale.status, 412, "{}", stale.text);
    let reply = delete(Persona::RecordsOfficer, "Condition/c1").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (204, ""));
    let sent = ward.shelf.writes();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].if_match.as_deref(), Some("W/\"1\""));
    assert_eq!(delete(Persona::RecordsOfficer, "Condition/c1").await.status, 410);
    assert_eq!(told(&delete(Persona::Doctor, "Condition/c1").await), told(&absent));
    // By a search that finds one, and never several.
    let reply = delete(Persona::RecordsOfficer, "Condition?code=B20").await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    let reply = delete(Persona::RecordsOfficer, "Patient?family=Shown").await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    assert_eq!(ward.shelf.count("Patient"), 2);
    // Policy and scopes have words of their own for it.
    let mut claims = ward
        .house
        .issuer
        .claims_at(Persona::RecordsOfficer, jiff::Timestamp::now(), Duration::from_secs(600))
        .unwrap();
    claims.insert("scope".into(), json!("user/*.crus"));
    let token = ward.house.issuer.sign(&claims).unwrap();
    let url = format!("{}/Patient/p2", ward.house.base);
    assert_eq!(ask(Method::DELETE, &url, Some(&token), &[], "").await.status, 403);
    House::log_is_sound(ward.house.folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_32_a_conditional_create_is_a_search_and_finds_nothing_that_is_withheld() {
    let hidden: Vec<Value> = (0..25).map(|i| condition(&format!("h{i}"), "p1", "B20")).collect();
    let open = async |more: Vec<Value>| {
        let mut all = vec![patient("p1"), condition("c1", "p1", "I10")];
        all.extend(more);
        Ward::open(all).await
    };
    let (with, without) = (open(hidden).await, open(vec![]).await);
    let new = condition("x", "p1", "I10");
    let mut new = new.clone();
    new.as_object_mut().unwrap().remove("id");
    let create = async |ward: &Ward, criteria: &str| {
        ward.ask(Persona::Doctor, Method::POST, "Condition", &[("if-none-exist", criteria)], &new.to_string())
            .await
    };
    // The one that she may see is there: nothing is made.
    let reply = create(&with, "patient=p1&code=I10").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["id"], "c1");
    assert!(with.shelf.writes().is_empty());
    // Those that are withheld are as if they were not there: the answer is that of a server that has none.
    let (one, two) =
        (create(&with, "patient=p1&code=B20").await, create(&without, "patient=p1&code=B20").await);
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (201, 201), "{}", one.text);
    assert_eq!(one.text, two.text);
    // Only where nothing at all was found is the server asked to see to it that it stays so.
    assert_eq!(with.shelf.writes()[0].if_none_exist, None);
    assert!(without.shelf.writes()[0].if_none_exist.as_deref().unwrap().contains("code=B20"));
    // Two that she may see.
    let reply = create(&with, "patient=p1&code=I10").await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    // The criteria are gated as those of a search are.
    let reply = create(&with, "patient.identifier=Canary-MRN-p1").await;
    let search =
        with.ask(Persona::Doctor, Method::GET, "Condition?patient.identifier=Canary-MRN-p1", &[], "").await;
    assert_eq!((reply.status.as_u16(), told(&reply).1), (403, told(&search).1));
    let reply = create(&with, "patient=p2&code=I10").await;
    assert!([201, 403].contains(&reply.status.as_u16()), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_33_conditional_writes_are_searches_and_find_nothing_that_is_withheld() {
    let hidden: Vec<Value> = (0..25).map(|i| condition(&format!("a{i}"), "p1", "B20")).collect();
    let open = async |more: Vec<Value>| {
        let mut all = vec![patient("p1"), condition("c1", "p1", "I10")];
        all.extend(more);
        Ward::open(all).await
    };
    let (with, without) = (open(hidden).await, open(vec![]).await);
    let mut new = condition("x", "p1", "I10");
    new.as_object_mut().unwrap().remove("id");
    new["recordedDate"] = json!("2026-01-01");
    let patch = json!([{"op": "add", "path": "/recordedDate", "value": "2026-01-02"}]);
    let ask = async |ward: &Ward, method: Method, query: &str| {
        let (headers, body): (&[(&str, &str)], String) = match method {
            Method::PUT => (&[], new.to_string()),
            Method::PATCH => (&[("content-type", "application/json-patch+json")], patch.to_string()),
            _ => (&[], String::new()),
        };
        ward.ask(Persona::Doctor, method, &format!("Condition?{query}"), headers, &body).await
    };
    for method in [Method::PATCH, Method::DELETE] {
        let (one, two) = (
            ask(&with, method.clone(), "patient=p1&code=B20").await,
            ask(&without, method.clone(), "patient=p1&code=B20").await,
        );
        assert_eq!((one.status.as_u16(), told(&one)), (404, told(&two)));
    }
    let (one, two) = (
        ask(&with, Method::PUT, "patient=p1&code=B20").await,
        ask(&without, Method::PUT, "patient=p1&code=B20").await,
    );
    assert_eq!((one.status.as_u16(), one.text.as_str()), (201, two.text.as_str()));
    assert_eq!(with.shelf.get("Condition/a0").unwrap()["code"]["coding"][0]["code"], "B20");
    // Now two that she may see match; the one by its criteria is changed in the version that was judged.
    let reply = ask(&with, Method::PUT, "patient=p1&code=I10").await;
    assert_eq!(reply.status, 412, "{}", reply.text);
    with.shelf.writes();
    let reply = ask(&with, Method::PATCH, "patient=p1&_id=c1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let sent = with.shelf.writes();
    assert_eq!((&sent[0].method, sent[0].target.as_str()), (&Method::PUT, "Condition/c1"));
    assert_eq!(sent[0].if_match.as_deref(), Some("W/\"1\""));
    let reply = ask(&with, Method::PUT, "patient=p1&_id=c1").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(with.stored("Condition/c1")["recordedDate"], "2026-01-01");
    // Without criteria nobody is meant.
    assert_eq!(ask(&with, Method::DELETE, "").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_34_references_by_search_are_refused_in_whatever_brings_them() {
    let ward = Ward::open(vec![patient("p1"), condition("c1", "p1", "I10")]).await;
    for reference in ["Patient?identifier=Canary-MRN-p1", "http://x/Patient?identifier=7", "Patient/p1?x=y"] {
        let mut new = condition("c1", "p1", "I10");
        new["subject"]["reference"] = json!(reference);
        let made = ward.ask(Persona::RecordsOfficer, Method::POST, "Condition", &[], &new.to_string()).await;
        let put = ward.ask(Persona::RecordsOfficer, Method::PUT, "Condition/c1", &[], &new.to_string()).await;
        let patch = json!([{"op": "replace", "path": "/subject/reference", "value": reference}]).to_string();
        let json = [("content-type", "application/json-patch+json")];
        let patched = ward.ask(Persona::RecordsOfficer, Method::PATCH, "Condition/c1", &json, &patch).await;
        for reply in [made, put, patched] {
            assert_eq!(reply.status, 400, "{reference}: {}", reply.text);
        }
    }
    assert!(ward.shelf.writes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lv_63_the_echo_of_a_write_is_the_callers_own_view_or_drapes_own_words() {
    let ward = Ward::open(vec![patient("p1")]).await;
    let (mut view, _) = ward.view("Patient/p1").await;
    view["gender"] = json!("male");
    let put = async |prefer: &str| {
        ward.ask(Persona::Doctor, Method::PUT, "Patient/p1", &[("prefer", prefer)], &view.to_string()).await
    };
    let echo = put("return=representation").await;
    assert_eq!(echo.status, 200, "{}", echo.text);
    let read = ward.ask(Persona::Doctor, Method::GET, "Patient/p1", &[], "").await;
    assert_eq!((echo.text.as_str(), echo.header("etag")), (read.text.as_str(), read.header("etag")));
    let minimal = put("return=minimal").await;
    assert_eq!((minimal.status.as_u16(), minimal.text.as_str()), (200, ""));
    let outcome = put("return=OperationOutcome").await;
    assert_eq!(outcome.json()["resourceType"], "OperationOutcome");
    for reply in [&echo, &minimal, &outcome] {
        assert!(!reply.text.contains("Canary") && !reply.text.contains("1980"), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_views_change_with_time_an_update_says_what_was_read() {
    let shelf = Shelf::of(vec![patient("p1")]).await;
    let policy = POLICY.replace("context.record.type ==", "context.env.hour >= 0 && context.record.type ==");
    let wishes = Wishes { upstream: Some(shelf.url.clone()), policy: Some(&policy), ..Wishes::default() };
    let ward = Ward { house: House::with(wishes).await, shelf };
    let (mut view, etag) = ward.view("Patient/p1").await;
    view["gender"] = json!("male");
    let reply = ward.put("Patient/p1", &view).await;
    assert_eq!(reply.status, 428, "{}", reply.text);
    let headers = [("if-match", etag.as_str())];
    let reply = ward.ask(Persona::Doctor, Method::PUT, "Patient/p1", &headers, &view.to_string()).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let patch = json!([{"op": "replace", "path": "/gender", "value": "other"}]);
    assert_eq!(ward.patch("Patient/p1", &patch).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_written_out_of_what_hides_it_nor_to_somebody_else() {
    let ward = Ward::open(vec![patient("p1"), patient("p2"), condition("c1", "p1", "I10")]).await;
    let write = async |new: &Value| ward.put("Condition/c1", new).await;
    // Into what would be withheld from her.
    let reply = write(&condition("c1", "p1", "B20")).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let reply = write(&condition("c1", "p2", "I10")).await;
    assert_eq!(reply.status, 403, "{}", reply.text);
    let mut new = condition("c1", "p1", "I10");
    new["meta"] = json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "REDACTED"}]});
    assert_eq!(write(&new).await.status, 403);
    assert!(ward.shelf.writes().is_empty());
    new["meta"] = json!({});
    new["code"]["coding"][0]["code"] = json!("I11");
    let reply = write(&new).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}
