//! Sensitivity by code: which labels a record's codings carry, and whether its content could be judged at all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::facts::RecordFacts;
use crate::fault::Fault;

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
}

const LOINC: &str = "http://loinc.org";

impl Labels {
    /// Reads the file.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = serde_saphyr::from_str(yaml)
            .map_err(|e| vec![Fault::new("labels.yaml", format!("cannot be read: {e}"))])?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(
                Fault::new("labels.yaml version", format!("`{}` is not known", file.version)).help("write 1"),
            );
        }
        let date = file.as_of.split('-').map(str::len).collect::<Vec<_>>();
        if date != [4, 2, 2] {
            faults.push(
                Fault::new("labels.yaml as_of", "is no date").help("say when the lists were last reviewed"),
            );
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
                for code in codes {
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
        if faults.is_empty() { Ok(labels) } else { Err(faults) }
    }

    /// When the lists were last reviewed.
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// The labels of one record by its own codings.
    pub fn of(&self, facts: &RecordFacts) -> Labelled {
        let mut found = BTreeSet::new();
        for coding in &facts.security {
            if self.taken.contains(&coding.system) {
                self.add(&coding.code, &mut found);
            }
        }
        // A tag can name a sensitivity like any code. Whether the record can be judged does not hang on it: tags say how
        // a record came and is handled, not what is in it.
        for coding in &facts.tags {
            if self.taken.contains(&coding.system) {
                self.add(&coding.code, &mut found);
            }
            self.code(&coding.system, &coding.code, &mut found);
        }
        for coding in facts.concepts.iter().flatten() {
            self.code(&coding.system, &coding.code, &mut found);
        }
        // Several codings of one concept say the same thing: one that the lists judge judges them all.
        let begins = |system: &str, list: &[String]| list.iter().any(|n| system.starts_with(n.as_str()));
        let known = |system: &str| {
            let neutral = || begins(system, &self.neutral) && !begins(system, &self.content);
            self.judged.iter().any(|j| j == system) || neutral()
        };
        let judged = facts.concepts.iter().all(|concept| concept.iter().any(|c| known(&c.system)));
        Labelled { labels: found, classified: judged && !facts.uncoded }
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

/// An officer's list of patients: labels and consents that no record carries.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    patients: HashMap<String, PatientOverride>,
}

/// What the officer's list says of one patient.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatientOverride {
    /// `VIP`, restriction requests.
    pub labels: BTreeSet<String>,
    /// Labels whose records the patient releases (42 CFR 2.31).
    pub releases: BTreeSet<String>,
    /// Labels whose records the patient keeps back.
    pub denies: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OverridesFile {
    version: u32,
    #[serde(default)]
    patients: HashMap<String, PatientOverride>,
}

impl Overrides {
    /// Reads the list; an empty text is an empty list.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: OverridesFile = serde_saphyr::from_str(yaml)
            .map_err(|e| vec![Fault::new("overrides", format!("cannot be read: {e}"))])?;
        if file.version != 1 {
            return Err(vec![Fault::new("overrides version", "is not known").help("write 1")]);
        }
        Ok(Self { patients: file.patients })
    }

    /// What the list says of a patient, by bare logical id.
    pub fn of(&self, patient_id: &str) -> Option<&PatientOverride> {
        self.patients.get(patient_id)
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
        assert_eq!(labels(&[("http://loinc.org", "28635-1")]).0, ["PSY", "PSYTHPN"]);
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
    fn faulty_lists_are_refused() {
        let faulty = crate::shipped::LABELS.replace("[B20,", "[\"*\", B20,").replace("2026-11-01", "lately");
        let all =
            Labels::parse(&faulty).unwrap_err().iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
        assert!(all.contains("would stand for every code") && all.contains("as_of"), "{all}");
        assert!(Overrides::parse("version: 1\npatient: {}").is_err());
        let list = Overrides::parse("version: 1\npatients: {p1: {labels: [VIP]}}").unwrap();
        assert!(list.of("p1").unwrap().labels.contains("VIP"));
    }
}
