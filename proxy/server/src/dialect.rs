//! What is known of the ways of each vendor's server, where it changes what Drape sends on or lets through.

use drape_fhir::query::{Criterion, Search, Summary, split_or};
use drape_fhir::search::patient_parameter;

use crate::config::Dialect;

/// Social security numbers, under the names that servers know them by.
const SOCIAL_SECURITY: &[&str] =
    &["http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1", "2.16.840.1.113883.4.1"];

impl Dialect {
    /// Systems of identifiers that the server matches in searches and never returns (LV-64): who could search by them
    /// could guess them, one number a request.
    pub fn unsearchable(self) -> &'static [&'static str] {
        match self {
            Self::Generic | Self::Hapi => &[],
            Self::Epic | Self::OracleHealth => SOCIAL_SECURITY,
        }
    }

    /// Leaves out what the server is not documented to know and only changes how the answer looks. Epic passes over
    /// what it does not know, and a record that was cut down is one that Drape must judge by less.
    pub fn adapt(self, search: &mut Search) {
        if matches!(self, Self::Epic | Self::OracleHealth) {
            search.elements.clear();
            search.total = None;
            if search.summary != Some(Summary::Count) {
                search.summary = None;
            }
        }
    }

    /// What a search lacks that the server insists on, in words for the caller. The server would refuse it too, in
    /// words that cannot be passed on.
    pub fn lacks(self, search: &Search) -> Option<&'static str> {
        let has = |codes: &[&str]| search.criteria.iter().any(|c| codes.contains(&c.name.as_str()));
        let typed = ["patient:Patient", "subject:Patient"];
        let of_patient = patient_parameter(&search.resource_type).is_some();
        let names_patient = search.compartment.is_some()
            || has(&["_id", "patient", "subject"])
            || has(&typed)
            || patient_parameter(&search.resource_type).is_some_and(|p| has(&[p]));
        match (self, search.resource_type.as_str()) {
            (Self::Generic | Self::Hapi, _) => None,
            (Self::OracleHealth, "Patient") if search.criteria.is_empty() => {
                Some("`_id` or something about the person")
            }
            (_, "Patient") => None,
            _ if of_patient && !names_patient => Some("`patient`, `subject` or `_id`"),
            (Self::Epic, "Observation") if !has(&["_id", "category", "code"]) => Some("`category` or `code`"),
            _ => None,
        }
    }
}

/// Whether a criterion on identifiers could match one of a system that is never returned: it names such a system, or
/// none at all, or compares otherwise than by system and value.
pub(crate) fn could_match(criterion: &Criterion, unsearchable: &[String]) -> bool {
    if unsearchable.is_empty() || criterion.modifier.as_deref() == Some("missing") {
        return false;
    }
    // A reference's `:identifier` is a token as well.
    if !matches!(criterion.modifier.as_deref(), None | Some("identifier" | "not")) {
        return true;
    }
    split_or(&criterion.value).into_iter().any(|value| match value.split_once('|') {
        None | Some(("", _)) => true,
        Some((system, _)) => {
            let named = plain(system);
            unsearchable.iter().any(|u| plain(u) == named)
        }
    })
}

/// A system without what servers tend to overlook.
fn plain(system: &str) -> String {
    let system = system.trim().trim_end_matches('/').to_ascii_lowercase();
    system.strip_prefix("https://").map_or_else(|| system.clone(), |rest| format!("http://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(resource_type: &str, pairs: &[(&str, &str)]) -> Search {
        let pairs: Vec<(String, String)> =
            pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Search::read(resource_type, &pairs).unwrap()
    }

    #[test]
    fn each_vendor_has_its_own_required_parameters() {
        let lacks =
            |dialect: Dialect, kind: &str, pairs: &[(&str, &str)]| dialect.lacks(&search(kind, pairs));
        let patient = ("patient", "Patient/1");
        assert_eq!(lacks(Dialect::Epic, "Observation", &[patient]), Some("`category` or `code`"));
        assert_eq!(
            lacks(Dialect::Epic, "Observation", &[("code", "x")]),
            Some("`patient`, `subject` or `_id`")
        );
        for pairs in [
            &[patient, ("code", "x")][..],
            &[("subject", "Patient/1"), ("category", "labs")],
            &[("_id", "1")],
        ] {
            assert_eq!(lacks(Dialect::Epic, "Observation", pairs), None);
        }
        assert_eq!(lacks(Dialect::OracleHealth, "Observation", &[patient]), None);
        assert!(lacks(Dialect::OracleHealth, "Condition", &[("code", "x")]).is_some());
        assert!(lacks(Dialect::OracleHealth, "Patient", &[]).is_some());
        assert_eq!(lacks(Dialect::OracleHealth, "Patient", &[("family", "x")]), None);
        assert_eq!(lacks(Dialect::OracleHealth, "Organization", &[]), None);
        for dialect in [Dialect::Generic, Dialect::Hapi] {
            assert_eq!(lacks(dialect, "Observation", &[]), None);
        }
    }

    #[test]
    fn what_only_changes_the_look_is_sent_to_those_who_know_it() {
        let asked = [("_elements", "code"), ("_total", "accurate"), ("_count", "5"), ("code", "x")];
        for (dialect, sent) in [
            (Dialect::Generic, "code=x&_count=5&_elements=code&_total=accurate"),
            (Dialect::Epic, "code=x&_count=5"),
            (Dialect::OracleHealth, "code=x&_count=5"),
        ] {
            let mut search = search("Observation", &asked);
            dialect.adapt(&mut search);
            assert_eq!(search.to_query(), sent);
        }
        let mut count = search("Patient", &[("_summary", "count")]);
        Dialect::Epic.adapt(&mut count);
        assert_eq!(count.to_query(), "_summary=count");
    }

    #[test]
    fn an_identifier_needs_a_system_that_is_not_on_the_list() {
        let systems: Vec<String> =
            Dialect::OracleHealth.unsearchable().iter().map(|s| (*s).to_owned()).collect();
        let asked =
            |name: &str, value: &str| could_match(&search("Patient", &[(name, value)]).criteria[0], &systems);
        for value in [
            "123-45-6789",
            "|123-45-6789",
            "http://hl7.org/fhir/sid/us-ssn|123-45-6789",
            "HTTPS://hl7.org/fhir/sid/us-ssn/|123-45-6789",
            "urn:oid:2.16.840.1.113883.4.1|123-45-6789",
            "http://hospital.example/mrn|1,http://hl7.org/fhir/sid/us-ssn|2",
            "http://hospital.example/mrn|1,2",
        ] {
            assert!(asked("identifier", value), "{value}");
        }
        assert!(asked("identifier:of-type", "http://terminology.hl7.org/CodeSystem/v2-0203|SS|1"));
        assert!(asked("identifier:not", "123-45-6789"));
        assert!(!asked("identifier", "http://hospital.example/mrn|1"));
        assert!(!asked("identifier:missing", "true"));
        let open = search("Patient", &[("identifier", "123")]);
        assert!(!could_match(&open.criteria[0], &[]));
    }
}
