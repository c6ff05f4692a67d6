//! The bench answers as the proxy would.

use serde_json::json;

use super::*;
use crate::config::{Policies, PolicySource};
use crate::parts::load_policies;
use crate::workbench::personas::Personas;

/// 2026-11-25, ten in the morning.
const MORNING: u64 = 1_795_600_800_000;

async fn bench() -> Bench {
    let loaded = load_policies(&Policies::of(PolicySource::Shipped("hospital".into())), None).unwrap();
    Bench::new(loaded, None, MORNING).await.unwrap()
}

fn person(bench: &Bench, name: &str) -> Admitted {
    let set = drape_policy::shipped::find("hospital").unwrap();
    let personas = Personas::parse("personas", set.file("personas.yaml").unwrap()).unwrap();
    let claims = &personas.find("personas", name).unwrap().claims;
    bench.caller(claims, &personas.purposes, Circumstances::default()).unwrap()
}

async fn get(bench: &Bench, who: &Admitted, target: &str) -> Walk {
    bench.ask(who, &Method::GET, target, &HeaderMap::new(), Bytes::new()).await.unwrap()
}

fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": "Example"}], "gender": "female", "birthDate": "1980-02-03"})
}

#[tokio::test]
async fn a_request_goes_through_the_real_stages_in_front_of_the_records_that_were_handed_in() {
    let bench = bench().await;
    bench.hold(vec![patient("p1"), patient("p3")]).unwrap();
    let doctor = person(&bench, "doctor");
    let known = get(&bench, &doctor, "/Patient/p1").await;
    assert_eq!(known.status, StatusCode::OK, "{:?}", known.trace);
    assert!(String::from_utf8_lossy(&known.body).contains("Example"));
    assert_eq!(known.trace.interaction, Some("read"));
    assert!(!known.trace.policies.is_empty());
    // Whom the doctor has nothing to do with is as unknown as who is not there.
    let hidden = get(&bench, &doctor, "Patient/p3").await;
    let absent = get(&bench, &doctor, "https://drape.example/fhir/Patient/p9").await;
    assert_eq!((hidden.status, absent.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
    let outcome = |walk: &Walk| String::from_utf8_lossy(&walk.body).replace(&walk.id, "ID");
    assert_eq!(outcome(&hidden), outcome(&absent));
    assert_eq!(hidden.trace.refusal.as_ref().unwrap().stage, "protect");
    assert_eq!(absent.trace.refusal.as_ref().unwrap().stage, "forward");
    // The trace says which it was.
    assert_ne!(hidden.trace.refusal, absent.trace.refusal);
}

#[tokio::test]
async fn a_request_that_policy_refuses_never_reaches_the_server() {
    let bench = bench().await;
    let billing = person(&bench, "billing");
    let walk =
        bench.ask(&billing, &Method::DELETE, "/Patient/p1", &HeaderMap::new(), Bytes::new()).await.unwrap();
    assert_eq!(walk.status, StatusCode::FORBIDDEN);
    let refusal = walk.trace.refusal.unwrap();
    assert_eq!((refusal.stage, refusal.status), ("decide", 403));
    assert!(refusal.reason.contains("roles: billing"), "{}", refusal.reason);
}

#[tokio::test]
async fn the_trace_says_what_was_asked_of_policy_and_what_each_category_rests_on() {
    let bench = bench().await;
    let opioid = json!({"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F11.20"}]});
    bench
        .hold(vec![
            patient("p1"),
            json!({"resourceType": "Condition", "id": "c1", "subject": {"reference": "Patient/p1"}, "code": {"text": "Cough"}}),
            json!({"resourceType": "Condition", "id": "c2", "subject": {"reference": "Patient/p1"}, "code": opioid}),
        ])
        .unwrap();
    let walk = get(&bench, &person(&bench, "nurse"), "/Condition?patient=p1").await;
    assert_eq!(walk.status, StatusCode::OK, "{:?}", walk.trace);
    let trace = &walk.trace;
    let question = &trace.asked.questions[0];
    assert_eq!((question.action.as_str(), question.allowed), ("search", true));
    assert_eq!(question.policies, trace.policies);
    assert_eq!(trace.asked.scopes[0].by, ["user/*.cruds"]);
    assert_eq!(trace.asked.criteria[0].name, "patient");
    assert_eq!(trace.sent[0].target, "/Condition?patient=p1");
    let names: Vec<&str> = trace.records.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["Condition/c1", "Condition/c2"]);
    // One is withheld by name of the policy that does it; of the other each category has its own reason.
    let withheld: u64 = trace.withheld.values().sum();
    let kept = trace.records.iter().filter(|r| matches!(r.verdict, drape_view::Verdict::Keep(_))).count();
    assert_eq!(withheld + kept as u64, 2, "{trace:?}");
    assert!(trace.records.iter().all(|r| !r.received_by.is_empty()), "{:?}", trace.records);
    let counted: u64 = trace.determined.iter().flat_map(|d| d.categories.values()).sum();
    assert!(counted > 0);
    for judged in &trace.records {
        let drape_view::Verdict::Keep(plan) = &judged.verdict else { continue };
        for category in drape_view::Category::ALL {
            let why = plan.why(category).unwrap();
            let shown = plan.treatment(category) != drape_view::Treatment::Redact;
            assert_eq!(shown, !why.policies.is_empty(), "{category}: {why:?}");
        }
    }
}

