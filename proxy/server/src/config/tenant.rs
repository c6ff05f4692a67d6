//! One tenant: a FHIR server, who may vouch for its callers, and the policies over it.

use std::path::{Path, PathBuf};

use drape_caller::ClaimNames;
use drape_caller::client_assertion::AssertionAlgorithm;
use drape_policy::shipped;
use drape_view::Redaction;

use super::Audit;
use super::callers::{self, BreakGlass, CertificateRule, Introspection, PurposeHeader, TokenKinds};
use super::read::{Faults, Table};

/// A FHIR server that Drape stands in front of.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name in logs, keys and metrics.
    pub name: String,
    /// The base URL clients use, without a trailing slash. Requests are told apart by its host and path.
    pub public_base_url: String,
    /// The server behind.
    pub upstream: Upstream,
    /// Who vouches for callers.
    pub issuers: Vec<Issuer>,
    /// Client certificates that make callers.
    pub certificates: Vec<CertificateRule>,
    /// Browser origins that may call.
    pub cors: Cors,
    /// Whether answers are compressed for callers who accept it.
    pub gzip: bool,
    /// IANA name; hours, weekdays and ages are counted in it.
    pub time_zone: String,
    /// What decides.
    pub policies: Policies,
    /// The project under which pseudonyms are made; another project, other pseudonyms.
    pub project: String,
    /// A log of its own, where its entries are to stand in no other.
    pub audit: Option<Audit>,
    /// Where requests are recorded, to be asked of other policies.
    pub capture: Option<Capture>,
}

/// A recording of what policy was asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The recording; begun where there is none, else gone on with.
    pub file: PathBuf,
    /// How many of a million requests are recorded.
    pub sample_per_million: u64,
    /// The recording grows no larger.
    pub bytes_max: u64,
}

/// The unmodified FHIR server.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its base URL, without a trailing slash.
    pub base_url: String,
    /// The credential it is shown.
    pub auth: UpstreamAuth,
    /// Others that it is shown by whoever looks up facts, by their names in `facts.yaml`.
    pub identities: Vec<(String, UpstreamAuth)>,
    /// PEM roots to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// The certificate that it and its token endpoint are shown (mutual TLS).
    pub identity: Option<ClientIdentity>,
    /// How it pages and answers.
    pub dialect: Dialect,
    /// Origins besides the base URL under which its bulk exports may lie, `https://files.example.org`.
    pub export_hosts: Vec<String>,
    /// Whether it may compress its answers.
    pub gzip: bool,
    /// Systems of identifiers that nobody may search by, nor by identifiers without a system: the server matches such
    /// numbers and never returns them (LV-64).
    pub unsearchable_identifier_systems: Vec<String>,
}

/// How Drape authenticates to the upstream.
#[derive(Clone, Debug)]
pub enum UpstreamAuth {
    /// Not at all.
    None,
    /// The caller's own token, passed on.
    CallerToken,
    /// RFC 7617.
    Basic {
        /// The user.
        username: String,
        /// A file that holds the password.
        password_file: PathBuf,
    },
    /// A fixed `Authorization` value.
    Header {
        /// A file that holds the whole value.
        value_file: PathBuf,
    },
    /// RFC 6749 section 4.4; SMART calls it Backend Services.
    ClientCredentials {
        /// The token endpoint.
        token_url: String,
        /// The client.
        client_id: String,
        /// How it proves that it is this client.
        proof: ClientProof,
        /// The scope to ask for.
        scope: Option<String>,
    },
}

/// How Drape proves to a token endpoint which client it is.
#[derive(Clone, Debug)]
pub enum ClientProof {
    /// `client_secret_basic`: a file that holds the secret.
    Secret(PathBuf),
    /// `private_key_jwt` (RFC 7523).
    Assertion(Assertion),
    /// `tls_client_auth` (RFC 8705): the certificate of [`Upstream::identity`].
    Certificate,
}

