use super::*;

fn bundle() -> String {
    let entry = |n: usize, kind: &str| {
        format!(
            r#"{{ "fullUrl" : "http://up/fhir/{kind}/{n}", "resource":{{"resourceType":"{kind}","id":"{n}","status":"final","code":{{"coding":[{{"system":"s","code":"c{n}"}}]}},"subject":{{"reference":"Patient/p{n}"}},"valueQuantity":{{"value":1.00,"unit":"m"}} }},"search":{{"mode":"match","score":0.5}}}}"#
        )
    };
    format!(
        r#" {{"resourceType":"Bundle","id":"secret-search-id","type":"searchset","total":3,"link":[{{"relation":"self","url":"http://up/fhir/Observation"}},{{"relation":"last","url":"http://up/fhir?p=9"}}],
  "entry":[{},
    {} , {}]}}
"#,
        entry(1, "Observation"),
        entry(2, "Observation"),
        entry(3, "Observation")
    )
}

fn searchset(shows_all: bool) -> Setup {
    setup(Expect::Bundle(BundleKind::Searchset), shows_all)
}

fn all(facts: &Facts) -> Vec<Verdict> {
    facts.records.iter().map(|_| hiding(&[])).collect()
}

/// Withholds the observations whose number is set in `mask`.
fn without(mask: u8) -> impl Fn(&Facts) -> Vec<Verdict> {
    move |facts| {
        let number: u8 = facts.main().unwrap().id.as_ref().unwrap().parse().unwrap();
        let verdict = if mask >> number & 1 == 1 {
            Verdict::Withhold(Reason::NotReceived)
        } else {
            hiding(&[Category::Genomic])
        };
        facts.records.iter().map(|_| verdict.clone()).collect()
    }
}

#[test]
fn the_all_seeing_caller_gets_every_byte_but_for_base_and_links() {
    let text = bundle();
    let (out, summary) = run(searchset(true), &[text.as_bytes()], &all).unwrap();
    let links = r#"[{"relation":"self","url":"http://up/fhir/Observation"},{"relation":"last","url":"http://up/fhir?p=9"}]"#;
    let expected = text
        .replace(links, r#"[{"relation":"self","url":"https://pub/Observation"}]"#)
        .replace("http://up/fhir", "https://pub");
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(summary.records.len(), 3);
}

#[test]
fn withheld_entries_leave_no_trace_and_the_rest_is_valid_whichever_they_are() {
    for mask in 0..8_u8 {
        let mask = mask << 1;
        let text = bundle();
        let (out, summary) = run(searchset(false), &[text.as_bytes()], &without(mask)).unwrap();
        let value: Value =
            serde_json::from_slice(&out).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out)));
        let ids: Vec<&str> = value["entry"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["resource"]["id"].as_str().unwrap())
            .collect();
        let expected: Vec<&str> =
            ["1", "2", "3"].into_iter().filter(|n| mask >> n.parse::<u8>().unwrap() & 1 == 0).collect();
        assert_eq!(ids, expected);
        assert_eq!(value.get("entry").is_some(), !expected.is_empty(), "an empty array is not valid FHIR");
        assert_eq!(summary.withheld.values().sum::<u64>(), u64::from(mask.count_ones()));
        let text = value.to_string();
        for gone in ["total", "secret-search-id", "score", "\"last\"", "http://up"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }
}

