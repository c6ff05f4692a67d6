//! An officer's list: patients with labels and consents that no record carries, and labels set right by hand.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use crate::fault::Fault;
use crate::profiler::Date;

/// The officer's list, read.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    patients: HashMap<String, PatientOverride>,
    records: HashMap<String, Vec<Correction>>,
    codes: HashMap<(String, String), Vec<Correction>>,
    documents: HashMap<(String, String), Vec<Correction>>,
    departments: HashMap<String, Vec<Correction>>,
    department_names: Vec<(String, Correction)>,
}

/// Labels that an officer adds to what the lists find, and those that he takes off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// Added, with what stands above them.
    pub add: BTreeSet<String>,
    /// Taken off, with what stands below them. What the server itself says stays.
    pub remove: BTreeSet<String>,
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
struct File {
    version: u32,
    #[serde(default)]
    patients: HashMap<String, PatientOverride>,
    #[serde(default)]
    corrections: Vec<Entry>,
}

/// One correction: what of, which labels, and who made it when and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    record: Option<String>,
    code: Option<String>,
    document: Option<String>,
    department: Option<String>,
    #[serde(default)]
    add: BTreeSet<String>,
    #[serde(default)]
    remove: BTreeSet<String>,
    #[serde(default)]
    on: String,
    #[serde(default)]
    by: String,
    #[serde(default)]
    why: String,
}

