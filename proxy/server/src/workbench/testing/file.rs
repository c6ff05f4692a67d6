//! The files of policy tests: who asks for what, in front of which records, and what must come of it.

use std::collections::BTreeMap;

use drape_view::fault::Fault;
use http::Method;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::files::SetFiles;

/// The tests of one file.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// Its name below the set's folder.
    pub name: String,
    /// What the FHIR server behind holds.
    pub records: Vec<Value>,
    /// What is asked of it.
    pub cases: Vec<Case>,
}

/// One question and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// A sentence.
    pub name: String,
    /// When it is asked; now, where nothing is said.
    pub at: Option<Timestamp>,
    /// Who asks, by the name in `personas.yaml`.
    pub persona: Option<String>,
    /// Added to the persona's claims, or all there are.
    pub claims: Map<String, Value>,
    /// Whether an emergency was declared and accepted.
    pub break_glass: bool,
    /// What is asked.
    pub request: Request,
    /// What must come of it.
    pub expect: Expect,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query below the base, without a leading slash.
    pub target: String,
    /// By lower-case name.
    pub headers: BTreeMap<String, String>,
    /// The body: a form where it is text, else FHIR JSON.
    pub body: Option<Value>,
}

/// What must come of it. Something is always said.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The status.
    pub status: Option<u16>,
    /// Record → element → what is done to it. Each of them must arrive.
    #[serde(default)]
    pub records: BTreeMap<String, BTreeMap<String, Treated>>,
    /// Records that must not arrive.
    #[serde(default)]
    pub withheld: Vec<String>,
    /// Policies that must be among those that determined it.
    #[serde(default)]
    pub policies: Vec<String>,
    /// How many records arrive.
    pub count: Option<usize>,
    /// What the refusal must say, in part.
    pub says: Option<String>,
    /// The whole body.
    pub body: Option<Value>,
}

/// What is done to an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treated {
    /// It is there as it was.
    Show,
    /// It is there, coarser.
    Generalize,
    /// A pseudonym stands for it.
    Pseudonymize,
    /// It is there, sealed.
    Encrypt,
    /// Nothing of it is there.
    Redact,
    /// Some of what it holds is there as it was, the rest is gone.
    Part,
}

impl Treated {
    /// The word in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Generalize => "generalize",
            Self::Pseudonymize => "pseudonymize",
            Self::Encrypt => "encrypt",
            Self::Redact => "redact",
            Self::Part => "part",
        }
    }

    /// What was done, in a sentence.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Show => "shown",
            Self::Generalize => "generalized",
            Self::Pseudonymize => "pseudonymized",
            Self::Encrypt => "encrypted",
            Self::Redact => "redacted",
            Self::Part => "shown in part",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    records: Vec<Value>,
    #[serde(default)]
    files: Vec<String>,
    cases: Vec<WrittenCase>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    name: String,
    #[serde(default)]
    at: Option<String>,
    #[serde(default, rename = "as")]
    persona: Option<String>,
    #[serde(default)]
    claims: Map<String, Value>,
    #[serde(default)]
    break_glass: bool,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    expect: Expect,
}

const FOLDER: &str = "tests/";