#[test]
fn every_split_of_the_stream_gives_the_same_answer() {
    let text = bundle();
    let bytes = text.as_bytes();
    let expected = run(searchset(false), &[bytes], &without(4)).unwrap().0;
    for cut in 0..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(run(searchset(false), &[a, b], &without(4)).unwrap().0, expected, "cut at {cut}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(run(searchset(false), &single, &without(4)).unwrap().0, expected);
    let whole: Vec<&[u8]> = bytes.chunks(7).collect();
    assert_eq!(
        run(searchset(true), &whole, &all).unwrap().0,
        run(searchset(true), &[bytes], &all).unwrap().0
    );
}

#[test]
fn a_body_cut_off_anywhere_is_a_fault_and_never_looks_complete() {
    let text = bundle();
    let end = text.trim_end().len();
    for cut in 0..end {
        assert!(run(searchset(false), &[&text.as_bytes()[..cut]], &without(2)).is_err(), "cut at {cut}");
    }
}

#[test]
fn a_bundle_that_is_not_what_it_should_be_is_refused_before_any_entry() {
    for (from, to) in [
        ("\"type\":\"searchset\"", "\"type\":\"history\""),
        ("\"resourceType\":\"Bundle\",", ""),
        ("\"type\":\"searchset\",", ""),
        ("\"fullUrl\" : \"http://up/fhir/Observation/2\"", "\"fullUrl\":\"http://up/fhir/Observation/9\""),
        ("\"entry\":[", "\"entry\":[[],"),
        ("\"entry\":[", "\"entry\":[7,"),
        (
            "\"resourceType\":\"Observation\",\"id\":\"2\"",
            "\"resourceType\":\"Observation\",\"id\":\"2\",\"id\":\"3\"",
        ),
    ] {
        let text = bundle().replacen(from, to, 1);
        assert_ne!(text, bundle());
        assert!(run(searchset(false), &[text.as_bytes()], &without(0)).is_err(), "{from} -> {to}");
    }
    let late = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"1"}}],"type":"searchset"}"#;
    assert!(run(searchset(false), &[late.as_bytes()], &all).is_err());
}

#[test]
fn a_record_over_the_limit_is_refused() {
    let mut setup = searchset(false);
    setup.limits.entry_bytes_max = 200;
    let fault = run(setup, &[bundle().as_bytes()], &without(0)).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limit);
}

#[test]
fn totals_stay_only_where_every_record_is_judged_alike() {
    let mut setup = searchset(false);
    setup.uniform = true;
    let (out, _) = run(setup, &[bundle().as_bytes()], &without(0)).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap()["total"], 3);
}

#[test]
fn a_history_keeps_its_requests_without_what_is_hidden() {
    let text = r#"{"resourceType":"Bundle","type":"history","entry":[
        {"fullUrl":"http://up/fhir/Patient/1","resource":{"resourceType":"Patient","id":"1","active":true},"request":{"method":"PUT","url":"Patient/1/_history/2"},"response":{"status":"200 OK","etag":"W/\"2\"","lastModified":"2026-01-01T00:00:00Z"}},
        {"fullUrl":"http://up/fhir/Patient/1","request":{"method":"DELETE","url":"Patient/1"},"response":{"status":"204"}}]}"#;
    let setup = setup(Expect::Bundle(BundleKind::History), false);
    let rule = |f: &Facts| {
        f.records
            .iter()
            .map(|_| {
                plan(|c| {
                    if c.is_link() {
                        Treatment::Pseudonymize
                    } else if c == Category::RecordedDate {
                        Treatment::Redact
                    } else {
                        Treatment::Show
                    }
                })
            })
            .collect()
    };
    let (out, summary) = run(setup, &[text.as_bytes()], &rule).unwrap();
    let out: Value = serde_json::from_slice(&out).unwrap();
    let entries = out["entry"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "a deletion says that there was a record");
    let id = entries[0]["resource"]["id"].as_str().unwrap();
    assert_eq!(entries[0]["request"]["url"], format!("Patient/{id}"));
    assert_eq!(entries[0]["fullUrl"], format!("https://pub/Patient/{id}"));
    assert!(entries[0]["response"].get("lastModified").is_none());
    assert_eq!(summary.minted[0].2, "1");
}

#[test]
fn lv_24_a_total_says_a_number_or_nothing() {
    for (total, stays) in [
        ("3", true),
        ("\"Ann Lee\"", false),
        ("{\"of\":\"Ann Lee\"}", false),
        ("[3]", false),
        ("null", false),
    ] {
        let text =
            bundle().replace("\"total\":3", &format!("\"total\":{total},\"_total\":{{\"id\":\"Ann Lee\"}}"));
        let mut setup = searchset(false);
        setup.uniform = true;
        let (out, _) = run(setup, &[text.as_bytes()], &without(0)).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out.get("total").is_some(), stays, "{total}");
        assert!(!out.to_string().contains("Ann Lee"));
    }
}

