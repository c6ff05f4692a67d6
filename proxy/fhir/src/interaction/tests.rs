use super::*;
use proptest::prelude::*;

fn ask(method: &str, target: &str) -> Result<Interaction, Misunderstood> {
    with(method, target, &[], None)
}

fn with(
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<Interaction, Misunderstood> {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    parse(&Parts { method, path, query, headers, body })
}

#[test]
fn what_is_offered_is_told_apart() {
    assert_eq!(ask("GET", "/Patient/1").unwrap().code(), "read");
    assert_eq!(ask("GET", "/Patient/1/_history/2").unwrap().code(), "vread");
    assert_eq!(ask("GET", "/Patient/1/_history").unwrap().code(), "history-instance");
    assert_eq!(ask("GET", "/Patient?birthdate=1980").unwrap().code(), "search-type");
    assert_eq!(ask("GET", "/Patient").unwrap().code(), "search-type");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let Interaction::Search(search) =
        with("POST", "/Patient/_search?gender=male", &form, Some(b"birthdate=1980")).unwrap()
    else {
        panic!("no search")
    };
    assert_eq!(search.to_query(), "gender=male&birthdate=1980");
    let json = [("content-type", "application/fhir+json; charset=utf-8")];
    assert_eq!(with("POST", "/Patient", &json, Some(b"{}")).unwrap().code(), "create");
    assert_eq!(with("PUT", "/Patient/1", &json, Some(b"{}")).unwrap().code(), "update");
    assert_eq!(with("PUT", "/Patient?identifier=1", &json, Some(b"{}")).unwrap().code(), "update");
    assert_eq!(with("PATCH", "/Patient/1", &json, Some(b"{}")).unwrap().code(), "patch");
    let patch = [("content-type", "application/json-patch+json")];
    let Interaction::Patch { form, .. } = with("PATCH", "/Patient/1", &patch, Some(b"[]")).unwrap() else {
        panic!("no patch")
    };
    assert_eq!(form, PatchForm::Json);
    assert_eq!(ask("DELETE", "/Patient/1").unwrap().code(), "delete");
    assert_eq!(with("POST", "/", &json, Some(b"{}")).unwrap().code(), "transaction");
    assert_eq!(ask("GET", "/_history?_since=2020-01-01T00:00:00Z").unwrap().code(), "history-system");
    assert_eq!(ask("GET", "/Patient/_history").unwrap().code(), "history-type");
    assert_eq!(ask("GET", "/Patient/1/$everything").unwrap().code(), "operation");
    assert_eq!(ask("DELETE", "/_export/x").unwrap().code(), "operation");
    assert_eq!(ask("GET", "/_export-file/x").unwrap().code(), "operation");
}

#[test]
fn a_compartment_search_says_by_which_links_records_belong_to_it() {
    let Interaction::Search(search) = ask("GET", "/Patient/1/Observation?code=x").unwrap() else {
        panic!("no search")
    };
    assert_eq!(search.to_target(), "/Patient/1/Observation?code=x");
    let compartment = search.compartment.unwrap();
    let read = compartment.criteria("Observation").unwrap();
    let paths: Vec<_> = read.iter().flat_map(|c| &c.reveals).map(|r| r.path).collect();
    assert_eq!(paths, ["Observation.subject", "Observation.performer"]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let posted = with("POST", "/Patient/1/Observation/_search", &form, Some(b"code=x")).unwrap();
    assert_eq!(posted, ask("GET", "/Patient/1/Observation?code=x").unwrap());
}

#[test]
fn a_condition_is_read_as_a_search_of_its_type() {
    let json = ("content-type", "application/fhir+json");
    let ask = |condition| with("POST", "/Patient", &[json, ("if-none-exist", condition)], Some(b"{}"));
    let Ok(Interaction::Create { unless: Some(search), .. }) = ask("identifier=urn:x|1&active=true") else {
        panic!("no condition")
    };
    assert_eq!(search.criteria.len(), 2);
    for (condition, status) in [("", 400), ("_count=1", 400), ("nonsense=1", 400), ("_text=x", 403)] {
        assert_eq!(ask(condition).map_err(|m| m.status), Err(status), "{condition}");
    }
}

#[test]
fn everything_else_is_refused_with_the_right_status() {
    for (method, target, status) in [
        ("GET", "/", 403),
        ("POST", "/_search", 403),
        ("GET", "/Patient/1/*", 403),
        ("GET", "/Patient/1/Practitioner", 400),
        ("GET", "/Patient/1/Observation/2", 403),
        ("GET", "/Patient/$everything/1", 403),
        ("DELETE", "/Patient/1/$everything", 405),
        ("TRACE", "/Patient/1", 405),
        ("PUT", "/Patient?_sort=name&identifier=1", 415),
        ("DELETE", "/Patient?_sort=name&identifier=1", 403),
        ("DELETE", "/Patient?_count=1&identifier=1", 403),
        ("DELETE", "/Patient", 400),
        ("DELETE", "/Patient/1?_cascade=delete", 403),
        ("DELETE", "/", 403),
        ("PATCH", "/Patient/1", 415),
        ("GET", "/_page/x?_count=1", 400),
        ("GET", "/Nobody/1", 404),
        ("GET", "/patient/1", 404),
        ("GET", "/Patient/a%2fb", 400),
        ("GET", "/Patient/../Patient/1", 400),
        ("GET", "/Patient//1", 400),
        ("GET", "/Patient/1;a=b", 400),
        ("GET", "/Patient/%ff", 400),
        ("GET", "/Patient/%2", 400),
        ("GET", "/Patient/a%20b", 400),
        ("GET", "/Patient?_method=DELETE", 403),
        ("GET", "/Patient?name=a;b", 400),
        ("GET", "/Patient?=x", 400),
        ("GET", "/Patient?name=%00", 400),
        ("GET", "/Patient?_format=ttl", 406),
        ("GET", "/Patient/1?_format=application/fhir%2Bturtle", 406),
        ("GET", "/Patient?_format=json&_format=xml", 400),
        ("POST", "/Patient?_format=html", 415),
        ("GET", "/Patient/1?_summary=count", 400),
        ("GET", "/Patient/1?name=x", 403),
        ("GET", "/Patient/1/_history?_at=2020", 403),
        ("GET", "/Patient/1/_history?_since=yesterday", 400),
        ("GET", "/Patient/1/_history?_since=2020&_since=2021", 400),
        ("GET", "?_getpages=1", 403),
        ("POST", "/Patient/_search", 415),
    ] {
        let result = ask(method, target);
        assert_eq!(result.as_ref().map_err(|m| m.status), Err(status), "{method} {target}: {result:?}");
    }
}

#[test]
fn headers_that_change_the_meaning_are_refused() {
    let json = ("content-type", "application/fhir+json");
    for (header, value, status) in [
        ("x-http-method-override", "DELETE", 403),
        ("x-original-url", "/Patient/2", 403),
        ("prefer", "respond-async", 403),
        ("prefer", "wait=10", 400),
        ("accept", "application/fhir+turtle", 406),
        ("accept", "text/html, application/json;q=0", 406),
    ] {
        let result = with("POST", "/Patient", &[json, (header, value)], Some(b"{}"));
        assert_eq!(result.map_err(|m| m.status), Err(status), "{header}: {value}");
    }
    for accept in ["*/*", "application/fhir+json", "text/html,application/*;q=0.5", ""] {
        assert!(with("GET", "/Patient/1", &[("accept", accept)], None).is_ok(), "{accept}");
    }
    // `_format` decides before `Accept`.
    assert!(with("GET", "/Patient/1?_format=json", &[("accept", "text/html")], None).is_ok());
}

#[test]
fn the_form_of_the_answer_is_read_wherever_the_caller_put_it() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let wanted = |target: &str, headers: &[(&str, &str)], body: Option<&[u8]>| {
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        format(&Parts { method: "POST", path, query, headers, body }).map_err(|m| m.status)
    };
    assert_eq!(wanted("/Patient/_search", &[form], Some(b"_format=xml")), Ok(Format::Xml));
    assert_eq!(wanted("/Patient/_search?_format=xml", &[form], Some(b"name=x")), Ok(Format::Xml));
    assert_eq!(wanted("/Patient/_search?_format=xml", &[form], Some(b"_format=json")), Err(400));
    assert_eq!(wanted("/Patient/_search?_format=xml", &[form], None), Ok(Format::Xml));
    let xml = ("accept", "application/fhir+xml");
    assert_eq!(wanted("/Patient", &[xml], Some(b"_format=json")), Ok(Format::Xml));
    assert_eq!(wanted("/Patient?_format=json", &[xml], None), Ok(Format::Json));
    assert_eq!(wanted("/_page/x", &[], None), Ok(Format::Json));
    assert_eq!(wanted("/_page/x", &[("accept", "text/html")], None), Err(406));
    // A page keeps the form that its search had.
    let page = with("GET", "/_page/x?_format=xml", &[], None);
    assert_eq!(page, Ok(Interaction::Page { handle: "x".into() }));
}

proptest! {
    #[test]
    fn no_target_makes_classification_panic(method in "[A-Z]{3,6}", path in "(/.{0,12}){0,4}", query in ".{0,60}") {
        let _ = parse(&Parts { method: &method, path: &path, query: Some(&query), headers: &[], body: None });
    }

    #[test]
    fn what_is_rebuilt_means_the_same(name in "[a-zA-Z éß&=+%,$|]{1,20}", birth in "(19|20)[0-9]{2}", count in 0u32..500) {
        let encoded = crate::query::encode(&name);
        let target = format!("/Patient?name={encoded}&birthdate=ge{birth}&_count={count}");
        let Interaction::Search(first) = ask("GET", &target).unwrap() else { panic!() };
        prop_assert_eq!(&first.criteria[0].value, &name);
        let Interaction::Search(second) = ask("GET", &format!("/Patient?{}", first.to_query())).unwrap() else { panic!() };
        prop_assert_eq!(first, second);
    }
}
