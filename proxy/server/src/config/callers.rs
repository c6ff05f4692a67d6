//! How callers prove and state who they are and what for: opaque tokens, certificates, purposes of use, emergencies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use drape_caller::client_assertion::AssertionAlgorithm;

use super::read::{Faults, Table};
use super::tenant::check_url;

/// Which tokens an issuer's callers may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKinds {
    /// Signed JWTs, proved by the issuer's keys.
    Jwt,
    /// Whatever the issuer gives out; it is asked about each (RFC 7662).
    Opaque,
    /// JWTs by their signature, all others by asking.
    Both,
}

/// Where an issuer is asked about a token (RFC 7662).
#[derive(Clone, Debug)]
pub struct Introspection {
    /// The endpoint.
    pub url: String,
    /// How Drape proves itself there.
    pub auth: ClientAuth,
    /// How long an answer stands; never longer than the token.
    pub cache: Duration,
    /// Only tokens that begin so are shown to this issuer.
    pub token_prefix: Option<String>,
    /// Whether it may be shown tokens that another issuer of the tenant could have given out.
    pub may_see_foreign_tokens: bool,
}

/// How Drape proves itself as a client of an authorization server.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// `client_secret_basic` (RFC 6749 section 2.3.1).
    Basic {
        /// The client.
        client_id: String,
        /// A file that holds the secret.
        client_secret_file: PathBuf,
    },
    /// `private_key_jwt` (OpenID Connect Core section 9).
    PrivateKeyJwt {
        /// The client.
        client_id: String,
        /// A file that holds the private key, PEM.
        key_file: PathBuf,
        /// `kid`, where the server knows several keys of the client.
        key_id: Option<String>,
        /// The signature.
        algorithm: AssertionAlgorithm,
    },
}

/// A header by which a purpose of use may be stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PurposeHeader {
    /// Its name, in lower case.
    pub name: String,
    /// The purposes that may be stated so.
    pub allowed: Vec<String>,
    /// The clients that may; empty for all.
    pub clients: Vec<String>,
}

/// Who may declare an emergency, and what that takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlass {
    /// The header that holds the reason, in lower case.
    pub header: String,
    /// Roles of which the caller must act in one.
    pub roles: Vec<String>,
    /// Purposes of use that say that it is one.
    pub purposes: Vec<String>,
    /// The clients that may; empty for all.
    pub clients: Vec<String>,
    /// How long it lasts.
    pub lifetime: Duration,
    /// How long a reason must be.
    pub reason_chars_min: usize,
    /// How often one caller may declare one within 24 hours.
    pub per_day_max: usize,
}

/// A client certificate that makes a caller.
#[derive(Clone, Debug)]
pub struct CertificateRule {
    /// What must stand in it.
    pub name: CertificateName,
    /// SHA-256 of the authority's certificate that must vouch for it.
    pub ca_fingerprint: Option<[u8; 32]>,
    /// Whom it makes.
    pub caller: CertificateCaller,
}

/// The name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// One of the DNS names, to the letter.
    SanDns(String),
    /// One of the URIs, to the letter.
    SanUri(String),
    /// The one common name of the subject.
    SubjectCn(String),
    /// The SPIFFE ID: the only URI.
    Spiffe(String),
}

/// Whom a certificate makes.
#[derive(Clone, Debug)]
pub struct CertificateCaller {
    /// The subject.
    pub sub: String,
    /// A name for the log.
    pub name: Option<String>,
    /// The client app; the subject where it is left out.
    pub client: Option<String>,
    /// The organization acted for.
    pub organization: Option<String>,
    /// Departments.
    pub departments: Vec<String>,
    /// Purpose of use → the roles it activates. One alone is the purpose of every request.
    pub purposes: Vec<(String, Vec<String>)>,
    /// Bounded by these SMART scopes; by policy alone where they are left out.
    pub scopes: Option<Vec<String>>,
    /// Where there are several purposes.
    pub purpose_header: Option<PurposeHeader>,
}

