//! The authenticated party as a plain value: what admission proved, and nothing that policies could not read.

use std::collections::{BTreeMap, BTreeSet};

use crate::granular::Condition;

/// Who asks, on whose behalf, in which role, for which purpose. Made only by admission.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The issuer that vouches (`iss`).
    pub issuer: String,
    /// The subject at that issuer (`sub`).
    pub subject: String,
    /// A name for the audit log.
    pub name: Option<String>,
    /// Roles that the purpose of use activates; others the token holds are not acted in.
    pub roles: BTreeSet<String>,
    /// Every role the token holds, acted in or not: what may be counted depends on what could be read under another
    /// purpose. Policies never see it.
    pub held_roles: BTreeSet<String>,
    /// The organization acted for.
    pub organization: Option<String>,
    /// Departments or wards.
    pub departments: BTreeSet<String>,
    /// Job title.
    pub title: Option<String>,
    /// The client app (`client_id` or `azp`).
    pub client: Option<String>,
    /// Start and end of the shift, minutes since local midnight; a shift over midnight has end < start.
    pub shift: Option<(u16, u16)>,
    /// The FHIR resource that is the caller (`fhirUser`), as `Type/id`.
    pub fhir_user: Option<String>,
    /// The patient in context for `patient/` scopes (`patient`), a bare logical id.
    pub patient: Option<String>,
    /// SMART scopes. Empty: the token carries none, and SMART then grants nothing.
    pub scopes: Vec<Scope>,
    /// What the caller is to which patients, by bare logical id.
    pub relations: BTreeMap<String, Relation>,
    /// v3 PurposeOfUse code, or empty where none was stated.
    pub purpose: String,
    /// How the purpose was stated, and what was stated besides.
    pub statement: Statement,
    /// How it was proved.
    pub proof: Proof,
    /// Frozen at admission.
    pub environment: Environment,
}

/// What the caller is to one patient, and what the issuer says of that patient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Relation {
    /// `treating`, `careTeam`, `ward`, `guardian`, …
    pub is: BTreeSet<String>,
    /// The patient's date of birth (`YYYY-MM-DD`), where the issuer knows it.
    pub birth_date: Option<String>,
}

/// How the caller was authenticated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Proof {
    /// `jti`, where the token has one.
    pub token_id: Option<String>,
    /// SHA-256 of the token: names it in caches, never leaves.
    pub token_digest: [u8; 32],
    /// Seconds since the epoch.
    pub expires_at: u64,
}

/// What the caller stated about the request, besides what proves who asks. Policies see of it only that emergency access
/// was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Statement {
    /// By what the purpose was stated; `None` where none was.
    pub by: Option<StatedBy>,
    /// The emergency that was declared and accepted.
    pub emergency: Option<Emergency>,
}

/// By what a purpose of use was stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatedBy {
    /// A claim of the token.
    Token,
    /// A header of the request, which the configuration allows.
    Header,
    /// The context in which a SMART app was launched.
    Launch,
    /// The configuration of a client certificate.
    Certificate,
}

impl StatedBy {
    /// The word in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Header => "header",
            Self::Launch => "launch",
            Self::Certificate => "certificate",
        }
    }
}

/// An emergency: why, and until when it lets the caller see more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Emergency {
    /// In the caller's own words; for the officer.
    pub reason: String,
    /// Milliseconds since the epoch.
    pub until_ms: u64,
}

/// Circumstances, frozen at admission in the tenant's time zone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Environment {
    /// Milliseconds since the epoch; policies never see it.
    pub now_ms: u64,
    /// The local civil date, `YYYY-MM-DD`; ages are counted on it.
    pub today: String,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 1439.
    pub minute_of_day: u16,
    /// 1 (Monday) to 7 (Sunday), as ISO 8601 counts.
    pub weekday: u8,
    /// The peer's address, where it is known.
    pub network: Option<std::net::IpAddr>,
    /// Whether emergency access was declared and accepted.
    pub break_glass: bool,
}

/// Whose records a scope speaks of (SMART App Launch 2, scopes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeLevel {
    /// Only records about the patient in context.
    Patient,
    /// Whatever the user may see.
    User,
    /// Whatever the client may see.
    System,
}

/// One SMART scope on resources.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Whose records.
    pub level: ScopeLevel,
    /// The type, or `None` for `*`.
    pub resource_type: Option<String>,
    /// `c`.
    pub create: bool,
    /// `r`: read, vread, instance history.
    pub read: bool,
    /// `u`.
    pub update: bool,
    /// `d`.
    pub delete: bool,
    /// `s`: search, type history.
    pub search: bool,
    /// Granular (`?category=…`): only records that meet all of these.
    pub conditions: Vec<Condition>,
    /// Why the conditions cannot be judged on a record; the scope then grants nothing.
    pub unclear: Option<String>,
}

impl Caller {
    /// What the caller is to the patient of that logical id.
    pub fn relation(&self, patient_id: &str) -> Option<&Relation> {
        self.relations.get(patient_id)
    }

    /// The patients to whom any relation is proved.
    pub fn related_patients(&self) -> impl Iterator<Item = &str> {
        self.relations.keys().map(String::as_str)
    }
}
