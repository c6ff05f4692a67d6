//! What is entered in the log: one event, in the words of the proxy and as an IHE BALP AuditEvent.

mod read;
pub mod trace;
mod write;

pub use read::EventFault;

/// What kind of entry this is. The byte stands in the public leaf, so it says nothing about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// A request was judged and is about to be made; durable before anything goes upstream.
    Intent,
    /// Patients and records that are about to leave; durable before they do.
    Segment,
    /// How the request ended.
    Outcome,
    /// An authenticated caller was refused.
    Refusal,
    /// How many unauthenticated requests were refused since the last such entry.
    Strangers,
    /// An officer looked at the log or a page of it.
    Officer,
    /// Configuration, policies or keys changed, or the proxy started or stopped.
    Config,
    /// Nothing happened; bounds how much of the tail can vanish unseen.
    Heartbeat,
    /// Events were erased, with the legal basis.
    Tombstone,
    /// An officer approved of a policy digest.
    Approval,
}

impl Class {
    /// Every class, in the order of its byte.
    pub const ALL: [Self; 10] = [
        Self::Intent,
        Self::Segment,
        Self::Outcome,
        Self::Refusal,
        Self::Strangers,
        Self::Officer,
        Self::Config,
        Self::Heartbeat,
        Self::Tombstone,
        Self::Approval,
    ];

    /// The byte in the leaf, from 1; fixed for version 1 of the leaf.
    pub fn byte(self) -> u8 {
        match self {
            Self::Intent => 1,
            Self::Segment => 2,
            Self::Outcome => 3,
            Self::Refusal => 4,
            Self::Strangers => 5,
            Self::Officer => 6,
            Self::Config => 7,
            Self::Heartbeat => 8,
            Self::Tombstone => 9,
            Self::Approval => 10,
        }
    }

    /// The class of a byte, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.byte() == byte)
    }

    /// The word used in stored events and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Segment => "segment",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Strangers => "strangers",
            Self::Officer => "officer",
            Self::Config => "config",
            Self::Heartbeat => "heartbeat",
            Self::Tombstone => "tombstone",
            Self::Approval => "approval",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.word() == word)
    }
}

/// What policy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// The request was permitted.
    Permit,
    /// The request was refused.
    Deny,
    /// Policy was not asked.
    NotAsked,
}

impl Decision {
    /// The word used in stored events.
    pub fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::NotAsked => "not-asked",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Permit, Self::Deny, Self::NotAsked].into_iter().find(|d| d.word() == word)
    }
}

/// `AuditEvent.outcome` (audit-event-outcome, required binding).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeCode {
    /// `0`
    Success,
    /// `4`: refused, or the caller's fault.
    MinorFailure,
    /// `8`: cut off, or the proxy's or the upstream's fault.
    SeriousFailure,
    /// `12`: the system is no longer to be used.
    MajorFailure,
}

impl OutcomeCode {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Success => "0",
            Self::MinorFailure => "4",
            Self::SeriousFailure => "8",
            Self::MajorFailure => "12",
        }
    }

    fn from_code(code: &str) -> Option<Self> {
        [Self::Success, Self::MinorFailure, Self::SeriousFailure, Self::MajorFailure]
            .into_iter()
            .find(|outcome| outcome.code() == code)
    }
}

/// Why an unauthenticated request was refused: a closed list, so that strangers cannot choose what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stranger {
    /// No token was sent.
    NoToken,
    /// The token could not be read or its signature does not fit.
    BadToken,
    /// The token had expired or was not valid yet.
    Expired,
    /// The token is of another issuer or for another audience.
    Foreign,
    /// Too many requests.
    RateLimited,
    /// The request could not be read.
    Malformed,
}

impl Stranger {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::NoToken, Self::BadToken, Self::Expired, Self::Foreign, Self::RateLimited, Self::Malformed];

    /// The word used in stored events.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::BadToken => "bad-token",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
            Self::RateLimited => "rate-limited",
            Self::Malformed => "malformed",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// Who asked, as the token proved it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub id: String,
    /// A name for the reader of the log.
    pub name: Option<String>,
    /// The roles acted in.
    pub roles: Vec<String>,
    /// `jti`; never the token (BALP, minimal token pattern).
    pub token_id: Option<String>,
}

/// How often a treatment was applied to a category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Treated {
    /// The category, such as `person-name`; no spaces.
    pub category: String,
    /// The treatment, such as `redact`; no spaces.
    pub treatment: String,
    /// How many elements.
    pub count: u64,
}