/// The headers, where none is configured; one that is sent and not expected is refused.
pub const PURPOSE_HEADER: &str = "x-purpose-of-use";
/// The same for the reason of an emergency.
pub const REASON_HEADER: &str = "x-break-glass-reason";

pub(super) fn tokens(
    t: &mut Table,
    plaintext: bool,
    base: &Path,
    faults: &mut Faults,
) -> (TokenKinds, Option<Introspection>) {
    let kinds = match t.string("tokens", faults).as_deref() {
        None | Some("jwt") => TokenKinds::Jwt,
        Some("opaque") => TokenKinds::Opaque,
        Some("both") => TokenKinds::Both,
        Some(other) => {
            let help = "known: jwt, opaque, both".to_owned();
            faults.add(&t.at("tokens"), format!("`{other}` is not a kind of token"), help);
            TokenKinds::Jwt
        }
    };
    let path = t.at("introspection");
    let introspection = t.table("introspection", faults).map(|i| introspection(i, plaintext, base, faults));
    match (kinds, &introspection) {
        (TokenKinds::Jwt, Some(_)) => {
            let help = "say `tokens: opaque` or `tokens: both`, or leave it out".to_owned();
            faults.add(&path, "would never be asked", help);
        }
        (TokenKinds::Opaque | TokenKinds::Both, None) => {
            let help = "`{url: …, auth: {client_id: …, client_secret_file: …}}`".to_owned();
            faults.add(&path, "is required for opaque tokens", help);
        }
        _ => {}
    }
    (kinds, introspection)
}

fn introspection(mut t: Table, plaintext: bool, base: &Path, faults: &mut Faults) -> Introspection {
    let url = t.required("url", "the issuer's introspection endpoint", faults);
    check_url(&url, &t, "url", plaintext, faults);
    let auth = match t.required_table(
        "auth",
        "`{client_id: …, client_secret_file: …}` or `{client_id: …, key_file: …}`",
        faults,
    ) {
        Some(a) => client_auth(a, base, faults),
        None => ClientAuth::Basic { client_id: String::new(), client_secret_file: PathBuf::new() },
    };
    let introspection = Introspection {
        url,
        auth,
        cache: t.millis("cache_ms", 30_000, 0..=300_000, faults),
        token_prefix: t.string("token_prefix", faults),
        may_see_foreign_tokens: t.flag("may_see_foreign_tokens", false, faults),
    };
    t.finish(faults);
    introspection
}

fn client_auth(mut t: Table, base: &Path, faults: &mut Faults) -> ClientAuth {
    let client_id = t.required("client_id", "Drape's own name at the issuer", faults);
    let (secret, key) = (t.file("client_secret_file", base, faults), t.file("key_file", base, faults));
    let key_id = t.string("key_id", faults);
    let algorithm = t.string("algorithm", faults);
    let path = t.path().to_owned();
    let auth = match (secret, key) {
        (Some(client_secret_file), None) => ClientAuth::Basic { client_id, client_secret_file },
        (None, Some(key_file)) => {
            let algorithm = match algorithm.as_deref() {
                None => AssertionAlgorithm::Es384,
                Some(name) => AssertionAlgorithm::parse(name).unwrap_or_else(|| {
                    let help = "known: RS384, ES384".to_owned();
                    faults.add(&t.at("algorithm"), format!("`{name}` is not accepted"), help);
                    AssertionAlgorithm::Es384
                }),
            };
            ClientAuth::PrivateKeyJwt { client_id, key_file, key_id, algorithm }
        }
        _ => {
            let help =
                "give client_secret_file (client_secret_basic) or key_file (private_key_jwt)".to_owned();
            faults.add(&path, "must name exactly one secret", help);
            ClientAuth::Basic { client_id, client_secret_file: PathBuf::new() }
        }
    };
    t.finish(faults);
    auth
}

