use super::*;

/// What a link to more stands for in these tests: the place and the length of a page.
struct Places;

impl Links for Places {
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String> {
        Some(if relation == "self" { "self".into() } else { url.to_owned() })
    }

    fn more(&mut self, place: PlaceOfMore, count: u32) -> Option<String> {
        Some(match place {
            PlaceOfMore::Here(skip) => format!("here {skip} {count}"),
            PlaceOfMore::Next => format!("next 0 {count}"),
        })
    }
}

/// A server's pages of `size` observations each, numbered from 0; every one refers to a patient who is included.
fn upstream(total: usize, size: usize) -> Vec<String> {
    let count = total.div_ceil(size).max(1);
    (0..count)
        .map(|page| {
            let numbers = page * size..((page + 1) * size).min(total);
            let matches = numbers.clone().map(|n| {
                json!({"resource": {"resourceType": "Observation", "id": n.to_string(), "status": "final",
                    "subject": {"reference": format!("Patient/p{n}")}}, "search": {"mode": "match"}})
            });
            let included = numbers.map(|n| {
                json!({"resource": {"resourceType": "Patient", "id": format!("p{n}")}, "search": {"mode": "include"}})
            });
            let mut bundle = json!({"resourceType": "Bundle", "id": "x", "type": "searchset", "total": total,
                "link": [{"relation": "self", "url": "http://up/fhir/Observation"}]});
            if page + 1 < count {
                bundle["link"].as_array_mut().unwrap().push(json!({"relation": "next", "url": page + 1}));
                bundle["link"][1]["url"] = json!(format!("http://up/fhir?page={}", page + 1));
            }
            bundle["entry"] = matches.chain(included).collect();
            bundle.to_string()
        })
        .collect()
}

/// One page of the caller's, beginning on page `first` of the server's: the Bundle and the server's page it ended on.
fn page(pages: &[String], first: usize, paging: Paging, hidden: u32, chunk: usize) -> (Value, usize) {
    let mut setup = setup(Expect::Bundle(BundleKind::Searchset), false);
    (setup.paging, setup.links) = (Some(paging), Box::new(Places));
    let mut shield = Shield::new(setup);
    let mut out = Vec::new();
    let mut at = first;
    'pages: loop {
        for piece in pages[at].as_bytes().chunks(chunk) {
            let mut rest = piece;
            loop {
                if shield.has_enough() {
                    break;
                }
                let (taken, step) = shield.feed(rest, &mut out).unwrap();
                rest = &rest[taken..];
                let Step::Ask(facts) = step else { break };
                let main = facts.main().unwrap();
                let hides = main.id.as_ref().unwrap().parse::<u32>().is_ok_and(|n| hidden >> n & 1 == 1);
                let verdict =
                    if hides { Verdict::Withhold(Reason::NotReceived) } else { hiding(&[Category::Genomic]) };
                let verdicts = facts.records.iter().map(|_| verdict.clone()).collect();
                shield.answer(Answer { verdicts, seal_key: None, hide: None }, &mut out).unwrap();
            }
        }
        match shield.end_page(&mut out).unwrap() {
            PageEnd::More => at += 1,
            PageEnd::Done => break 'pages,
        }
    }
    shield.end(&mut out).unwrap();
    (serde_json::from_slice(&out).unwrap(), at)
}

fn ids(bundle: &Value, mode: &str) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries
        .filter(|e| e["search"]["mode"] == mode)
        .map(|e| e["resource"]["id"].as_str().unwrap().to_owned())
        .collect()
}