/// One entry, before it is sealed. Strings that are empty or absent are left out of the FHIR form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What kind of entry.
    pub class: Class,
    /// When, in milliseconds since the epoch (`recorded`).
    pub time_ms: u64,
    /// The request's id, which ties intent, segments and outcome together; unique per request.
    pub request: String,
    /// The tenant; patients are searched within it.
    pub tenant: String,
    /// Who asked, where anybody did.
    pub subject: Option<Subject>,
    /// The client app.
    pub client: Option<String>,
    /// The organization acted for.
    pub organization: Option<String>,
    /// A v3 PurposeOfUse code, such as `TREAT` (`purposeOfEvent`).
    pub purpose: Option<String>,
    /// By what the purpose was stated: `token`, `header`, `launch`, `certificate`.
    pub stated_by: Option<String>,
    /// Why an emergency was declared under which this happened. Such entries are to be reviewed.
    pub emergency: Option<String>,
    /// A FHIR restful-interaction code, such as `search-type` (`subtype`).
    pub interaction: Option<String>,
    /// The resource type asked for.
    pub resource_type: Option<String>,
    /// The HTTP method.
    pub method: Option<String>,
    /// The route without values, such as `/Patient/{id}`.
    pub route: Option<String>,
    /// The raw request target as the caller sent it; stored base64 in `entity.query`.
    pub query: Option<String>,
    /// The digest of the policy set that judged.
    pub policy_digest: Option<String>,
    /// What it said.
    pub decision: Decision,
    /// Ids of the determining policies.
    pub policies: Vec<String>,
    /// Logical ids of the patients named, without `Patient/`.
    ///
    /// BALP wants one event per patient; one entry here may name several, and [`Event::to_balp_events`] splits it.
    pub patients: Vec<String>,
    /// Records named: `Type/id`, or `Type/id/version`.
    pub records: Vec<String>,
    /// What was done to which categories.
    pub treatments: Vec<Treated>,
    /// What was asked of policy about the request. An outcome holds what was asked after its intent.
    pub trace: trace::Trace,
    /// By which policies what of the records was seen.
    pub determined: Vec<trace::Determined>,
    /// The HTTP status answered.
    pub status: Option<u16>,
    /// How it ended; an intent has no outcome yet.
    pub outcome: Option<OutcomeCode>,
    /// Why it was refused or failed, for the officer (`outcomeDesc`).
    pub reason: Option<String>,
    /// The caller's address.
    pub network: Option<String>,
    /// The public base URL the request was made to.
    pub server: Option<String>,
    /// Only for [`Class::Strangers`]: how many of each kind.
    pub strangers: Vec<(Stranger, u64)>,
    /// Only for [`Class::Tombstone`]: ranges of leaf indices, both ends included.
    pub erased: Vec<(u64, u64)>,
}

impl Event {
    /// An event of that class about nobody yet.
    pub fn new(class: Class, time_ms: u64, request: impl Into<String>, tenant: impl Into<String>) -> Self {
        Self {
            class,
            time_ms,
            request: request.into(),
            tenant: tenant.into(),
            subject: None,
            client: None,
            organization: None,
            purpose: None,
            stated_by: None,
            emergency: None,
            interaction: None,
            resource_type: None,
            method: None,
            route: None,
            query: None,
            policy_digest: None,
            decision: Decision::NotAsked,
            policies: Vec::new(),
            patients: Vec::new(),
            records: Vec::new(),
            treatments: Vec::new(),
            trace: trace::Trace::default(),
            determined: Vec::new(),
            status: None,
            outcome: None,
            reason: None,
            network: None,
            server: None,
            strangers: Vec::new(),
            erased: Vec::new(),
        }
    }
}

/// Which BALP pattern an interaction follows (IHE ITI BasicAudit, table of profiles).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    Read,
    Query,
    Create,
    Update,
    Delete,
    /// No BALP profile exists: operations, history, capabilities.
    Other,
}

impl Pattern {
    fn of(interaction: Option<&str>) -> Self {
        match interaction {
            Some("read" | "vread") => Self::Read,
            Some("search" | "search-type" | "search-system") => Self::Query,
            Some("create") => Self::Create,
            Some("update" | "patch") => Self::Update,
            Some("delete") => Self::Delete,
            _ => Self::Other,
        }
    }

    /// `AuditEvent.action`.
    fn action(self, interaction: Option<&str>) -> &'static str {
        match self {
            Self::Read => "R",
            Self::Create => "C",
            Self::Update => "U",
            Self::Delete => "D",
            Self::Query => "E",
            Self::Other if interaction.is_some_and(|i| i.starts_with("history") || i == "capabilities") => {
                "R"
            }
            Self::Other => "E",
        }
    }

    fn profile_name(self) -> Option<&'static str> {
        match self {
            Self::Read => Some("Read"),
            Self::Query => Some("Query"),
            Self::Create => Some("Create"),
            Self::Update => Some("Update"),
            Self::Delete => Some("Delete"),
            Self::Other => None,
        }
    }
}

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const ACT_REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const PROVENANCE_PARTICIPANT: &str = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
const OBJECT_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
const BALP_ENTITY: &str = "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType";
const BALP_PROFILE: &str = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.";
const JTI: &str = "urn:ietf:params:oauth:jti:";
/// `entity.name` of the entity whose details hold what FHIR has no place for.
const RECORD: &str = "proxy decision";
/// The observer, where no public base URL is known.
const OBSERVER: &str = "Drape";

#[cfg(test)]
mod tests;
