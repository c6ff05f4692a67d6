//! A no: what the caller hears and what the officer reads, as two fields that never mix.

use http::{HeaderName, HeaderValue, StatusCode, header};

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The FHIR issue type (`http://hl7.org/fhir/issue-type`).
    pub code: &'static str,
    /// What the caller hears. Never says whether a record exists.
    pub public: String,
    /// What the officer reads.
    pub reason: String,
    /// The stage that refused.
    pub stage: &'static str,
    /// The precondition that failed.
    pub lacks: Lacks,
    /// `WWW-Authenticate`, `Retry-After`, `Allow`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether nobody was authenticated: such refusals are counted, not entered one by one.
    pub stranger: bool,
    /// Who was proved, where that was refused which she stated; for the log.
    pub who: Option<std::sync::Arc<drape_view::Caller>>,
}

/// The precondition that a request failed, as its caller hears it by a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// A token that is accepted.
    Token,
    /// A scope that covers it.
    Scope,
    /// A purpose of use that activates a role.
    Purpose,
    /// A policy that permits such a request of the type.
    Request,
    /// A view that shows everything.
    WholeView,
    /// Leave to search by, count by or come along by what a criterion reads.
    Criterion,
    /// A patient whose relation to the caller is proved.
    Relation,
    /// Leave to write what would change.
    Change,
    /// A budget that is not spent.
    Budget,
    /// A form that is understood and offered.
    Form,
    /// A record that is known to the caller, whether there is one or not.
    Record,
    /// A policy that can be evaluated.
    Policy,
    /// An answer of the server behind.
    Upstream,
    /// Something that Drape itself needs.
    Service,
}

/// The code system of [`Lacks`].
pub const LACKS: &str = "https://drape.dev/fhir/CodeSystem/refusal";

impl Lacks {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Token,
        Self::Scope,
        Self::Purpose,
        Self::Request,
        Self::WholeView,
        Self::Criterion,
        Self::Relation,
        Self::Change,
        Self::Budget,
        Self::Form,
        Self::Record,
        Self::Policy,
        Self::Upstream,
        Self::Service,
    ];

    /// The code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Scope => "scope",
            Self::Purpose => "purpose",
            Self::Request => "request",
            Self::WholeView => "whole-view",
            Self::Criterion => "criterion",
            Self::Relation => "relation",
            Self::Change => "change",
            Self::Budget => "budget",
            Self::Form => "form",
            Self::Record => "record",
            Self::Policy => "policy-error",
            Self::Upstream => "upstream",
            Self::Service => "service",
        }
    }
}

impl Refusal {
    /// A refusal with one text for both readers.
    pub fn new(
        stage: &'static str,
        status: StatusCode,
        code: &'static str,
        public: impl Into<String>,
    ) -> Self {
        let public = public.into();
        let reason = public.clone();
        // Whoever refuses for something else than the form says so.
        let lacks = if status.is_server_error() { Lacks::Upstream } else { Lacks::Form };
        Self { status, code, reason, public, stage, lacks, headers: Vec::new(), stranger: false, who: None }
    }

    /// With the precondition that failed.
    #[must_use]
    pub fn lacking(mut self, lacks: Lacks) -> Self {
        self.lacks = lacks;
        self
    }

    /// With a reason that only the officer reads.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// With a response header.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// 401: nobody was authenticated. `error` and `description` are those of RFC 6750 section 3; both are left out
    /// when the request carried no credential at all.
    pub fn unauthenticated(realm: &str, error: Option<(&str, &str)>, reason: impl Into<String>) -> Self {
        let quoted = |s: &str| s.replace(['"', '\\'], "'");
        let challenge = match error {
            None => format!("Bearer realm=\"{}\"", quoted(realm)),
            Some((error, description)) => format!(
                "Bearer realm=\"{}\", error=\"{}\", error_description=\"{}\"",
                quoted(realm),
                quoted(error),
                quoted(description)
            ),
        };
        let public = match error {
            None => "a bearer token is needed".to_owned(),
            Some((_, description)) => description.to_owned(),
        };
        let mut refusal = Self::new("admit", StatusCode::UNAUTHORIZED, "login", public)
            .because(reason)
            .lacking(Lacks::Token)
            .with(header::WWW_AUTHENTICATE, &challenge);
        refusal.stranger = true;
        refusal
    }

    /// 403 by policy.
    pub fn forbidden(stage: &'static str, public: impl Into<String>) -> Self {
        // What is judged on the way there is what a write would change.
        let lacks = if stage == "forward" { Lacks::Change } else { Lacks::Request };
        Self::new(stage, StatusCode::FORBIDDEN, "forbidden", public).lacking(lacks)
    }

    /// 404 for what is not there and what may not be seen: the two answer alike.
    pub fn unknown(stage: &'static str, reason: impl Into<String>) -> Self {
        Self::new(stage, StatusCode::NOT_FOUND, "not-found", "no such record is known to you")
            .lacking(Lacks::Record)
            .because(reason)
    }

    /// 502: the upstream's fault.
    pub fn upstream(reason: impl Into<String>) -> Self {
        Self::new(
            "forward",
            StatusCode::BAD_GATEWAY,
            "transient",
            "the FHIR server behind gave no usable answer",
        )
        .because(reason)
    }

    /// 503: Drape cannot do its duty now.
    pub fn unavailable(stage: &'static str, public: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(stage, StatusCode::SERVICE_UNAVAILABLE, "transient", public)
            .because(reason)
            .lacking(Lacks::Service)
            .with(header::RETRY_AFTER, "5")
    }
}