/// A statement that Drape signs with a key of its own.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// The private key, PEM.
    pub key_file: PathBuf,
    /// What it signs with.
    pub algorithm: AssertionAlgorithm,
    /// `kid`; the key's thumbprint when absent.
    pub key_id: Option<String>,
    /// `aud`; the token endpoint when absent.
    pub audience: Option<String>,
    /// Where the public key lies, for servers that want the header `jku`.
    pub jku: Option<String>,
}

/// PEM files of a certificate that Drape shows to others.
#[derive(Clone, Debug)]
pub struct ClientIdentity {
    /// The chain, leaf first.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// What is known of the upstream's own ways. What is sent is the same FHIR for all, but for what stands here;
/// `dialect.rs` carries it out. Every record that comes is judged whatever the dialect.
///
/// | | generic, hapi | epic | oracle-health |
/// | --- | --- | --- | --- |
/// | `_elements`, `_total`, `_summary` but for `count` | sent | not sent | not sent |
/// | a search needs | nothing | a patient; Observation a category or code too | a patient; Patient a criterion |
/// | `identifier` | any | with a system, not that of social security numbers | the same |
///
/// `Prefer: handling=strict` goes to all of them: who does not know it passes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The standard alone.
    Generic,
    /// HAPI FHIR.
    Hapi,
    /// Epic.
    Epic,
    /// Oracle Health Millennium.
    OracleHealth,
}

/// An OIDC issuer.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// `iss`, compared to the letter.
    pub issuer: String,
    /// Accepted values of `aud`.
    pub audiences: Vec<String>,
    /// Where its keys are; discovered from `/.well-known/openid-configuration` when absent.
    pub jwks_url: Option<String>,
    /// Signature algorithms it may use.
    pub algorithms: Vec<Algorithm>,
    /// PEM roots to trust instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Which claim says what.
    pub claims: ClaimNames,
    /// Purpose of use → the roles it activates. A purpose that is not listed activates none.
    pub purposes: Vec<(String, Vec<String>)>,
    /// Leeway for `exp` and `nbf`.
    pub clock_skew: std::time::Duration,
    /// Whether tokens must carry SMART scopes for what they ask.
    pub smart_scopes: bool,
    /// Which tokens its callers may bring.
    pub tokens: TokenKinds,
    /// Where it is asked about opaque ones.
    pub introspection: Option<Introspection>,
    /// A header by which a purpose of use may be stated.
    pub purpose_header: Option<PurposeHeader>,
    /// `intent` of a SMART launch → purpose of use.
    pub launch_purposes: Vec<(String, String)>,
    /// Who may declare an emergency.
    pub break_glass: Option<BreakGlass>,
    /// The `aud` that its authorization endpoint expects of apps, where that is not the public base URL: Drape then
    /// sends browsers there with this in place of its own.
    pub authorize_audience: Option<String>,
}

/// A signature algorithm of RFC 7518 that Drape verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Es256,
    Es384,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Exact origins, `https://app.example.org`.
    pub origins: Vec<String>,
    /// Headers of the tenant's own that its apps may send: those by which purposes and reasons are stated.
    pub headers: Vec<String>,
}

/// What decides in a tenant.
#[derive(Clone, Debug)]
pub struct Policies {
    /// The set.
    pub source: PolicySource,
    /// An officer's list of patients with labels and consents.
    pub overrides_file: Option<PathBuf>,
    /// Instead of the shipped `categories.yaml`.
    pub categories_file: Option<PathBuf>,
    /// Instead of the shipped `treatments.yaml`.
    pub treatments_file: Option<PathBuf>,
    /// Instead of the shipped `labels.yaml`.
    pub labels_file: Option<PathBuf>,
    /// Instead of the shipped `facts.yaml`.
    pub facts_file: Option<PathBuf>,
    /// Instead of what `treatments.yaml` says: whether reduced records show that they are.
    pub redaction: Option<Redaction>,
    /// How many officers must have approved of a digest before it may be in force.
    pub approvals_required: u64,
    /// A candidate that is asked beside these.
    pub shadow: Option<Shadow>,
}

