use super::*;

fn call(target: &str) -> Operation {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let name = parts.pop().unwrap().trim_start_matches('$').to_owned();
    Operation {
        name,
        resource_type: parts.first().map(|t| (*t).to_owned()),
        id: parts.get(1).map(|i| (*i).to_owned()),
        parameters: wire::pairs(query).unwrap(),
        posted: false,
        is_async: target.contains("$export"),
    }
}

fn post(target: &str, body: &str) -> Result<Offered, Misunderstood> {
    Operation { posted: true, ..call(target) }.offered(Some(body.as_bytes()))
}

fn refusal(target: &str) -> String {
    call(target).offered(None).unwrap_err().text().to_owned()
}

#[test]
fn lv_37_38_39_40_what_gathers_counts_or_matches_is_refused_by_name_with_what_to_do_instead() {
    for (target, says) in [
        ("Patient/$match", "near a guess"),
        ("Patient/$member-match", "near a guess"),
        ("Observation/$stats", "with noise"),
        ("Measure/1/$evaluate-measure", "with noise"),
        ("Composition/1/$document", "$everything"),
        ("Patient/1/$docref", "$everything"),
        ("Patient/1/$graph", "$everything"),
        ("Patient/$meta", "read the record"),
        ("$convert", "one by one"),
        ("$process-message", "one by one"),
        ("$graphql?query=x", "_include"),
        ("Patient/1/$graphql?query=x", "_include"),
        ("Group/1/$everything", "Patient/id"),
        ("Patient/$everything", "Patient/id"),
        ("Observation/$export", "/Patient/$export"),
        ("Patient/1/$export", "/Patient/$export"),
        ("$whatever", "offered are"),
    ] {
        let text = refusal(target);
        let name = target.split('$').nth(1).unwrap().split('?').next().unwrap();
        assert!(text.contains(&format!("`${name}`")) && text.contains(says), "{target}: {text}");
    }
}

#[test]
fn an_export_is_read_whole_and_means_the_same_when_it_is_read_again() {
    let target = "Patient/$export?_outputFormat=ndjson&_type=Patient,Condition&_type=Condition&_since=2026-01-01T00:00:00Z&_elements=id,Patient.name&_typeFilter=Condition%3Fcode%3Dx%257Cy%26clinical-status%3Dactive&_typeFilter=Condition%3Fcode%3Dz";
    let Offered::Export(export) = call(target).offered(None).unwrap() else { panic!() };
    assert_eq!(export.types, ["Patient", "Condition"]);
    assert_eq!(export.filters[0].to_query(), "code=x|y&clinical-status=active");
    assert_eq!(Export::reread(&export.address()).unwrap(), export);
    let body = r#"{"resourceType":"Parameters","parameter":[
        {"name":"patient","valueReference":{"reference":"Patient/a"}},
        {"name":"patient","valueReference":{"reference":"Patient/b"}},
        {"name":"_type","valueString":"Observation"}]}"#;
    let Offered::Export(export) = post("Patient/$export", body).unwrap() else { panic!() };
    assert_eq!(export.patients, ["a", "b"]);
    assert_eq!(Export::reread(&export.address()).unwrap(), export);
}