#[test]
fn every_member_of_a_bundle_has_its_addresses_rewritten_for_the_all_seeing() {
    let text = bundle().replace(
        "\"total\":3",
        r#""total":3,"meta":{"source":"http:\/\/up\/fhir\/x","tag":[ {"system" : "http://up/fhir/t"}]},"identifier":{"system":"http://up/fhirX"}"#,
    );
    let (out, _) = run(searchset(true), &[text.as_bytes()], &all).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(r#""meta":{"source":"https://pub/x","tag":[ {"system" : "https://pub/t"}]},"identifier":{"system":"http://up/fhirX"}"#), "{out}");
}

#[test]
fn an_entry_that_lives_on_another_server_reaches_only_those_who_see_everything() {
    for elsewhere in [
        "http://other/fhir/Observation/2",
        "http://up/fhirX/Observation/2",
        "Observation?_id=2",
        "hush",
        "http://up/fhir",
        "#2",
    ] {
        let text = bundle().replace("\"http://up/fhir/Observation/2\"", &format!("\"{elsewhere}\""));
        let (out, summary) = run(searchset(false), &[text.as_bytes()], &without(0)).unwrap();
        let out: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(out["entry"].as_array().unwrap().len(), 2, "{elsewhere}");
        assert_eq!(summary.withheld.get(&Reason::Elsewhere), Some(&1));
        assert!(run(searchset(true), &[text.as_bytes()], &all).is_ok());
    }
    // Real servers put stranger things there under their own base.
    for ours in ["urn:uuid:2", "Observation/2", "http://up/fhir/Observation?_id=2", "http://up/fhir?_id=2"] {
        let text = bundle().replace("\"http://up/fhir/Observation/2\"", &format!("\"{ours}\""));
        let (out, _) = run(searchset(false), &[text.as_bytes()], &without(0)).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&out).unwrap()["entry"][1]["fullUrl"],
            "https://pub/Observation/2"
        );
    }
}

#[test]
fn nothing_stands_in_an_entry_but_what_is_made_for_it() {
    let text = bundle().replace(
        "\"search\":{\"mode\":\"match\",\"score\":0.5}",
        r#""link":[{"relation":"hush","url":"hush"}],"id":"hush","extension":[{"url":"hush"}],"nonsense":"hush","request":{"method":"GET","url":"hush"},
        "response":{"status":"hush","outcome":{"resourceType":"OperationOutcome","issue":[{"diagnostics":"hush"}]}},"search":{"mode":"hush","score":0.5}"#,
    );
    // An outcome in a response is a record too: nothing with two records in one entry passes a reduced view.
    let (out, _) = run(searchset(false), &[text.as_bytes()], &without(0)).unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("hush"));
    let history = bundle().replace("searchset", "history").replace(
        "\"search\":{\"mode\":\"match\",\"score\":0.5}",
        r#""request":{"method":"hush","url":"hush","ifNoneExist":"hush"},"response":{"status":"200 hush","etag":"hush","location":"hush"}"#,
    );
    let (out, _) =
        run(setup(Expect::Bundle(BundleKind::History), false), &[history.as_bytes()], &without(0)).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(!out.contains("hush") && out.contains(r#""response":{"status":"200"}"#), "{out}");
    let (out, _) = run(
        setup(Expect::Bundle(BundleKind::History), false),
        &[history.replace("200 hush", "hush").as_bytes()],
        &without(0),
    )
    .unwrap();
    assert!(!String::from_utf8(out).unwrap().contains("hush"));
}

#[test]
fn a_bundle_within_an_entry_reaches_only_those_who_see_everything() {
    let inner = r#"{"resourceType":"Bundle","id":"1","type":"collection","entry":[{"resource":{"resourceType":"Patient","id":"p","name":[{"family":"hush"}]}}]}"#;
    let text = format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{{"resource":{inner}}}]}}"#);
    let some = |f: &Facts| f.records.iter().map(|_| hiding(&[Category::Genomic])).collect();
    let (out, summary) = run(searchset(false), &[text.as_bytes()], &some).unwrap();
    assert_eq!(out, br#"{"resourceType":"Bundle","type":"searchset"}"#);
    assert_eq!(summary.withheld.get(&Reason::ClosedType), Some(&1));
    assert_eq!(run(searchset(true), &[text.as_bytes()], &all).unwrap().0, text.as_bytes());
}
