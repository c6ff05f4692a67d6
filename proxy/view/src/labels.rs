//! Sensitivity by code: which labels a record's codings carry, and whether its content could be judged at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::facts::{Coding, RecordFacts};
use crate::fault::Fault;
use crate::overrides::{Correction, Overrides};
use crate::profiler::Date;

/// `labels.yaml`, compiled.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    exact: HashMap<String, HashMap<String, Vec<String>>>,
    ranges: HashMap<String, Vec<(Pattern, String)>>,
    closure: HashMap<String, Vec<String>>,
    taken: Vec<String>,
    judged: Vec<String>,
    neutral: Vec<String>,
    content: Vec<String>,
    departments: HashMap<String, HashMap<String, Vec<String>>>,
    department_names: Vec<(String, String)>,
    as_of: String,
}

/// What was found of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// Closed upward.
    pub labels: BTreeSet<String>,
    /// True when every concept of the record has a coding that the lists judge: none in text alone, none with codes of
    /// other systems alone. Free text and unknown extensions do not count, since neither ever reaches a caller who is
    /// not shown everything (the carrier rule).
    pub classified: bool,
}

#[derive(Clone, Debug)]
enum Pattern {
    Prefix(String),
    Range(String, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    as_of: String,
    closure: BTreeMap<String, Vec<String>>,
    taken: Vec<String>,
    judged: Vec<String>,
    neutral: Vec<String>,
    #[serde(default)]
    content: Vec<String>,
    labels: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    documents: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    departments: Departments,
}

/// What a department is known by: codes of its type or speciality, and words in its name.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Departments {
    codes: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    names: BTreeMap<String, Vec<String>>,
}

const LOINC: &str = "http://loinc.org";

/// Types whose own type code says what kind of document they are.
const DOCUMENTS: [&str; 4] = ["Composition", "DocumentManifest", "DocumentReference", "Media"];

fn leads_to(closure: &BTreeMap<String, Vec<String>>, from: &str, to: &str, depth: usize) -> bool {
    let above = closure.get(from).into_iter().flatten();
    above
        .into_iter()
        .any(|label| label == to || depth < closure.len() && leads_to(closure, label, to, depth + 1))
}