/// Several issuers that take opaque tokens: none is shown a token that may be another's, unless that is said.
pub(super) fn one_each(issuers: &[super::Issuer], path: &str, faults: &mut Faults) {
    let asked: Vec<&Introspection> = issuers.iter().filter_map(|i| i.introspection.as_ref()).collect();
    let bare: Vec<_> = asked.iter().filter(|i| i.token_prefix.is_none()).collect();
    if bare.len() > 1 && bare.iter().any(|i| !i.may_see_foreign_tokens) {
        let help = "give each a `token_prefix`, or say `may_see_foreign_tokens: true` for all of them: they are then asked in order".to_owned();
        faults.add(path, "several issuers would be asked about each other's tokens", help);
    }
    for (place, one) in asked.iter().enumerate() {
        let same =
            asked[..place].iter().any(|o| o.token_prefix.is_some() && o.token_prefix == one.token_prefix);
        if same {
            faults.add(path, "two issuers have the same `token_prefix`", None);
        }
    }
}

pub(super) fn purpose_header(
    t: &mut Table,
    purposes: &[(String, Vec<String>)],
    faults: &mut Faults,
) -> Option<PurposeHeader> {
    let mut h = t.table("purpose_header", faults)?;
    let name = header_name(&mut h, "name", PURPOSE_HEADER, faults);
    let allowed = h.strings("allowed", faults).unwrap_or_default();
    if allowed.is_empty() {
        faults.add(
            &h.at("allowed"),
            "is required",
            "the purposes that may be stated so, e.g. `[TREAT]`".to_owned(),
        );
    }
    listed(&allowed, purposes, &h.at("allowed"), faults);
    let clients = h.strings("clients", faults).unwrap_or_default();
    h.finish(faults);
    Some(PurposeHeader { name, allowed, clients })
}

/// A purpose that activates no role lets nobody do anything: typically it is misspelt.
fn listed(named: &[String], purposes: &[(String, Vec<String>)], path: &str, faults: &mut Faults) {
    for name in named.iter().filter(|name| !purposes.iter().any(|(p, _)| p == *name)) {
        faults.add(path, format!("`{name}` activates no role"), "name it under `purposes` too".to_owned());
    }
}

fn header_name(t: &mut Table, key: &'static str, default: &str, faults: &mut Faults) -> String {
    let Some(text) = t.string(key, faults) else { return default.to_owned() };
    match http::HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()) {
        Ok(name) if name.as_str().starts_with("x-") || name.as_str().contains("purpose") => {
            name.as_str().to_owned()
        }
        _ => {
            let help = "a header of your own, e.g. `X-Purpose-Of-Use`".to_owned();
            faults.add(&t.at(key), format!("`{text}` is not such a header"), help);
            default.to_owned()
        }
    }
}

/// `intent` of a SMART launch → purpose of use.
pub(super) fn launch_purposes(
    t: &mut Table,
    purposes: &[(String, Vec<String>)],
    faults: &mut Faults,
) -> Vec<(String, String)> {
    let path = t.at("launch_purposes");
    let pairs = t.pairs("launch_purposes", faults);
    let named: Vec<String> = pairs.iter().map(|(_, purpose)| purpose.clone()).collect();
    listed(&named, purposes, &path, faults);
    pairs
}

pub(super) fn break_glass(
    t: &mut Table,
    purposes: &[(String, Vec<String>)],
    faults: &mut Faults,
) -> Option<BreakGlass> {
    let mut b = t.table("break_glass", faults)?;
    let rules = BreakGlass {
        header: header_name(&mut b, "header", REASON_HEADER, faults),
        roles: b.strings("roles", faults).unwrap_or_default(),
        purposes: b.strings("purposes", faults).unwrap_or_else(|| vec!["ETREAT".into(), "BTG".into()]),
        clients: b.strings("clients", faults).unwrap_or_default(),
        lifetime: b.millis("lifetime_ms", 900_000, 60_000..=14_400_000, faults),
        reason_chars_min: usize::try_from(b.whole("reason_chars_min", 10, 1..=200, faults)).unwrap_or(10),
        per_day_max: usize::try_from(b.whole("per_day_max", 10, 1..=1_000, faults)).unwrap_or(10),
    };
    if rules.roles.is_empty() {
        faults.add(
            &b.at("roles"),
            "is required",
            "who may declare an emergency, e.g. `[clinician]`".to_owned(),
        );
    }
    if rules.purposes.iter().any(String::is_empty) || rules.purposes.is_empty() {
        faults.add(&b.at("purposes"), "is empty", "e.g. `[ETREAT, BTG]`".to_owned());
    }
    listed(&rules.purposes, purposes, &b.at("purposes"), faults);
    for purpose in &rules.purposes {
        let activated = purposes.iter().find(|(p, _)| p == purpose).map(|(_, roles)| roles.as_slice());
        if activated.is_some_and(|roles| !roles.iter().any(|r| rules.roles.contains(r))) {
            let help = "a role of `roles` must be activated by it".to_owned();
            faults.add(&b.at("purposes"), format!("`{purpose}` lets nobody declare an emergency"), help);
        }
    }
    b.finish(faults);
    Some(rules)
}