/// A candidate beside the policies in force. What finds facts out (categories, labels, look-ups) is theirs.
#[derive(Clone, Debug)]
pub struct Shadow {
    /// The set.
    pub source: PolicySource,
    /// Instead of the shipped `treatments.yaml`, or the set's own.
    pub treatments_file: Option<PathBuf>,
    /// Instead of what `treatments.yaml` says.
    pub redaction: Option<Redaction>,
}

impl Policies {
    /// The policies there, with everything else as it is shipped.
    pub fn of(source: PolicySource) -> Self {
        Self {
            source,
            overrides_file: None,
            categories_file: None,
            treatments_file: None,
            labels_file: None,
            facts_file: None,
            redaction: None,
            approvals_required: 0,
            shadow: None,
        }
    }

    /// The candidate with everything that it takes from the policies in force.
    pub fn in_shadow(&self) -> Option<Self> {
        let Shadow { source, treatments_file, redaction } = self.shadow.clone()?;
        Some(Self { source, treatments_file, redaction, shadow: None, ..self.clone() })
    }
}

/// Where the Cedar files are.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// A set that ships with Drape.
    Shipped(String),
    /// A folder of `*.cedar` files.
    Directory(PathBuf),
}

pub(super) fn read(mut t: Table, base: &Path, faults: &mut Faults) -> Tenant {
    let name = t.required("name", "a short name, e.g. `main`", faults);
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') || name.len() > 32 {
        let help = "lower-case letters, digits and `-`, at most 32".to_owned();
        faults.add(&t.at("name"), format!("`{name}` is not a tenant name"), help);
    }
    let public_base_url = url(&mut t, "public_base_url", "the base URL that clients use", true, faults);
    let upstream =
        match t.required_table("upstream", "the FHIR server behind: `{base_url: …, auth: …}`", faults) {
            Some(u) => upstream(u, base, faults),
            None => Upstream {
                base_url: String::new(),
                auth: UpstreamAuth::None,
                identities: Vec::new(),
                ca_file: None,
                identity: None,
                dialect: Dialect::Generic,
                export_hosts: Vec::new(),
                gzip: false,
                unsearchable_identifier_systems: Vec::new(),
            },
        };
    if !t.has("issuers") {
        let help = "at least one OIDC issuer; without one nobody can be admitted".to_owned();
        faults.add(&t.at("issuers"), "is required", help);
    }
    let issuers: Vec<Issuer> =
        t.tables("issuers", faults).into_iter().map(|i| issuer(i, base, &public_base_url, faults)).collect();
    callers::one_each(&issuers, &t.at("issuers"), faults);
    let certificates = callers::certificates(&mut t, faults);
    if !certificates.is_empty() && matches!(upstream.auth, UpstreamAuth::CallerToken) {
        let help = "give the upstream a credential of Drape's own".to_owned();
        faults.add(&t.at("certificates"), "have no token that could be passed on to the upstream", help);
    }
    let headers = stated_by(&issuers, &certificates);
    let cors = match t.table("cors", faults) {
        Some(mut c) => {
            let origins = c.strings("origins", faults).unwrap_or_default();
            for origin in &origins {
                if origin == "*" || !origin.contains("://") || origin.ends_with('/') {
                    let help = "name each origin, e.g. `https://app.example.org`, without a path".to_owned();
                    faults.add(&c.at("origins"), format!("`{origin}` is not an origin"), help);
                }
            }
            c.finish(faults);
            Cors { origins, headers }
        }
        None => Cors::default(),
    };
    let gzip = t.flag("gzip", false, faults);
    let time_zone = t.required("time_zone", "an IANA name, e.g. `America/New_York`", faults);
    if !time_zone.is_empty() && jiff::tz::TimeZone::get(&time_zone).is_err() {
        let help = "use an IANA name, e.g. `Europe/Berlin`".to_owned();
        faults.add(&t.at("time_zone"), format!("`{time_zone}` is not a time zone"), help);
    }
    let policies = match t.required_table("policies", "`{set: hospital}` or `{directory: …}`", faults) {
        Some(p) => policies(p, base, faults),
        None => Policies::of(PolicySource::Shipped(String::new())),
    };
    let project = t.string("project", faults).unwrap_or_else(|| "default".into());
    let audit = t.table("audit", faults).map(|mut a| {
        let audit = Audit::read(&mut a, base, faults);
        a.finish(faults);
        audit
    });
    let capture = t.table("capture", faults).and_then(|c| capture(c, base, faults));
    t.finish(faults);
    Tenant {
        name,
        public_base_url,
        upstream,
        issuers,
        certificates,
        cors,
        gzip,
        time_zone,
        policies,
        project,
        audit,
        capture,
    }
}