#[tokio::test]
async fn other_records_and_another_time_replace_those_before() {
    let bench = bench().await;
    let doctor = person(&bench, "doctor");
    bench.hold(vec![patient("p1")]).unwrap();
    assert_eq!(get(&bench, &doctor, "/Patient/p1").await.status, StatusCode::OK);
    bench.hold(vec![patient("p2")]).unwrap();
    assert_eq!(get(&bench, &doctor, "/Patient/p1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&bench, &doctor, "/Patient/p2").await.status, StatusCode::OK);
    let night = MORNING + 13 * 3_600_000;
    bench.set_time(night);
    let nurse = person(&bench, "nurse");
    assert_eq!(nurse.caller.environment.hour, 23);
    bench.set_time(MORNING);
    assert_eq!(person(&bench, "nurse").caller.environment.hour, 10);
}

#[tokio::test]
async fn a_batch_leaves_a_trace_of_each_entry() {
    let bench = bench().await;
    bench.hold(vec![patient("p1")]).unwrap();
    let doctor = person(&bench, "doctor");
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "GET", "url": "Patient/p1"}},
        {"request": {"method": "DELETE", "url": "Patient/p1"}},
    ]});
    let mut headers = HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/fhir+json"));
    let walk = bench.ask(&doctor, &Method::POST, "/", &headers, batch.to_string().into()).await.unwrap();
    assert_eq!(walk.status, StatusCode::OK, "{:?}", String::from_utf8_lossy(&walk.body));
    let ids: Vec<&str> = walk.entries.iter().map(|trace| trace.id.as_str()).collect();
    assert_eq!(ids, [format!("{}.1", walk.id), format!("{}.2", walk.id)]);
    assert!(walk.entries[0].refusal.is_none() && walk.entries[1].refusal.is_some());
}

#[tokio::test]
async fn a_count_is_answered_under_the_benchs_own_budget() {
    let bench = bench().await;
    bench.hold(vec![patient("p1")]).unwrap();
    let walk = get(&bench, &person(&bench, "analyst"), "/Patient?gender=female&_summary=count").await;
    assert_eq!(walk.status, StatusCode::OK, "{:?}", walk.trace);
    let bundle: Value = serde_json::from_slice(&walk.body).unwrap();
    assert!(bundle["total"].is_number(), "{bundle}");
}

#[tokio::test]
async fn what_cannot_be_tried_is_said_with_a_help_line() {
    let bench = bench().await;
    let error = bench.hold(vec![json!({"resourceType": "Patient"})]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a Patient has no `id`\n  help: give each record an id, by which it can be asked for"
    );
    let error = bench.hold(vec![json!({"resourceType": "Patent", "id": "1"})]).unwrap_err();
    assert!(error.to_string().contains("`Patent/1`"), "{error}");
    let doctor = person(&bench, "doctor");
    let asked = bench.ask(&doctor, &Method::GET, "/Patient?name=a b", &HeaderMap::new(), Bytes::new()).await;
    assert!(asked.unwrap_err().to_string().contains("is no request target"));
}