pub(super) fn certificates(t: &mut Table, faults: &mut Faults) -> Vec<CertificateRule> {
    t.tables("certificates", faults).into_iter().map(|c| certificate(c, faults)).collect()
}

fn certificate(mut t: Table, faults: &mut Faults) -> CertificateRule {
    let (mut name, mut ca_fingerprint) = (None, None);
    if let Some(mut m) = t.required_table("match", "`{san_dns: …}`, san_uri, subject_cn or spiffe", faults)
    {
        let found = [
            m.string("san_dns", faults).map(CertificateName::SanDns),
            m.string("san_uri", faults).map(CertificateName::SanUri),
            m.string("subject_cn", faults).map(CertificateName::SubjectCn),
            m.string("spiffe", faults).map(CertificateName::Spiffe),
        ];
        let mut found: Vec<CertificateName> = found.into_iter().flatten().collect();
        if found.len() != 1 {
            let help = "one of san_dns, san_uri, subject_cn, spiffe".to_owned();
            faults.add(m.path(), "must ask for exactly one name", help);
        }
        name = found.pop();
        if let Some(CertificateName::Spiffe(id)) = &name
            && !id.starts_with("spiffe://")
        {
            faults.add(
                &m.at("spiffe"),
                format!("`{id}` is no SPIFFE ID"),
                "`spiffe://trust-domain/path`".to_owned(),
            );
        }
        if let Some(text) = m.string("ca_fingerprint", faults) {
            ca_fingerprint = fingerprint(&text);
            if ca_fingerprint.is_none() {
                let help = "SHA-256 in hex, as `openssl x509 -fingerprint -sha256` prints it".to_owned();
                faults.add(&m.at("ca_fingerprint"), "is not a fingerprint", help);
            }
        }
        m.finish(faults);
    }
    let caller = match t.required_table("caller", "`{sub: …, purposes: {TREAT: [clinician]}}`", faults) {
        Some(c) => certificate_caller(c, faults),
        None => CertificateCaller {
            sub: String::new(),
            name: None,
            client: None,
            organization: None,
            departments: Vec::new(),
            purposes: Vec::new(),
            scopes: None,
            purpose_header: None,
        },
    };
    t.finish(faults);
    CertificateRule {
        name: name.unwrap_or(CertificateName::SubjectCn(String::new())),
        ca_fingerprint,
        caller,
    }
}

fn certificate_caller(mut t: Table, faults: &mut Faults) -> CertificateCaller {
    let purposes = t.lists("purposes", faults).unwrap_or_default();
    if purposes.is_empty() {
        let help = "which roles each purpose of use activates, e.g. `{TREAT: [clinician]}`".to_owned();
        faults.add(&t.at("purposes"), "is required", help);
    }
    let caller = CertificateCaller {
        sub: t.required("sub", "the caller's name in the log", faults),
        name: t.string("name", faults),
        client: t.string("client", faults),
        organization: t.string("organization", faults),
        departments: t.strings("departments", faults).unwrap_or_default(),
        scopes: t.strings("scopes", faults),
        purpose_header: purpose_header(&mut t, &purposes, faults),
        purposes,
    };
    t.finish(faults);
    caller
}

/// 32 bytes in hex, with or without colons.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |n, d| n * 16 + d)).collect();
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten()
}