/// The headers by which callers of the tenant may state what for they ask.
fn stated_by(issuers: &[Issuer], certificates: &[CertificateRule]) -> Vec<String> {
    let of_issuers = issuers.iter().flat_map(|i| {
        let purpose = i.purpose_header.as_ref().map(|h| h.name.clone());
        // The purpose of an emergency is stated by the default header where no other is configured.
        let emergency = i.break_glass.as_ref().map(|b| b.header.clone());
        let default =
            emergency.as_ref().filter(|_| purpose.is_none()).map(|_| callers::PURPOSE_HEADER.to_owned());
        [purpose, emergency, default].into_iter().flatten()
    });
    let of_certificates =
        certificates.iter().filter_map(|c| Some(c.caller.purpose_header.as_ref()?.name.clone()));
    let mut all: Vec<String> = of_issuers.chain(of_certificates).collect();
    all.sort();
    all.dedup();
    all
}

/// A base URL without a trailing slash, a query or a fragment. Plain HTTP only where `plaintext: true` stands beside.
fn url(t: &mut Table, key: &'static str, help: &str, plain_allowed: bool, faults: &mut Faults) -> String {
    let text = t.required(key, help, faults);
    check_url(&text, t, key, plain_allowed, faults);
    text
}

pub(super) fn check_url(text: &str, t: &Table, key: &str, plain_allowed: bool, faults: &mut Faults) {
    if text.is_empty() {
        return;
    }
    let parsed: Option<http::Uri> = text.parse().ok();
    let well_formed = parsed.as_ref().is_some_and(|u| u.host().is_some() && u.query().is_none())
        && !text.ends_with('/')
        && !text.contains('#');
    if !well_formed {
        let help = "write `https://host[:port]/path` without a trailing slash, query or fragment".to_owned();
        faults.add(&t.at(key), format!("`{text}` is not a base URL"), help);
        return;
    }
    match parsed.as_ref().and_then(|u| u.scheme_str()) {
        Some("https") => {}
        Some("http") if plain_allowed => {}
        Some("http") => {
            let help = "add `plaintext: true` beside it if the way there is private".to_owned();
            faults.add(&t.at(key), format!("`{text}` is plain HTTP"), help);
        }
        _ => faults.add(&t.at(key), format!("`{text}` is neither https nor http"), None),
    }
}

