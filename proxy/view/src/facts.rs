//! What is read from a record before it is judged: types, ids, codes, links, dates. Never shown to anyone.

use crate::granular::Token;

/// The facts of one entry: the record and everything contained in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The record itself first, then its contained resources in document order.
    pub records: Vec<RecordFacts>,
}

/// A code with its system; both as the upstream sent them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Coding {
    /// The code system's URI; empty where the coding names none.
    pub system: String,
    /// The code.
    pub code: String,
}

/// The facts of one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFacts {
    /// `resourceType`.
    pub resource_type: String,
    /// `id`, where there is one.
    pub id: Option<String>,
    /// `meta.versionId`.
    pub version: Option<String>,
    /// `meta.security`.
    pub security: Vec<Coding>,
    /// `meta.tag`: its codes can be sensitive, but it is no content that would have to be judged.
    pub tags: Vec<Coding>,
    /// The concepts at whatever depth, each with all its codings (contained resources have their own).
    pub concepts: Vec<Vec<Coding>>,
    /// Whether a concept stood there without any code: content no code list can judge.
    pub uncoded: bool,
    /// Codes of `category` (and `class` for Encounter), whatever their system.
    pub category_codes: Vec<String>,
    /// `status`, `clinicalStatus` codes excluded.
    pub status: Option<String>,
    /// Logical ids of the patients whom the subject-like elements name (for Patient: its own id).
    pub patients: Vec<String>,
    /// Whether every subject-like element named a patient literally; false also when none is there.
    pub patients_complete: bool,
    /// The record's own date as sent (`effective`, `onset`, `period.start`, `recordedDate`, `created`, …).
    pub date: Option<String>,
    /// `Patient.birthDate`.
    pub birth_date: Option<String>,
    /// `Type/id` of Organizations and Locations the record stands in (service provider, location, department).
    pub departments: Vec<String>,
    /// How the record names them.
    pub department_names: Vec<String>,
    /// `Type/id` of insurers (Coverage.payor, Claim.insurer).
    pub insurers: Vec<String>,
    /// `Type/id` of authors, recorders and asserters.
    pub authors: Vec<String>,
    /// Of the record itself, not of what is contained: the codes that conditions of scopes can ask for.
    pub tokens: Vec<Token>,
    /// What the record's references name, where that was asked for.
    pub pointers: Vec<Pointer>,
}

/// What a reference names, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer {
    /// The type; `None` where nothing says it.
    pub resource_type: Option<String>,
    /// The logical id on this server; `None` of what lies elsewhere.
    pub id: Option<String>,
}

impl Pointer {
    /// `Type/id` of a record on this server.
    pub fn name(&self) -> Option<String> {
        Some(format!("{}/{}", self.resource_type.as_deref()?, self.id.as_deref()?))
    }
}

impl Facts {
    /// The record itself.
    pub fn main(&self) -> Option<&RecordFacts> {
        self.records.first()
    }
}