/// All test files of a set, in the order of their names; every fault at once.
pub fn read_all(files: &SetFiles) -> Result<Vec<TestFile>, Vec<Fault>> {
    let names = files.list(FOLDER, ".yaml").map_err(|f| vec![f])?;
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    for name in names {
        let text = match files.read(&name) {
            Ok(text) => text.unwrap_or_default(),
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        match parse(&name, &files.path(&name), &text, |beside| files.read(&format!("{FOLDER}{beside}"))) {
            Ok(file) => read.push(file),
            Err(mut found) => {
                drape_view::yaml::locate(&mut found, &files.path(&name), &text);
                faults.extend(found);
            }
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(faults) }
}

/// Reads one file; `path` is for messages, `beside` gives the text of a file in the same folder.
pub fn parse(
    name: &str,
    path: &str,
    yaml: &str,
    beside: impl Fn(&str) -> Result<Option<String>, Fault>,
) -> Result<TestFile, Vec<Fault>> {
    let written: Written = drape_view::yaml::read(path, yaml)?;
    let mut faults = Vec::new();
    if written.version != 1 {
        faults.push(
            Fault::new(format!("{path} version"), format!("`{}` is not known", written.version))
                .help("write 1"),
        );
    }
    let mut records = written.records;
    for file in &written.files {
        match beside(file).and_then(|text| resources(&format!("{path} files"), file, text)) {
            Ok(found) => records.extend(found),
            Err(fault) => faults.push(fault),
        }
    }
    for (place, record) in records.iter().enumerate() {
        if reference(record).is_none() {
            let what = format!("record {} has no `resourceType` or no `id`", place + 1);
            faults.push(Fault::new(format!("{path} records"), what));
        }
    }
    let at = moment(path, written.at.as_deref(), &mut faults);
    let mut cases: Vec<Case> = Vec::new();
    for case in written.cases {
        let path = format!("{path} `{}`", case.name);
        if cases.iter().any(|c| c.name == case.name) {
            faults.push(Fault::new(&path, "two cases have this name"));
        }
        let own = moment(&path, case.at.as_deref(), &mut faults);
        check(&path, &case.expect, &records, &mut faults);
        if case.persona.is_none() && case.claims.is_empty() {
            faults.push(Fault::new(&path, "nobody asks").help("say `as: PERSONA`, `claims: {…}`, or both"));
        }
        match request(&path, &case.request, case.headers, case.body) {
            Err(fault) => faults.push(fault),
            Ok(request) => cases.push(Case {
                name: case.name,
                at: own.or(at),
                persona: case.persona,
                claims: case.claims,
                break_glass: case.break_glass,
                request,
                expect: case.expect,
            }),
        }
    }
    if cases.is_empty() && faults.is_empty() {
        faults.push(Fault::new(path, "holds no cases"));
    }
    if faults.is_empty() { Ok(TestFile { name: name.to_owned(), records, cases }) } else { Err(faults) }
}

/// `Type/id`.
pub fn reference(record: &Value) -> Option<String> {
    Some(format!("{}/{}", record["resourceType"].as_str()?, record["id"].as_str()?))
}

/// The records of a file: one resource, a Bundle's entries, or one a line.
fn resources(path: &str, file: &str, text: Option<String>) -> Result<Vec<Value>, Fault> {
    let text = text.ok_or_else(|| {
        Fault::new(path, format!("`{file}` is not there")).help("it is looked for beside the test file")
    })?;
    let values: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(|e| Fault::new(path, format!("`{file}` is not JSON: {e}")))?;
    Ok(values
        .into_iter()
        .flat_map(|value| {
            if value["resourceType"] != "Bundle" {
                return vec![value];
            }
            let entries = value["entry"].as_array().cloned().unwrap_or_default();
            entries.into_iter().map(|mut entry| entry["resource"].take()).collect()
        })
        .collect())
}

fn moment(path: &str, text: Option<&str>, faults: &mut Vec<Fault>) -> Option<Timestamp> {
    let text = text?;
    let parsed = text.parse::<Timestamp>();
    if parsed.is_err() {
        let what = format!("`{text}` is no moment");
        faults.push(Fault::new(format!("{path} at"), what).help("write one like 2026-11-25T10:00:00Z"));
    }
    parsed.ok()
}

fn request(
    path: &str,
    line: &str,
    headers: BTreeMap<String, String>,
    body: Option<Value>,
) -> Result<Request, Fault> {
    let fault = || {
        Fault::new(format!("{path} request"), format!("`{line}` is no request"))
            .help("write a method and what follows the base URL, e.g. `GET Observation?patient=p1`")
    };
    let (method, target) = line.trim().split_once(' ').ok_or_else(fault)?;
    if !method.bytes().all(|b| b.is_ascii_uppercase()) || target.trim().contains(' ') {
        return Err(fault());
    }
    let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    Ok(Request {
        method: method.parse().map_err(|_| fault())?,
        target: target.trim().trim_start_matches('/').to_owned(),
        headers,
        body,
    })
}

/// A test that cannot fail is a fault, and so is one about a record that is not there.
fn check(path: &str, expect: &Expect, records: &[Value], faults: &mut Vec<Fault>) {
    let says_nothing = expect.status.is_none()
        && expect.records.is_empty()
        && expect.withheld.is_empty()
        && expect.policies.is_empty()
        && expect.count.is_none()
        && expect.says.is_none()
        && expect.body.is_none();
    if says_nothing {
        let help = "say `status`, `records`, `withheld`, `count`, `policies`, `says` or `body`";
        faults
            .push(Fault::new(format!("{path} expect"), "a test that expects nothing cannot fail").help(help));
    }
    let held: Vec<String> = records.iter().filter_map(reference).collect();
    for name in expect.records.keys().chain(&expect.withheld) {
        if !held.contains(name) {
            let what = format!("`{name}` is not among the records of the file");
            let help = format!("there are: {}", held.join(", "));
            faults.push(Fault::new(format!("{path} expect"), what).help(help));
        }
    }
    for (name, elements) in &expect.records {
        let resource_type = name.split('/').next().unwrap_or_default();
        for element in elements.keys() {
            if element.split('.').next() != Some(resource_type) || !element.contains('.') {
                let what = format!("`{element}` is no element of {resource_type}");
                let help = format!("write it from the type on, e.g. `{resource_type}.meta`");
                faults.push(Fault::new(format!("{path} expect"), what).help(help));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        match parse("tests/a.yaml", "a.yaml", text, |_| Ok(None)) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        }
    }

    const RECORDS: &str = "version: 1\nrecords: [{ resourceType: Condition, id: c1 }]\ncases:\n";

    #[test]
    fn a_case_says_who_asks_what_and_what_must_come_of_it() {
        let text = format!(
            "{RECORDS}  - name: a\n    as: billing\n    request: GET /Condition/c1\n    at: 2026-11-25T10:00:00Z\n    \
             expect: {{ status: 200, records: {{ Condition/c1: {{ Condition.code: show }} }} }}\n"
        );
        let file = parse("tests/a.yaml", "a.yaml", &text, |_| Ok(None)).unwrap();
        let case = &file.cases[0];
        assert_eq!((case.request.method.as_str(), case.request.target.as_str()), ("GET", "Condition/c1"));
        assert_eq!(case.expect.records["Condition/c1"]["Condition.code"], Treated::Show);
    }

    #[test]
    fn what_cannot_fail_or_cannot_be_asked_is_a_fault_that_says_what_to_write() {
        let one = |case: &str| faults(&format!("{RECORDS}  - {{ name: a, {case} }}\n"));
        let expect = "expect: { status: 200 }";
        assert!(one("as: x, request: GET Condition, expect: {}")[0].contains("cannot fail"));
        assert!(one(&format!("as: x, request: Condition, {expect}"))[0].contains("is no request"));
        assert!(one(&format!("request: GET Condition, {expect}"))[0].contains("nobody asks"));
        assert!(one(&format!("as: x, at: noon, request: GET Condition, {expect}"))[0].contains("no moment"));
        let unknown = one("as: x, request: GET Condition, expect: { withheld: [Condition/c2] }");
        assert!(unknown[0].contains("there are: Condition/c1"), "{unknown:?}");
        let element = "expect: { records: { Condition/c1: { code: show } } }";
        assert!(
            one(&format!("as: x, request: GET Condition, {element}"))[0].contains("no element of Condition")
        );
        let treatment = "expect: { records: { Condition/c1: { Condition.code: hide } } }";
        assert!(one(&format!("as: x, request: GET Condition, {treatment}"))[0].contains("cannot be read"));
        assert!(one(&format!("as: x, request: GET Condition, {expect}, more: 1"))[0].contains("more"));
        assert!(faults("version: 1\ncases: []\n")[0].contains("holds no cases"));
        assert!(faults("version: 2\ncases: []\n")[0].contains("is not known"));
        assert!(faults("version: 1\nfiles: [x.json]\ncases: []\n")[0].contains("is not there"));
    }

    #[test]
    fn the_files_beside_may_hold_a_resource_a_bundle_or_a_line_each() {
        let texts = |name: &str| {
            Ok(Some(match name {
                "one.json" => r#"{"resourceType":"Patient","id":"a"}"#.to_owned(),
                "bundle.json" => {
                    r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Patient","id":"b"}}]}"#.to_owned()
                }
                _ => "{\"resourceType\":\"Patient\",\"id\":\"c\"}\n{\"resourceType\":\"Patient\",\"id\":\"d\"}\n".to_owned(),
            }))
        };
        let text = "version: 1\nfiles: [one.json, bundle.json, lines.ndjson]\ncases:\n  - { name: a, as: x, request: GET Patient, expect: { count: 4 } }\n";
        let file = parse("tests/a.yaml", "a.yaml", text, texts).unwrap();
        let held: Vec<String> = file.records.iter().filter_map(reference).collect();
        assert_eq!(held, ["Patient/a", "Patient/b", "Patient/c", "Patient/d"]);
    }
}