fn upstream(mut t: Table, base: &Path, faults: &mut Faults) -> Upstream {
    let plaintext = t.flag("plaintext", false, faults);
    let base_url = url(&mut t, "base_url", "e.g. `https://ehr.example.org/api/FHIR/R4`", plaintext, faults);
    let dialect = match t.string("dialect", faults).as_deref() {
        None | Some("generic") => Dialect::Generic,
        Some("hapi") => Dialect::Hapi,
        Some("epic") => Dialect::Epic,
        Some("oracle-health") => Dialect::OracleHealth,
        Some(other) => {
            let help = "known: generic, hapi, epic, oracle-health".to_owned();
            faults.add(&t.at("dialect"), format!("`{other}` is not a dialect"), help);
            Dialect::Generic
        }
    };
    let gzip = t.flag("gzip", false, faults);
    let unsearchable_identifier_systems = t
        .strings("unsearchable_identifier_systems", faults)
        .unwrap_or_else(|| dialect.unsearchable().iter().map(|s| (*s).to_owned()).collect());
    let (mut ca_file, mut identity) = (None, None);
    if let Some(mut tls) = t.table("tls", faults) {
        ca_file = tls.file("ca_file", base, faults);
        let certificate = tls.file("client_certificate_file", base, faults);
        let key = tls.file("client_key_file", base, faults);
        identity = match (certificate, key) {
            (Some(certificate_file), Some(key_file)) => Some(ClientIdentity { certificate_file, key_file }),
            (None, None) => None,
            _ => {
                let help = "`client_certificate_file` and `client_key_file` belong together".to_owned();
                faults.add(tls.path(), "names half of a client certificate", help);
                None
            }
        };
        if identity.is_some() && base_url.starts_with("http://") {
            let help = "only https shows it; leave it out where the way there is plain HTTP".to_owned();
            faults.add(tls.path(), "has a client certificate that would never be shown", help);
        }
        tls.finish(faults);
    }
    let auth = match t.required_table("auth", "`{kind: none}` if the upstream asks for no credential", faults)
    {
        Some(a) => auth(a, base, plaintext, identity.is_some(), faults),
        None => UpstreamAuth::None,
    };
    let mut identities = Vec::new();
    for (name, other) in t.named_tables("identities", faults) {
        let path = other.path().to_owned();
        let other = self::auth(other, base, plaintext, identity.is_some(), faults);
        if matches!(other, UpstreamAuth::CallerToken) {
            let help =
                "facts are looked up on the proxy's own behalf; give it a credential of its own".to_owned();
            faults.add(&path, "would look up facts with the caller's token", help);
        }
        identities.push((name, other));
    }
    let export_hosts = t.strings("export_hosts", faults).unwrap_or_default();
    for host in &export_hosts {
        check_url(host, &t, "export_hosts", plaintext, faults);
        if host.split('/').count() != 3 {
            let help = "name each origin without a path, e.g. `https://files.example.org`".to_owned();
            faults.add(&t.at("export_hosts"), format!("`{host}` is not an origin"), help);
        }
    }
    t.finish(faults);
    Upstream {
        base_url,
        auth,
        identities,
        ca_file,
        identity,
        dialect,
        export_hosts,
        gzip,
        unsearchable_identifier_systems,
    }
}

fn auth(mut t: Table, base: &Path, plaintext: bool, certified: bool, faults: &mut Faults) -> UpstreamAuth {
    let kind = t.required("kind", "none, caller-token, basic, header or client-credentials", faults);
    let auth = match kind.as_str() {
        "none" | "" => UpstreamAuth::None,
        "caller-token" => UpstreamAuth::CallerToken,
        "basic" => UpstreamAuth::Basic {
            username: t.required("username", "the user at the upstream", faults),
            password_file: base.join(t.required("password_file", "a file that holds the password", faults)),
        },
        "header" => UpstreamAuth::Header {
            value_file: base.join(t.required(
                "value_file",
                "a file that holds the Authorization value",
                faults,
            )),
        },
        "client-credentials" => UpstreamAuth::ClientCredentials {
            token_url: url(&mut t, "token_url", "the upstream's token endpoint", plaintext, faults),
            client_id: t.required("client_id", "the client at the upstream", faults),
            proof: client_proof(&mut t, base, plaintext, certified, faults),
            scope: t.string("scope", faults),
        },
        other => {
            let help = "known: none, caller-token, basic, header, client-credentials".to_owned();
            faults.add(&t.at("kind"), format!("`{other}` is not a kind of credential"), help);
            UpstreamAuth::None
        }
    };
    t.finish(faults);
    auth
}

/// Exactly one of secret and assertion; neither where the connection itself proves it.
fn client_proof(
    t: &mut Table,
    base: &Path,
    plaintext: bool,
    certified: bool,
    faults: &mut Faults,
) -> ClientProof {
    let secret = t.file("client_secret_file", base, faults);
    let assertion = t.table("assertion", faults).map(|a| assertion(a, base, plaintext, faults));
    match (secret, assertion) {
        (Some(file), None) => ClientProof::Secret(file),
        (None, Some(assertion)) => ClientProof::Assertion(assertion),
        (None, None) if certified => ClientProof::Certificate,
        (None, None) => {
            let help = "give `client_secret_file`, or `assertion: {key_file: …, algorithm: RS384}`; where the server knows \
                        Drape by its certificate, `tls: {client_certificate_file: …}` under `upstream`"
                .to_owned();
            faults.add(t.path(), "does not say how Drape proves which client it is", help);
            ClientProof::Certificate
        }
        (Some(file), Some(_)) => {
            faults.add(t.path(), "has both a secret and an assertion", "keep one of the two".to_owned());
            ClientProof::Secret(file)
        }
    }
}

