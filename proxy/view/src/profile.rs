//! The part of a record's facts that policies can read, as Cedar's `context.record` and `context.patient`.

use std::collections::BTreeSet;

/// One record as policies see it. Equal profiles get equal verdicts, so plans are cached by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Profile {
    /// `resourceType`.
    pub resource_type: String,
    /// Sensitivity labels, Drape's own and the upstream's, closed upward.
    pub labels: BTreeSet<String>,
    /// False: content that no code list could judge.
    pub classified: bool,
    /// Codes of `category` and its like.
    pub category_codes: BTreeSet<String>,
    /// `status`.
    pub status: Option<String>,
    /// Whole days since the record's own date; negative for the future.
    pub age_days: Option<i64>,
    /// Departments as `Type/id`.
    pub departments: BTreeSet<String>,
    /// `own` where the caller's organization insures; else `Type/id`.
    pub insurers: BTreeSet<String>,
    /// Whether the caller wrote it.
    pub authored_by_caller: bool,
    /// The patient or patients it is about.
    pub patient: Subject,
}

impl Profile {
    /// A record of that type of which nothing is known but that code lists could judge it.
    pub fn plain(resource_type: &str) -> Self {
        Self {
            resource_type: resource_type.to_owned(),
            labels: BTreeSet::new(),
            classified: true,
            category_codes: BTreeSet::new(),
            status: None,
            age_days: None,
            departments: BTreeSet::new(),
            insurers: BTreeSet::new(),
            authored_by_caller: false,
            patient: Subject::default(),
        }
    }
}

/// The patients of a record, merged conservatively when there are several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Subject {
    /// False: none found, or not all of them.
    pub known: bool,
    /// Whether the caller is all of them.
    pub is_caller: bool,
    /// What the caller is to every one of them.
    pub relations: BTreeSet<String>,
    /// Whole years of the youngest, where all ages are known.
    pub age_years: Option<i64>,
    /// Labels of any of them.
    pub labels: BTreeSet<String>,
    /// What every one of them releases by consent.
    pub consent_releases: BTreeSet<String>,
    /// What any of them denies.
    pub consent_denies: BTreeSet<String>,
}
