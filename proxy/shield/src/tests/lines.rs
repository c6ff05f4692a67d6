use super::*;

fn line(n: usize) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{n}","status":"final","code":{{"coding":[{{"system":"s","code":"c{n}"}}],"text":"hush-{n}"}},"subject":{{"reference":"Patient/p{n}"}},"valueQuantity":{{"value":1.00}}}}"#
    )
}

fn observations(shows_all: bool) -> Setup {
    setup(Expect::Lines { resource_type: "Observation".into() }, shows_all)
}

/// Withholds the lines whose number is set in `mask`; of the others the notes are hidden.
fn without(mask: u8) -> impl Fn(&Facts) -> Vec<Verdict> {
    move |facts| {
        let number: u8 = facts.main().unwrap().id.as_ref().unwrap().parse().unwrap();
        let hidden = Verdict::Withhold(Reason::NotReceived);
        let verdict = if mask >> number & 1 == 1 { hidden } else { hiding(&[Category::Note]) };
        facts.records.iter().map(|_| verdict.clone()).collect()
    }
}

fn ids(out: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(out).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "every line has its end: {text}");
    text.lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_withheld_line_leaves_no_trace_and_the_others_are_treated_whichever_they_are() {
    let file = format!("{}\n{}\r\n\n{}\n", line(0), line(1), line(2));
    for mask in 0..8_u8 {
        for size in [1, 7, 64, file.len()] {
            let chunks: Vec<&[u8]> = file.as_bytes().chunks(size).collect();
            let (out, summary) = run(observations(false), &chunks, &without(mask)).unwrap();
            let expected: Vec<String> =
                (0..3_u8).filter(|n| mask >> n & 1 == 0).map(|n| n.to_string()).collect();
            assert_eq!(ids(&out), expected);
            assert!(!String::from_utf8(out).unwrap().contains("hush"));
            assert_eq!(summary.records.len(), expected.len());
            let withheld = summary.withheld.get(&Reason::NotReceived).copied().unwrap_or(0);
            assert_eq!(withheld, u64::from(mask.count_ones()));
        }
    }
}

#[test]
fn who_is_shown_everything_gets_every_line_as_it_is_but_for_the_base() {
    let lines = [line(1), line(2).replace("\"Patient/p2\"", "\"http://up/fhir/Patient/p2\"")];
    let file = lines.join("\n");
    let all = |facts: &Facts| facts.records.iter().map(|_| hiding(&[])).collect();
    let (out, _) = run(observations(true), &[file.as_bytes()], &all).unwrap();
    let expected = format!("{}\n", file.replace("http://up/fhir", "https://pub"));
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_file_may_be_empty_or_hold_blank_lines_alone_and_its_last_line_may_want_its_end() {
    for nothing in ["", "\n", "\r\n \n\n"] {
        let (out, summary) = run(observations(false), &[nothing.as_bytes()], &without(0)).unwrap();
        assert!(out.is_empty() && summary.records.is_empty());
    }
    let (out, _) = run(observations(false), &[line(1).as_bytes()], &without(0)).unwrap();
    assert_eq!(ids(&out), ["1"]);
    let (out, _) = run(observations(false), &[line(1).as_bytes()], &without(2)).unwrap();
    assert!(out.is_empty());
}

#[test]
fn a_file_that_is_cut_off_anywhere_never_ends_as_if_it_were_whole() {
    let first = line(0);
    let file = format!("{first}\n{}", line(1));
    for cut in 1..file.len() {
        let result = run(observations(false), &[&file.as_bytes()[..cut]], &without(0));
        // Only where a record has just ended can nobody tell; the body's own framing does.
        let whole = cut == first.len() || cut == first.len() + 1;
        assert_eq!(result.is_ok(), whole, "{cut}");
    }
}

#[test]
fn what_is_no_line_of_that_type_is_a_fault() {
    let good = line(0);
    let patient = r#"{"resourceType":"Patient","id":"1"}"#;
    let pretty = good.replace(",\"status\"", ",\n\"status\"");
    let twice = format!("{good}{good}");
    let bom = format!("\u{feff}{good}");
    let nowhere = good.replace("\"resourceType\":\"Observation\",", "");
    for bad in [patient, &pretty, &twice, &bom, &nowhere, "[]", "null", "7", "{}", "<html>"] {
        let file = format!("{good}\n{bad}\n");
        let fault = run(observations(true), &[file.as_bytes()], &without(0)).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Upstream, "{bad}");
    }
    for file in [good.clone(), format!("{good}\n"), " ".repeat(good.len())] {
        let mut setup = observations(false);
        setup.limits.entry_bytes_max = good.len() - 1;
        assert_eq!(run(setup, &[file.as_bytes()], &without(0)).unwrap_err().kind, FaultKind::Limit);
    }
}

#[test]
fn nothing_is_taken_while_a_verdict_is_awaited() {
    let mut shield = Shield::new(observations(false));
    let mut out = Vec::new();
    let file = format!("{}\n{}\n", line(0), line(1));
    let (taken, step) = shield.feed(file.as_bytes(), &mut out).unwrap();
    assert!(matches!(step, Step::Ask(_)));
    assert_eq!(taken, line(0).len() + 1);
    assert!(out.is_empty(), "nothing leaves before its verdict");
    assert!(shield.feed(b"x", &mut out).is_err());
    assert!(shield.finish(&mut out).is_err(), "a line without its verdict is no end");
    assert!(out.is_empty());
}