fn assertion(mut t: Table, base: &Path, plaintext: bool, faults: &mut Faults) -> Assertion {
    let key_file = base.join(t.required("key_file", "a private key in PEM", faults));
    let name = t.required("algorithm", "RS384 (an RSA key) or ES384 (a key on P-384)", faults);
    let algorithm = AssertionAlgorithm::parse(&name).unwrap_or_else(|| {
        if !name.is_empty() {
            let help = "SMART Backend Services know RS384 and ES384".to_owned();
            faults.add(&t.at("algorithm"), format!("`{name}` is not accepted"), help);
        }
        AssertionAlgorithm::Rs384
    });
    let jku = t.string("jku", faults);
    if let Some(jku) = &jku {
        check_url(jku, &t, "jku", plaintext, faults);
    }
    let assertion = Assertion {
        key_file,
        algorithm,
        key_id: t.string("kid", faults),
        audience: t.string("audience", faults),
        jku,
    };
    t.finish(faults);
    assertion
}

fn issuer(mut t: Table, base: &Path, public_base: &str, faults: &mut Faults) -> Issuer {
    let plaintext = t.flag("plaintext", false, faults);
    let issuer = t.required("issuer", "the `iss` of its tokens", faults);
    if !issuer.is_empty() {
        check_url(issuer.trim_end_matches('/'), &t, "issuer", plaintext, faults);
    }
    let audiences = t.strings("audiences", faults).unwrap_or_else(|| vec![public_base.to_owned()]);
    if audiences.is_empty() {
        let help = "an empty list would admit nobody; leave the key out for the public base URL".to_owned();
        faults.add(&t.at("audiences"), "is empty", help);
    }
    let jwks_url = t.string("jwks_url", faults);
    if let Some(jwks) = &jwks_url {
        check_url(jwks, &t, "jwks_url", plaintext, faults);
    }
    let names = t.strings("algorithms", faults).unwrap_or_else(|| vec!["RS256".into(), "ES256".into()]);
    let mut algorithms = Vec::new();
    for name in &names {
        match name.as_str() {
            "RS256" => algorithms.push(Algorithm::Rs256),
            "RS384" => algorithms.push(Algorithm::Rs384),
            "ES256" => algorithms.push(Algorithm::Es256),
            "ES384" => algorithms.push(Algorithm::Es384),
            other => {
                let help = "known: RS256, RS384, ES256, ES384; shared secrets and `none` never".to_owned();
                faults.add(&t.at("algorithms"), format!("`{other}` is not accepted"), help);
            }
        }
    }
    if names.is_empty() {
        faults.add(&t.at("algorithms"), "is empty", None);
    }
    let ca_file = t.file("ca_file", base, faults);
    let claims = claims(t.table("claims", faults), faults);
    let purposes = t.lists("purposes", faults).unwrap_or_default();
    if purposes.is_empty() {
        let help =
            "which roles each purpose of use activates, e.g. `TREAT: [clinician, nurse]`; `\"\"` stands for \
                    no stated purpose"
                .to_owned();
        faults.add(&t.at("purposes"), "is required", help);
    }
    let clock_skew = t.millis("clock_skew_ms", 30_000, 0..=60_000, faults);
    let smart_scopes = t.flag("smart_scopes", true, faults);
    let (tokens, introspection) = callers::tokens(&mut t, plaintext, base, faults);
    let purpose_header = callers::purpose_header(&mut t, &purposes, faults);
    let launch_purposes = callers::launch_purposes(&mut t, &purposes, faults);
    let break_glass = callers::break_glass(&mut t, &purposes, faults);
    let authorize_audience = t.string("authorize_audience", faults);
    t.finish(faults);
    Issuer {
        issuer,
        audiences,
        jwks_url,
        algorithms,
        ca_file,
        claims,
        purposes,
        clock_skew,
        smart_scopes,
        tokens,
        introspection,
        purpose_header,
        launch_purposes,
        break_glass,
        authorize_audience,
    }
}