proptest! {
    /// Whatever is withheld and however the server cuts its pages: the caller's pages are those of a server that does not
    /// have the withheld records at all.
    #[test]
    fn pages_are_those_of_a_server_without_the_withheld_records(
        total in 0_usize..24, size in 1_usize..7, hidden: u32, chunk in 1_usize..400, includes: bool,
    ) {
        let pages = upstream(total, size);
        let shown: Vec<String> =
            (0..total).filter(|n| hidden >> n & 1 == 0).map(|n| n.to_string()).collect();
        let (mut at, mut paging) = (0, Paging { includes, ..Paging::default() });
        let mut seen: Vec<String> = Vec::new();
        loop {
            let (bundle, ended) = page(&pages, at, paging, hidden, chunk);
            let of_page = ids(&bundle, "match");
            seen.extend(of_page.iter().cloned());
            // Each included patient stands beside the match that refers to him, and no other.
            let expected: Vec<String> =
                if includes { of_page.iter().map(|n| format!("p{n}")).collect() } else { vec![] };
            prop_assert_eq!(ids(&bundle, "include"), expected);
            prop_assert!(bundle.get("total").is_none() && bundle.get("id").is_none());
            prop_assert_eq!(&bundle["link"][0]["url"], "self");
            let Some(next) = bundle["link"][1]["url"].as_str() else {
                prop_assert_eq!(seen.len(), shown.len());
                break;
            };
            // A link to more never leads to nothing, and no page before the last one has room.
            prop_assert!(seen.len() < shown.len(), "{}", bundle);
            prop_assert_eq!(of_page.len(), size.min(total));
            let words: Vec<&str> = next.split(' ').collect();
            paging.skip = words[1].parse().unwrap();
            paging.count = Some(words[2].parse().unwrap());
            at = ended;
        }
        prop_assert_eq!(seen, shown);
    }
}

#[test]
fn a_page_that_breaks_off_never_ends() {
    let text = &upstream(3, 3)[0];
    for cut in 0..text.len() {
        let mut setup = setup(Expect::Bundle(BundleKind::Searchset), false);
        (setup.paging, setup.links) = (Some(Paging::default()), Box::new(Places));
        let mut shield = Shield::new(setup);
        let mut out = Vec::new();
        let mut rest = &text.as_bytes()[..cut];
        while let Ok((taken, Step::Ask(facts))) = shield.feed(rest, &mut out) {
            rest = &rest[taken..];
            let verdicts = facts.records.iter().map(|_| hiding(&[Category::Genomic])).collect();
            shield.answer(Answer { verdicts, seal_key: None, hide: None }, &mut out).unwrap();
        }
        assert!(shield.end_page(&mut out).is_err(), "{cut}");
        assert!(serde_json::from_slice::<Value>(&out).is_err(), "{cut}");
    }
}

#[test]
fn what_hangs_together_with_a_withheld_match_alone_is_not_included() {
    let entry = |resource: Value, mode: &str| json!({"resource": resource, "search": {"mode": mode}});
    let encounter = |id: &str| {
        json!({"resourceType": "Encounter", "id": id, "status": "finished", "subject": {"reference": "Patient/p"},
            "partOf": {"reference": format!("Encounter/whole-of-{id}")}})
    };
    let whole =
        |id: &str| json!({"resourceType": "Encounter", "id": format!("whole-of-{id}"), "status": "finished"});
    let of = |id: &str, encounter: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": "Patient/p"},
            "encounter": {"reference": format!("http://up/fhir/Encounter/{encounter}/_history/2")}})
    };
    let back = |id: &str, to: &str| {
        json!({"resourceType": "DiagnosticReport", "id": id, "status": "final",
            "result": [{"reference": format!("Observation/{to}")}]})
    };
    // The included come before, between and after; both encounters refer to one patient, who is no bridge between them.
    let bundle = json!({"resourceType": "Bundle", "type": "searchset", "entry": [
        entry(encounter("e0"), "include"), entry(of("0", "e0"), "match"), entry(whole("e1"), "include"),
        entry(of("1", "e1"), "match"), entry(encounter("e1"), "include"), entry(whole("e0"), "include"),
        entry(back("d0", "0"), "include"), entry(back("d1", "1"), "include"),
    ]});
    let paging = Paging { includes: true, ..Paging::default() };
    let (shown, _) = page(&[bundle.to_string()], 0, paging, 0b01, 1_000);
    assert_eq!(ids(&shown, "match"), ["1"]);
    let mut included = ids(&shown, "include");
    included.sort();
    assert_eq!(included, ["d1", "e1", "whole-of-e1"]);
}