impl Overrides {
    /// Reads the list; an empty text is an empty list. Every fault is told at once.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        if yaml.trim().is_empty() {
            return Ok(Self::default());
        }
        let file: File = crate::yaml::read("overrides", yaml)?;
        let mut faults = Vec::new();
        if file.version != 1 {
            faults.push(Fault::new("overrides version", "is not known").help("write 1"));
        }
        let mut list = Self { patients: file.patients, ..Self::default() };
        for (place, entry) in file.corrections.into_iter().enumerate() {
            list.take(entry, &format!("overrides corrections[{place}]"), &mut faults);
        }
        if faults.is_empty() { Ok(list) } else { Err(faults) }
    }

    fn take(&mut self, entry: Entry, path: &str, faults: &mut Vec<Fault>) {
        let mut fault = |what: &str, help: &str| faults.push(Fault::new(path, what).help(help));
        if Date::parse(&entry.on).is_none() || entry.on.len() != 10 {
            fault("`on` is no date", "say when it was decided, `2026-11-25`");
        }
        if entry.by.trim().is_empty() || entry.why.trim().is_empty() {
            fault("does not say who decided, or why", "give `by` and `why`");
        }
        if entry.add.is_empty() && entry.remove.is_empty() {
            fault("changes nothing", "give labels under `add` or `remove`");
        }
        if entry.add.intersection(&entry.remove).next().is_some() {
            fault("adds and removes the same label", "keep one of the two");
        }
        let correction = Correction { add: entry.add, remove: entry.remove };
        let coding = |text: String| {
            let (system, code) = text.rsplit_once('|')?;
            (!system.is_empty() && !code.is_empty()).then(|| (system.to_owned(), code.to_owned()))
        };
        let is_record = |text: &str| {
            let parts: Vec<&str> = text.split('/').collect();
            matches!(parts[..], [kind, id] if drape_fhir::definitions::r4().is_resource(kind) && !id.is_empty())
        };
        match (entry.record, entry.code, entry.document, entry.department) {
            (Some(record), None, None, None) if is_record(&record) => {
                self.records.entry(record).or_default().push(correction);
            }
            (None, Some(code), None, None) if code.contains('|') => match coding(code) {
                Some(key) => self.codes.entry(key).or_default().push(correction),
                None => fault("`code` is no code", "write `system|code`"),
            },
            (None, None, Some(code), None) if code.contains('|') => match coding(code) {
                Some(key) => self.documents.entry(key).or_default().push(correction),
                None => fault("`document` is no code", "write `system|code`"),
            },
            (None, None, None, Some(department)) if is_record(&department) => {
                self.departments.entry(department).or_default().push(correction);
            }
            (None, None, None, Some(name)) if name.trim().len() > 3 && !name.contains('/') => {
                self.department_names.push((name.to_lowercase(), correction));
            }
            _ => fault(
                "does not say what it is about",
                "give one of `record: Type/id`, `code: system|code`, `document: system|code`, `department: Type/id` or a \
                 name",
            ),
        }
    }

    /// Every label that it names.
    pub fn words(&self) -> BTreeSet<String> {
        let patients =
            self.patients.values().flat_map(|p| p.labels.iter().chain(&p.releases).chain(&p.denies));
        let lists = [&self.codes, &self.documents].into_iter().flat_map(HashMap::values);
        let lists = lists.chain(self.records.values()).chain(self.departments.values()).flatten();
        let corrections = lists.chain(self.department_names.iter().map(|(_, correction)| correction));
        patients.chain(corrections.flat_map(|c| &c.add)).cloned().collect()
    }

    /// What the list says of a patient, by bare logical id.
    pub fn of(&self, patient_id: &str) -> Option<&PatientOverride> {
        self.patients.get(patient_id)
    }

    pub(crate) fn record(&self, resource_type: &str, id: &str) -> Vec<&Correction> {
        if self.records.is_empty() {
            return Vec::new();
        }
        self.records.get(&format!("{resource_type}/{id}")).into_iter().flatten().collect()
    }

    pub(crate) fn codes(&self, system: &str, code: &str, document: bool) -> Vec<&Correction> {
        if self.codes.is_empty() && self.documents.is_empty() {
            return Vec::new();
        }
        let key = (system.to_owned(), code.to_owned());
        let documents = self.documents.get(&key).filter(|_| document);
        self.codes.get(&key).into_iter().chain(documents).flatten().collect()
    }

    /// Whether the officer has judged that code.
    pub(crate) fn knows(&self, system: &str, code: &str, document: bool) -> bool {
        !self.codes(system, code, document).is_empty()
    }

    /// By `Type/id`, and by names in small letters.
    pub(crate) fn departments(&self, ids: &[String], names: &[String]) -> Vec<&Correction> {
        let by_id = ids.iter().filter_map(|id| self.departments.get(id)).flatten();
        let fits = |wanted: &str| names.iter().any(|name| name.contains(wanted));
        let by_name = self.department_names.iter().filter(|(name, _)| fits(name)).map(|(_, c)| c);
        by_id.chain(by_name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Coding, RecordFacts};
    use crate::labels::Labels;

    const SIGNED: &str = "on: \"2026-11-20\", by: A. Officer, why: a review";
    const ICD: &str = "http://hl7.org/fhir/sid/icd-10-cm";

    fn list(entries: &[&str]) -> Overrides {
        let entries: Vec<String> = entries.iter().map(|e| format!("  - {{{e}, {SIGNED}}}")).collect();
        Overrides::parse(&format!("version: 1\ncorrections:\n{}", entries.join("\n"))).unwrap()
    }

    fn record(kind: &str, system: &str, code: &str) -> RecordFacts {
        RecordFacts {
            resource_type: kind.into(),
            id: Some("r1".into()),
            concepts: vec![vec![Coding { system: system.into(), code: code.into() }]],
            departments: vec!["Location/l1".into()],
            department_names: vec!["Sunrise House".into()],
            ..RecordFacts::default()
        }
    }

    fn labels(overrides: &Overrides, record: &RecordFacts) -> (String, bool) {
        let shipped = Labels::parse(crate::shipped::LABELS).unwrap();
        let found = shipped.judge(record, overrides, true);
        (found.labels.into_iter().collect::<Vec<_>>().join(","), found.classified)
    }

    #[test]
    fn an_officer_labels_records_codes_documents_and_departments_and_takes_labels_off() {
        let alcohol = record("Condition", ICD, "F10.20");
        let local = record("Observation", "urn:local", "x1");
        for (entry, record, expected) in [
            ("record: Condition/r1, remove: [ETHUD]", &alcohol, ("SUD", true)),
            ("record: Condition/r1, remove: [SUD]", &alcohol, ("", true)),
            ("record: Condition/r2, remove: [SUD]", &alcohol, ("ETHUD,SUD", true)),
            ("record: Condition/r1, add: [HIV], remove: [SUD]", &alcohol, ("HIV", true)),
            ("code: \"http://hl7.org/fhir/sid/icd-10-cm|F10.20\", remove: [SUD]", &alcohol, ("", true)),
            ("code: \"urn:local|x1\", add: [MH]", &local, ("MH,PSY", true)),
            ("document: \"urn:local|x1\", add: [MH]", &local, ("", false)),
            ("department: Location/l1, add: [OPIOIDUD]", &local, ("OPIOIDUD,SUD", false)),
            ("department: sunrise, add: [SDV]", &local, ("SDV", false)),
        ] {
            let (found, classified) = labels(&list(&[entry]), record);
            assert_eq!((found.as_str(), classified), expected, "{entry}");
        }
        let note = record("DocumentReference", "urn:local", "x1");
        assert_eq!(labels(&list(&["document: \"urn:local|x1\", add: [MH]"]), &note), ("MH,PSY".into(), true));
    }

    #[test]
    fn what_the_server_itself_says_is_not_taken_off() {
        let mut said = record("Condition", ICD, "I10");
        said.security = vec![Coding {
            system: "http://terminology.hl7.org/CodeSystem/v3-ActCode".into(),
            code: "HIV".into(),
        }];
        assert_eq!(labels(&list(&["record: Condition/r1, remove: [HIV]"]), &said).0, "HIV");
    }

    #[test]
    fn a_list_with_faults_tells_all_of_them() {
        let yaml = "version: 2\ncorrections:\n  - {record: Nothing/1, add: [HIV], on: lately, by: x, why: y}\n  - {code: x, on: \"2026-01-01\"}\n  - {code: \"a|b\", record: Condition/1, add: [X], remove: [X], on: \"2026-01-01\", by: x, why: y}";
        let faults = Overrides::parse(yaml).unwrap_err();
        let all = faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n");
        for part in [
            "version: is not known",
            "corrections[0]: `on` is no date",
            "corrections[0]: does not say what it is about",
            "corrections[1]: does not say who decided",
            "corrections[1]: changes nothing",
            "corrections[2]: adds and removes the same",
            "corrections[2]: does not say what it is about",
        ] {
            assert!(all.contains(part), "{part} not in {all}");
        }
        assert!(Overrides::parse("version: 1\npatient: {}").is_err());
        let list = Overrides::parse("version: 1\npatients: {p1: {labels: [VIP]}}").unwrap();
        assert!(list.of("p1").unwrap().labels.contains("VIP"));
    }
}