#[test]
fn what_of_an_export_is_not_understood_is_refused() {
    for target in [
        "$export?_outputFormat=application/fhir%2Bxml",
        "$export?_type=Nobody",
        "$export?_since=yesterday",
        "$export?_since=2026",
        "$export?_elements=nothing",
        "$export?_elements=Patient.name.family",
        "$export?whatever=1",
        "$export?includeAssociatedData=LatestProvenanceResources",
        "$export?patient=Patient/1",
        "$export?_typeFilter=Patient",
        "$export?_typeFilter=Patient%3F_include%3DPatient:organization",
        "$export?_typeFilter=Patient%3F_count%3D1",
        "$export?_typeFilter=Patient%3F_elements%3Did",
        "$export?_typeFilter=Patient%3F",
        "$export?_typeFilter=Condition%3Fcode%3Da,Patient%3Fname%3Dx",
        "$export?_typeFilter=Condition%3Fcode%3Da%252CPatient",
        "$export?_type=Patient&_typeFilter=Condition%3Fcode%3Da",
    ] {
        assert!(call(target).offered(None).is_err(), "{target}");
    }
    let mut sync = call("$export");
    sync.is_async = false;
    assert!(sync.offered(None).unwrap_err().text().contains("respond-async"));
    for body in [
        "",
        "[]",
        r#"{"resourceType":"Patient"}"#,
        r#"{"resourceType":"Parameters","parameter":{}}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Group/1"}}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Patient?name=x"}}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"_type","valueString":"Patient","valueCode":"Patient"}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"name":"_type","part":[]}]}"#,
        r#"{"resourceType":"Parameters","parameter":[{"valueString":"Patient"}]}"#,
    ] {
        assert!(post("Patient/$export", body).is_err(), "{body}");
    }
    let patient = r#"{"resourceType":"Parameters","parameter":[{"name":"patient","valueReference":{"reference":"Patient/a"}}]}"#;
    assert!(post("$export", patient).is_err(), "`patient` has no place at the level of the system");
    assert!(post("Patient/$export?_type=Patient", patient).is_err(), "parameters in both places");
}

#[test]
fn questions_about_codes_take_listed_parameters_alone() {
    let target = "ValueSet/$expand?url=http://x/vs&filter=a%26b&count=10";
    let Offered::Terminology(asked) = call(target).offered(None).unwrap() else { panic!() };
    assert_eq!(asked.to_query(), "url=http://x/vs&filter=a%26b&count=10");
    for target in [
        "ValueSet/$expand?context=x",
        "ValueSet/$expand?contextDirection=incoming",
        "ValueSet/$expand?valueSet=x",
        "ValueSet/$expand?url=a&url=b",
        "ValueSet/$lookup?code=x",
        "Patient/$expand?url=a",
        "CodeSystem/$lookup?coding=x",
    ] {
        assert!(call(target).offered(None).is_err(), "{target}");
    }
    let body = r#"{"resourceType":"Parameters","parameter":[{"name":"code","valueCode":"1"},{"name":"system","valueUri":"http://s"}]}"#;
    assert!(post("CodeSystem/$lookup", body).is_ok());
    for (name, value) in [
        ("valueSet", r#""resource":{"resourceType":"ValueSet"}"#),
        ("coding", r#""valueCoding":{"code":"1"}"#),
        ("context", r#""valueUri":"x""#),
    ] {
        let body = format!(r#"{{"resourceType":"Parameters","parameter":[{{"name":"{name}",{value}}}]}}"#);
        assert!(post("ValueSet/$expand", &body).is_err(), "{name}");
    }
}

#[test]
fn everything_validation_and_the_latest_take_what_is_theirs() {
    let target = "Patient/1/$everything?start=2020-01-01&_type=Condition,Observation&_count=20";
    let Offered::Everything(asked) = call(target).offered(None).unwrap() else { panic!() };
    assert_eq!(asked.types, ["Condition", "Observation"]);
    assert_eq!(Everything::reread("Patient", "1", &asked.to_query()).unwrap(), asked);
    for target in [
        "Patient/1/$everything?_filter=x",
        "Patient/1/$everything?start=x",
        "Patient/1/$everything?start=2020&start=2021",
        "Patient/1/$everything?_content=x",
        "Encounter/1/$everything?start=2020",
        "Patient/$validate",
        "Observation/$lastn?max=x",
        "Observation/$lastn?_content=x",
    ] {
        assert!(call(target).offered(None).is_err(), "{target}");
    }
    assert!(post("Patient/1/$everything", "{}").is_err());
    assert!(post("Patient/$validate", "{}").is_ok());
    assert!(post("Patient/1/$validate", "{}").unwrap_err().text().contains("stored"));
    let Offered::LastN(asked) = call("Observation/$lastn?max=2&patient=1").offered(None).unwrap() else {
        panic!()
    };
    assert_eq!(LastN::reread(&asked.to_query()).unwrap(), asked);
}