fn claims(table: Option<Table>, faults: &mut Faults) -> ClaimNames {
    let mut c = ClaimNames::default();
    let Some(mut t) = table else { return c };
    let mut set = |key: &'static str, slot: &mut String| {
        if let Some(name) = t.string(key, faults) {
            *slot = name;
        }
    };
    set("name", &mut c.name);
    set("roles", &mut c.roles);
    set("organization", &mut c.organization);
    set("departments", &mut c.departments);
    set("title", &mut c.title);
    set("client", &mut c.client);
    set("purpose_of_use", &mut c.purpose_of_use);
    set("shift", &mut c.shift);
    set("relations", &mut c.relations);
    set("fhir_user", &mut c.fhir_user);
    set("patient", &mut c.patient);
    set("scope", &mut c.scope);
    t.finish(faults);
    c
}

fn capture(mut t: Table, base: &Path, faults: &mut Faults) -> Option<Capture> {
    if !t.has("file") {
        let help = "where the recording lies, e.g. `capture/main.drapecap`".to_owned();
        faults.add(&t.at("file"), "is required", help);
    }
    let file = t.file("file", base, faults);
    let sample_per_million = t.whole("sample_per_million", 1_000_000, 1..=1_000_000, faults);
    let bytes_max = t.whole("bytes_max", 268_435_456, 1_048_576..=1_099_511_627_776, faults);
    t.finish(faults);
    Some(Capture { file: file?, sample_per_million, bytes_max })
}

fn policies(mut t: Table, base: &Path, faults: &mut Faults) -> Policies {
    let (source, redaction) = named(&mut t, base, faults);
    let policies = Policies {
        source,
        overrides_file: t.file("overrides_file", base, faults),
        categories_file: t.file("categories_file", base, faults),
        treatments_file: t.file("treatments_file", base, faults),
        labels_file: t.file("labels_file", base, faults),
        facts_file: t.file("facts_file", base, faults),
        redaction,
        approvals_required: t.whole("approvals_required", 0, 0..=9, faults),
        shadow: t.table("shadow", faults).map(|s| shadow(s, base, faults)),
    };
    t.finish(faults);
    policies
}

fn shadow(mut t: Table, base: &Path, faults: &mut Faults) -> Shadow {
    let (source, redaction) = named(&mut t, base, faults);
    let treatments_file = t.file("treatments_file", base, faults);
    t.finish(faults);
    Shadow { source, treatments_file, redaction }
}

/// Where the Cedar files are, and how reduced records look.
fn named(t: &mut Table, base: &Path, faults: &mut Faults) -> (PolicySource, Option<Redaction>) {
    let set = t.string("set", faults);
    let directory = t.file("directory", base, faults);
    let source = match (set, directory) {
        (Some(set), None) => {
            if shipped::find(&set).is_none() {
                faults.add(&t.at("set"), format!("`{set}` is not shipped"), shipped::names());
            }
            PolicySource::Shipped(set)
        }
        (None, Some(directory)) => PolicySource::Directory(directory),
        (None, None) => {
            faults.add(t.path(), "names no policies", "give `set: hospital` or `directory: …`".to_owned());
            PolicySource::Shipped(String::new())
        }
        (Some(_), Some(_)) => {
            faults.add(t.path(), "names both a set and a directory", "keep one of the two".to_owned());
            PolicySource::Shipped(String::new())
        }
    };
    let word = t.string("redaction", faults);
    let redaction = word.as_deref().and_then(Redaction::parse);
    if let (Some(word), None) = (&word, redaction) {
        faults.add(&t.at("redaction"), format!("`{word}` is not known"), Redaction::HELP.to_owned());
    }
    (source, redaction)
}