impl Labels {
    /// Reads the file.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = crate::yaml::read("labels.yaml", yaml)?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(
                Fault::new("labels.yaml version", format!("`{}` is not known", file.version)).help("write 1"),
            );
        }
        if Date::parse(&file.as_of).is_none() || file.as_of.len() != 10 {
            faults.push(
                Fault::new("labels.yaml as_of", format!("`{}` is no date", file.as_of))
                    .help("say when the lists were last reviewed, `2026-11-25`"),
            );
        }
        for label in file.closure.keys().filter(|label| leads_to(&file.closure, label, label, 0)) {
            faults.push(Fault::new(format!("labels.yaml closure {label}"), "leads back to itself"));
        }
        let mut labels = Self {
            closure: file.closure.into_iter().collect(),
            taken: file.taken,
            judged: file.judged,
            neutral: file.neutral,
            content: file.content,
            as_of: file.as_of,
            ..Self::default()
        };
        let documents = file
            .documents
            .into_iter()
            .map(|(label, codes)| (label, BTreeMap::from([(LOINC.to_owned(), codes)])));
        for (label, systems) in file.labels.into_iter().chain(documents) {
            for (system, codes) in systems {
                let path = format!("labels.yaml {label} {system}");
                if !labels.judged.contains(&system) {
                    faults.push(Fault::new(&path, "is not listed under `judged`"));
                }
                let mut seen = BTreeSet::new();
                if codes.is_empty() {
                    faults.push(Fault::new(&path, "names no code").help("leave the line out"));
                }
                for code in codes {
                    if !seen.insert(code.clone()) {
                        faults.push(Fault::new(&path, format!("`{code}` is listed twice")));
                    }
                    match Pattern::parse(&code) {
                        Err(what) => faults.push(Fault::new(&path, format!("`{code}` {what}"))),
                        Ok(Some(pattern)) => {
                            labels.ranges.entry(system.clone()).or_default().push((pattern, label.clone()));
                        }
                        Ok(None) => {
                            let codes = labels.exact.entry(system.clone()).or_default();
                            codes.entry(code).or_default().push(label.clone());
                        }
                    }
                }
            }
        }
        labels.read_departments(file.departments, &mut faults);
        if faults.is_empty() { Ok(labels) } else { Err(faults) }
    }

    fn read_departments(&mut self, departments: Departments, faults: &mut Vec<Fault>) {
        for (label, systems) in departments.codes {
            for (system, codes) in systems {
                for code in codes {
                    if code.is_empty() || code.contains(['*', ' ']) {
                        let path = format!("labels.yaml departments {label} {system}");
                        faults.push(
                            Fault::new(path, format!("`{code}` is no code"))
                                .help("departments are exact codes"),
                        );
                    }
                    let codes = self.departments.entry(system.clone()).or_default();
                    codes.entry(code).or_default().push(label.clone());
                }
            }
        }
        for (label, words) in departments.names {
            for word in words {
                if word.trim().len() < 4 || word.to_lowercase() != word {
                    let path = format!("labels.yaml departments {label}");
                    let help = "words in small letters, four or more, as they stand in names of departments";
                    faults.push(Fault::new(path, format!("`{word}` is no word")).help(help));
                }
                self.department_names.push((word, label.clone()));
            }
        }
    }

    /// Every label that the lists can give.
    pub fn words(&self) -> BTreeSet<String> {
        let exact = self.exact.values().flat_map(HashMap::values).flatten();
        let ranges = self.ranges.values().flatten().map(|(_, label)| label);
        let departments = self.departments.values().flat_map(HashMap::values).flatten();
        let names = self.department_names.iter().map(|(_, label)| label);
        let closure = self.closure.iter().flat_map(|(label, above)| std::iter::once(label).chain(above));
        exact.chain(ranges).chain(departments).chain(names).chain(closure).cloned().collect()
    }

    /// When the lists were last reviewed.
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// Every label that brings others, with all that it brings; sorted.
    pub fn closures(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let above = |label: &String| {
            let mut found = BTreeSet::new();
            self.add(label, &mut found);
            found.remove(label);
            found
        };
        self.closure.keys().map(|label| (label.as_str(), above(label))).collect()
    }

    /// The labels of one record by the lists alone.
    pub fn of(&self, facts: &RecordFacts) -> Labelled {
        self.judge(facts, &Overrides::default(), true)
    }

    /// The labels of one record by its own codings and by where it was made, as an officer has set them right.
    /// `placed` is false for what is no record of care, such as a department itself: that it is one labels nobody.
    pub fn judge(&self, facts: &RecordFacts, overrides: &Overrides, placed: bool) -> Labelled {
        let document = DOCUMENTS.contains(&facts.resource_type.as_str());
        let mut found = BTreeSet::new();
        // A tag can name a sensitivity like any code. Whether the record can be judged does not hang on it: tags say how
        // a record came and is handled, not what is in it.
        for coding in facts.tags.iter().chain(facts.concepts.iter().flatten()) {
            let mut listed = BTreeSet::new();
            self.code(&coding.system, &coding.code, &mut listed);
            let officer = overrides.codes(&coding.system, &coding.code, document);
            self.correct(&mut listed, &officer);
            found.extend(listed);
        }
        if placed {
            found.extend(self.of_departments(facts, overrides));
        }
        if let Some(id) = &facts.id {
            self.correct(&mut found, &overrides.record(&facts.resource_type, id));
        }
        // What the server itself says is not taken off by a list of ours.
        for coding in facts.security.iter().chain(&facts.tags) {
            if self.taken.contains(&coding.system) {
                self.add(&coding.code, &mut found);
            }
        }
        // Several codings of one concept say the same thing: one that the lists judge judges them all.
        let begins = |system: &str, list: &[String]| list.iter().any(|n| system.starts_with(n.as_str()));
        let known = |system: &str| {
            let neutral = || begins(system, &self.neutral) && !begins(system, &self.content);
            self.judged.iter().any(|j| j == system) || neutral()
        };
        let officer = |c: &Coding| overrides.knows(&c.system, &c.code, document);
        let judged =
            facts.concepts.iter().all(|concept| concept.iter().any(|c| known(&c.system) || officer(c)));
        Labelled { labels: found, classified: judged && !facts.uncoded }
    }

    /// By the types and names of the departments in which a record was made.
    fn of_departments(&self, facts: &RecordFacts, overrides: &Overrides) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for coding in facts.concepts.iter().flatten() {
            let codes = self.departments.get(&coding.system);
            for label in codes.and_then(|codes| codes.get(&coding.code)).into_iter().flatten() {
                self.add(label, &mut found);
            }
        }
        let names: Vec<String> = facts.department_names.iter().map(|name| name.to_lowercase()).collect();
        for (word, label) in &self.department_names {
            if names.iter().any(|name| name.contains(word.as_str())) {
                self.add(label, &mut found);
            }
        }
        self.correct(&mut found, &overrides.departments(&facts.departments, &names));
        found
    }

    /// Takes off what an officer takes off, with what stands below it, and adds what he adds.
    fn correct(&self, found: &mut BTreeSet<String>, officer: &[&Correction]) {
        for correction in officer {
            let gone = |label: &String| {
                let mut above = BTreeSet::new();
                self.add(label, &mut above);
                above.intersection(&correction.remove).next().is_some()
            };
            found.retain(|label| !gone(label));
        }
        for label in officer.iter().flat_map(|correction| &correction.add) {
            self.add(label, found);
        }
    }

    fn code(&self, system: &str, code: &str, found: &mut BTreeSet<String>) {
        if let Some(labels) = self.exact.get(system).and_then(|codes| codes.get(code)) {
            for label in labels {
                self.add(label, found);
            }
        }
        for (pattern, label) in self.ranges.get(system).into_iter().flatten() {
            if pattern.fits(code) {
                self.add(label, found);
            }
        }
    }

    fn add(&self, label: &str, found: &mut BTreeSet<String>) {
        if found.insert(label.to_owned()) {
            for parent in self.closure.get(label).into_iter().flatten() {
                self.add(parent, found);
            }
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        if let Some(prefix) = text.strip_suffix('*') {
            return if prefix.is_empty() || prefix.contains('*') {
                Err("would stand for every code")
            } else {
                Ok(Some(Self::Prefix(prefix.to_owned())))
            };
        }
        let letter = text.starts_with(|c: char| c.is_ascii_uppercase());
        match text.split_once('-') {
            // LOINC codes carry a check digit after a hyphen; ranges are of letter-led codes only.
            Some((from, to)) if letter => {
                if from.len() != to.len() || from > to {
                    return Err("is no range");
                }
                Ok(Some(Self::Range(from.to_owned(), to.to_owned())))
            }
            _ => Ok(None),
        }
    }

    fn fits(&self, code: &str) -> bool {
        match self {
            Self::Prefix(prefix) => code.starts_with(prefix.as_str()),
            Self::Range(from, to) => {
                code.get(..from.len()).is_some_and(|head| from.as_str() <= head && head <= to.as_str())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Coding;

    fn record(codings: &[(&str, &str)]) -> RecordFacts {
        let concept =
            codings.iter().map(|(s, c)| Coding { system: (*s).into(), code: (*c).into() }).collect();
        RecordFacts { concepts: vec![concept], ..RecordFacts::default() }
    }

    fn labels(codings: &[(&str, &str)]) -> (Vec<String>, bool) {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let found = shipped.of(&record(codings));
        (found.labels.into_iter().collect(), found.classified)
    }

    const ICD: &str = "http://hl7.org/fhir/sid/icd-10-cm";

    #[test]
    fn codes_prefixes_and_ranges_find_their_labels_and_those_above_them() {
        assert_eq!(labels(&[(ICD, "B20")]).0, ["HIV"]);
        assert_eq!(labels(&[(ICD, "F10.20")]).0, ["ETHUD", "SUD"]);
        assert_eq!(labels(&[(ICD, "F32.9")]).0, ["PSY"]);
        assert_eq!(labels(&[(ICD, "A54.00")]).0, ["SEX", "STD"]);
        assert_eq!(labels(&[(ICD, "O9A.2")]).0, ["PREGNANT", "SEX"]);
        assert_eq!(labels(&[(ICD, "I10"), (ICD, "Z21")]).0, ["HIV"]);
        assert_eq!(labels(&[("http://loinc.org", "25836-8")]).0, ["HIV"]);
        assert_eq!(labels(&[("http://loinc.org", "28635-1")]).0, ["BH", "PSY", "PSYTHPN"]);
        assert!(labels(&[(ICD, "E11.9"), ("http://snomed.info/sct", "44054006")]).0.is_empty());
        assert!(labels(&[("http://loinc.org", "8480-6")]).0.is_empty());
    }

    #[test]
    fn what_no_list_judges_is_not_classified() {
        assert!(labels(&[(ICD, "I10")]).1);
        assert!(labels(&[("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")]).1);
        assert!(!labels(&[("urn:oid:1.2.840.114350.1", "x")]).1);
        // A clinical system does not become neutral by beginning like the standard's own.
        assert!(!labels(&[("http://hl7.org/fhir/sid/icd-9-cm", "042")]).1);
        assert!(!labels(&[("http://terminology.hl7.org/CodeSystem/icd9cm", "042")]).1);
        assert!(labels(&[("http://hl7.org/fhir/sid/cvx", "140")]).1);
        assert!(labels(&[("urn:oid:1.2.840.114350.1", "x"), (ICD, "I10")]).1);
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let mut uncoded = record(&[(ICD, "I10")]);
        uncoded.uncoded = true;
        assert!(!shipped.of(&uncoded).classified);
        let mut tagged = record(&[(ICD, "I10")]);
        tagged.tags.push(Coding { system: "https://example.org/tags".into(), code: "batch-7".into() });
        assert!(shipped.of(&tagged).classified, "a server's own tag is no content");
        tagged.tags.push(Coding { system: ICD.into(), code: "B20".into() });
        assert!(shipped.of(&tagged).labels.contains("HIV"));
        let mut two = record(&[(ICD, "I10")]);
        two.concepts.push(vec![Coding { system: "urn:oid:1.2.840.114350.1".into(), code: "x".into() }]);
        assert!(!shipped.of(&two).classified, "one judged concept does not judge another");
    }

    #[test]
    fn upstream_labels_are_taken_only_from_known_systems() {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let of = |system: &str| {
            let security = vec![Coding { system: system.into(), code: "ETHUD".into() }];
            shipped.of(&RecordFacts { security, ..RecordFacts::default() }).labels.len()
        };
        assert_eq!(of("http://terminology.hl7.org/CodeSystem/v3-ActCode"), 2);
        assert_eq!(of("http://example.org/own"), 0);
    }

    #[test]
    fn a_tag_can_label_a_record_and_never_makes_it_unjudgeable() {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let mut tagged = record(&[(ICD, "I10")]);
        let tag = |system: &str, code: &str| vec![Coding { system: system.into(), code: code.into() }];
        tagged.tags = tag("https://example.org/batches", "june");
        assert_eq!(shipped.of(&tagged), Labelled { labels: BTreeSet::new(), classified: true });
        tagged.tags = tag("http://terminology.hl7.org/CodeSystem/v3-ActCode", "ETHUD");
        assert!(shipped.of(&tagged).labels.contains("SUD"));
        tagged.tags = tag(ICD, "B20");
        assert!(shipped.of(&tagged).labels.contains("HIV"));
    }

    #[test]
    fn a_department_labels_what_is_done_there_by_its_type_and_its_name() {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let type_code = record(&[("http://terminology.hl7.org/CodeSystem/service-type", "108")]);
        let found = shipped.of(&type_code).labels.into_iter().collect::<Vec<_>>();
        assert_eq!(found, ["SUD"]);
        assert!(
            shipped.judge(&type_code, &Overrides::default(), false).labels.is_empty(),
            "a directory entry"
        );
        assert!(labels(&[("http://nucc.org/provider-taxonomy", "2084P0800X")]).0.contains(&"PSY".to_owned()));
        let mut named = record(&[(ICD, "I10")]);
        named.department_names = vec!["St. Mary Behavioral Health Clinic".into()];
        assert!(shipped.of(&named).labels.contains("PSY"));
        named.department_names = vec!["Cardiology".into()];
        assert!(shipped.of(&named).labels.is_empty());
    }

    #[test]
    fn a_medicine_says_what_it_is_given_for() {
        let rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm";
        let atc = "http://www.whocc.no/atc";
        for (system, code, label) in [
            (rxnorm, "68244", "HIV"),     // lamivudine
            (atc, "J05AR03", "HIV"),      // tenofovir disoproxil and emtricitabine, for prophylaxis too
            (rxnorm, "1819", "OPIOIDUD"), // buprenorphine
            (atc, "N07BC02", "OPIOIDUD"), // methadone
            (atc, "N07BB01", "ETHUD"),    // disulfiram
            (rxnorm, "6448", "PSY"),      // lithium
            (atc, "N05AH02", "PSY"),      // clozapine
            (atc, "G03AA07", "SEX"),      // levonorgestrel and ethinylestradiol
        ] {
            assert!(labels(&[(system, code)]).0.contains(&label.to_owned()), "{code} {label}");
        }
        assert!(labels(&[(atc, "C07AB02")]).0.is_empty());
    }

    #[test]
    fn labels_of_the_standard_are_closed_upward() {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        for (code, above) in [("ETH", "SUD"), ("ETHUD", "SUD"), ("MH", "PSY"), ("COGN", "BH"), ("STD", "SEX")]
        {
            let security = vec![Coding {
                system: "http://terminology.hl7.org/CodeSystem/v3-ActCode".into(),
                code: code.into(),
            }];
            let found = shipped.of(&RecordFacts { security, ..RecordFacts::default() }).labels;
            assert!(found.contains(above) && found.contains(code), "{code}: {found:?}");
        }
        // The standard has no ETHUD below ETH.
        assert!(!labels(&[(ICD, "F10.20")]).0.contains(&"ETH".to_owned()));
    }

    #[test]
    fn faulty_lists_are_refused() {
        let faulty = crate::shipped::LABELS
            .replace("[B20,", "[\"*\", B20, B20,")
            .replace("as_of: \"2026", "as_of: \"lately 2026")
            .replace("  STD: [SEX]", "  STD: [SEX]\n  SEX: [STD]")
            .replace("psychiatr,", "PSYCH,");
        let all =
            Labels::parse(&faulty).unwrap_err().iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
        for part in
            ["would stand for every code", "as_of", "listed twice", "leads back", "`PSYCH` is no word"]
        {
            assert!(all.contains(part), "{part} not in {all}");
        }
    }
}
