//! Claims become callers: roles by purpose, relations, scopes; unexpected shapes refuse the token.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use drape_caller::{ClaimNames, Need, ScopeRuling, TokenFault, act_for, bound_certificate, caller, scopes};
use drape_view::granular::Condition;
use drape_view::{Bounds, Caller, Cover, Environment, StatedBy};
use serde_json::{Value, json};

fn names() -> ClaimNames {
    let s = str::to_owned;
    ClaimNames {
        name: s("name"),
        roles: s("realm_access.roles"),
        organization: s("organization"),
        departments: s("departments"),
        title: s("title"),
        client: s("client_id"),
        purpose_of_use: s("purpose_of_use"),
        shift: s("shift"),
        relations: s("relations"),
        fhir_user: s("fhirUser"),
        patient: s("patient"),
        scope: s("scope"),
    }
}

fn read(changes: Value) -> Result<Caller, TokenFault> {
    let mut claims = json!({
        "iss": "https://issuer", "sub": "s", "exp": 10,
        "realm_access": {"roles": ["clinician", "researcher"]},
        "purpose_of_use": "http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT",
        "relations": [{"patient": "Patient/p1", "is": ["treating"], "birthDate": "2011-02-03"}, {"patient": "p1", "is": ["ward"]}],
        "shift": {"start": "19:00", "end": "07:00"},
        "fhirUser": "https://ehr.example.org/Practitioner/d1",
        "scope": "openid user/*.rs patient/Patient.r",
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let environment = Environment {
        now_ms: 0,
        today: "2026-01-01".into(),
        hour: 0,
        minute_of_day: 0,
        weekday: 4,
        network: None,
        break_glass: false,
    };
    let purposes = [
        ("TREAT".to_owned(), vec!["clinician".to_owned(), "nurse".to_owned()]),
        ("HRESCH".to_owned(), vec!["researcher".to_owned()]),
    ];
    caller(claims.as_object().unwrap(), &names(), &purposes, [0; 32], environment)
}

#[test]
fn the_purpose_of_use_activates_roles_so_that_nobody_wears_two_hats() {
    let roles = |c: Caller| c.roles.into_iter().collect::<Vec<_>>().join(",");
    assert_eq!(roles(read(json!({})).unwrap()), "clinician");
    assert_eq!(roles(read(json!({"purpose_of_use": "HRESCH"})).unwrap()), "researcher");
    assert_eq!(roles(read(json!({"purpose_of_use": "HMARKT"})).unwrap()), "");
    assert_eq!(roles(read(json!({"purpose_of_use": null})).unwrap()), "");
}

#[test]
fn relations_to_one_patient_are_joined() {
    let caller = read(json!({})).unwrap();
    let relation = caller.relation("p1").unwrap();
    assert_eq!(relation.is.iter().map(String::as_str).collect::<Vec<_>>(), ["treating", "ward"]);
    assert_eq!(relation.birth_date.as_deref(), Some("2011-02-03"));
    assert_eq!(caller.shift, Some((19 * 60, 7 * 60)));
    assert_eq!(caller.fhir_user.as_deref(), Some("Practitioner/d1"));
}

#[test]
fn claims_of_an_unexpected_shape_refuse_the_token() {
    for (name, value) in [
        ("sub", json!(7)),
        ("realm_access", json!({"roles": [1]})),
        ("departments", json!({"a": 1})),
        ("purpose_of_use", json!(["TREAT", "HRESCH"])),
        ("shift", json!({"start": "25:00", "end": "07:00"})),
        ("shift", json!("always")),
        ("relations", json!({"p1": "treating"})),
        ("relations", json!([{"patient": "p/../1", "is": ["treating"]}])),
        ("relations", json!([{"patient": "p1", "is": ["guardian"], "birthDate": "soon"}])),
        (
            "relations",
            json!([{"patient": "p1", "is": [], "birthDate": "2011-02-03"}, {"patient": "p1", "is": [], "birthDate": "2001-02-03"}]),
        ),
        ("fhirUser", json!("me")),
        ("patient", json!("Group/1")),
        ("scope", json!({})),
    ] {
        assert!(matches!(read(json!({ name: value })), Err(TokenFault::Claim(_))), "{name}: {value}");
    }
}

#[test]
fn patient_scopes_need_a_patient_in_context() {
    let check = |scope: &str, patient: Option<&str>, need, kind| {
        let mut changes = json!({ "scope": scope });
        if let Some(p) = patient {
            changes["patient"] = json!(p);
        }
        scopes::check(&read(changes).unwrap(), need, kind)
    };
    let granted = |patient_only| ScopeRuling::Granted {
        bounds: if patient_only { Bounds::patient() } else { Bounds::free() },
    };
    assert_eq!(check("user/Patient.rs", None, Need::Search, "Patient"), granted(false));
    assert_eq!(check("patient/*.rs", Some("p1"), Need::Read, "Observation"), granted(true));
    assert_eq!(check("patient/*.rs user/*.r", Some("p1"), Need::Read, "Patient"), granted(false));
    assert_eq!(check("patient/*.rs user/*.r", Some("p1"), Need::Search, "Patient"), granted(true));
    for (scope, need, hint) in [
        ("patient/*.rs", Need::Read, "names none"),
        ("user/Observation.rs?date=gt2020", Need::Read, "`date` is not among"),
        ("user/*.rs?class=AMB", Need::Read, "`class` is not judged on Observation"),
        ("user/Observation.rs?status=s|final", Need::Read, "has no system"),
        ("user/Patient.rs", Need::Read, "do not cover"),
        ("user/*.r", Need::Search, "do not cover"),
        ("", Need::Read, "do not cover"),
    ] {
        match check(scope, None, need, "Observation") {
            ScopeRuling::Refused(text) => assert!(text.contains(hint), "{scope}: {text}"),
            granted => panic!("{scope}: {granted:?}"),
        }
    }
}

#[test]
fn granular_scopes_leave_what_meets_them_and_plain_ones_beside_them_leave_more() {
    let check = |scope: &str, kind| {
        scopes::check(&read(json!({ "scope": scope, "patient": "p1" })).unwrap(), Need::Search, kind)
    };
    let condition = |value: &str| Condition::parse("category", value).unwrap();
    let bounds = |covers: &[(bool, &[&str])]| {
        let of = |(patient, values): &(bool, &[&str])| Cover {
            patient: *patient,
            conditions: values.iter().map(|v| condition(v)).collect(),
        };
        ScopeRuling::Granted { bounds: Bounds::of(covers.iter().map(of)).unwrap() }
    };
    let lab = "patient/Observation.rs?category=s|laboratory";
    assert_eq!(check(lab, "Observation"), bounds(&[(true, &["s|laboratory"])]));
    let two = format!("{lab} user/Observation.rs?category=vital-signs");
    assert_eq!(check(&two, "Observation"), bounds(&[(true, &["s|laboratory"]), (false, &["vital-signs"])]));
    assert_eq!(
        check(&format!("{two} patient/*.s"), "Observation"),
        bounds(&[(true, &[]), (false, &["vital-signs"])])
    );
    assert_eq!(
        check(&format!("{two} system/*.s"), "Observation"),
        ScopeRuling::Granted { bounds: Bounds::free() }
    );
    assert!(matches!(check(lab, "Condition"), ScopeRuling::Refused(_)));
    // For every type that has what is asked for; others are not covered.
    assert_eq!(check("user/*.rs?category=a", "Condition"), bounds(&[(false, &["a"])]));
    assert!(matches!(check("user/*.rs?category=a", "Patient"), ScopeRuling::Refused(_)));
    assert!(matches!(check("user/*.rs?_tag=a", "Binary"), ScopeRuling::Refused(_)));
}

#[test]
fn another_purpose_activates_other_roles_and_none_that_the_token_does_not_hold() {
    let mut caller = read(json!({})).unwrap();
    assert_eq!(caller.statement.by, Some(StatedBy::Token));
    let purposes = [("ETREAT".to_owned(), vec!["clinician".to_owned(), "officer".to_owned()])];
    act_for(&mut caller, "ETREAT", StatedBy::Header, &purposes);
    assert_eq!((caller.purpose.as_str(), caller.statement.by), ("ETREAT", Some(StatedBy::Header)));
    assert_eq!(caller.roles.iter().map(String::as_str).collect::<Vec<_>>(), ["clinician"]);
    assert_eq!(read(json!({"purpose_of_use": null})).unwrap().statement.by, None);
}

#[test]
fn a_binding_that_is_not_understood_is_a_fault_and_never_passed_over() {
    let bound = |cnf: Value| bound_certificate(json!({ "cnf": cnf }).as_object().unwrap());
    let digest = "A".repeat(43);
    assert_eq!(bound(json!({"x5t#S256": digest})), Ok(Some([0; 32])));
    assert_eq!(bound_certificate(json!({}).as_object().unwrap()), Ok(None));
    for cnf in [
        json!({"jkt": digest}),
        json!({"x5t#S256": digest, "jkt": digest}),
        json!({"x5t#S256": "AAAA"}),
        json!({"x5t#S256": 7}),
        json!({"x5t#S256": format!("{digest}=")}),
        json!({}),
        json!(null),
        json!("x"),
    ] {
        assert_eq!(bound(cnf.clone()), Err(TokenFault::Binding), "{cnf}");
    }
}
