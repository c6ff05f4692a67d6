//! Who asks and what for: exactly one bearer token, proved by a configured issuer, or a client certificate becomes a
//! caller.

use std::net::IpAddr;
use std::sync::Arc;

use drape_caller::{TokenFault, bound_certificate, launch_intent, scopes};
use drape_view::{Caller, Environment, Proof, StatedBy, Statement};
use http::{HeaderMap, header};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::client_certificate::{self, ClientCertificate};
use crate::config::callers::CertificateRule;
use crate::issuers::Rejected;
use crate::parts::Tenant;
use crate::refusal::Refusal;

mod stated;

use stated::Rules;

/// A caller and the token, which goes on only where the tenant passes it to the upstream.
#[derive(Debug)]
pub struct Admitted {
    /// Who.
    pub caller: Arc<Caller>,
    /// Never logged; empty where a certificate proved the caller.
    pub token: zeroize::Zeroizing<String>,
}

/// Who is connected.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The address, where it is known.
    pub address: Option<IpAddr>,
    /// The client certificate that was verified in the handshake.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Peer {
    /// Of a request that came on a listener of Drape's.
    pub fn of(head: &http::request::Parts, address: IpAddr) -> Self {
        Self { address: Some(address), certificate: head.extensions.get::<Arc<ClientCertificate>>().cloned() }
    }
}

/// Admits the sender of a request with what she states: 401 where nobody is proved, 403 where somebody is and states what
/// she may not.
pub async fn admit(tenant: &Tenant, headers: &HeaderMap, peer: &Peer) -> Result<Admitted, Refusal> {
    let now_ms = tenant.clock.now_ms();
    let (mut caller, token, rules) = prove(tenant, headers, peer, now_ms).await?;
    match rules.apply(tenant, &mut caller, headers, now_ms) {
        Ok(()) => Ok(Admitted { caller: Arc::new(caller), token }),
        Err(mut refusal) => {
            refusal.who = Some(Arc::new(caller));
            Err(refusal)
        }
    }
}

/// Who it is, whatever else is stated.
pub async fn known(tenant: &Tenant, headers: &HeaderMap, peer: &Peer) -> Result<Admitted, Refusal> {
    let (caller, token, _) = prove(tenant, headers, peer, tenant.clock.now_ms()).await?;
    Ok(Admitted { caller: Arc::new(caller), token })
}

type Proved<'t> = (Caller, zeroize::Zeroizing<String>, Rules<'t>);

async fn prove<'t>(
    tenant: &'t Tenant,
    headers: &HeaderMap,
    peer: &Peer,
    now_ms: u64,
) -> Result<Proved<'t>, Refusal> {
    let environment = environment(tenant, now_ms, peer.address)?;
    if let Some(shown) = &peer.certificate
        && !tenant.certificates.is_empty()
        && !headers.contains_key(header::AUTHORIZATION)
    {
        let (caller, rules) = by_certificate(tenant, shown, environment)?;
        return Ok((caller, zeroize::Zeroizing::default(), rules));
    }
    let token = bearer(tenant, headers)?;
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let refused =
        |fault: &TokenFault| Refusal::unauthenticated(&tenant.name, Some(fault.public()), fault.to_string());
    let (claims, issuer) = match tenant.tokens.find(&digest, now_ms) {
        Some(found) => found,
        None => {
            let (claims, issuer, life_ms) = verify(tenant, &token).await?;
            tenant.tokens.keep(digest, &claims, &issuer, now_ms, life_ms);
            (claims, issuer)
        }
    };
    // On each request: the connection may be another one.
    let bound = bound_certificate(&claims).map_err(|fault| refused(&fault))?;
    if bound.is_some() && bound != peer.certificate.as_ref().map(|shown| shown.fingerprint) {
        return Err(refused(&TokenFault::Binding));
    }
    let known = tenant.issuers.find(&issuer).ok_or_else(|| {
        Refusal::unauthenticated(
            &tenant.name,
            Some(("invalid_token", "the token is not accepted")),
            "unknown issuer",
        )
    })?;
    let config = known.config();
    let caller = drape_caller::caller(&claims, &known.names, &config.purposes, digest, environment)
        .map_err(|fault| refused(&fault))?;
    let intent = if config.launch_purposes.is_empty() {
        None
    } else {
        launch_intent(&claims).map_err(|f| refused(&f))?
    };
    let rules = Rules {
        purposes: &config.purposes,
        header: config.purpose_header.as_ref(),
        launch: &config.launch_purposes,
        intent,
        break_glass: config.break_glass.as_ref(),
    };
    Ok((caller, token, rules))
}

/// The issuer of those whom a certificate proves, in the log and in policies.
pub(crate) const CERTIFICATES: &str = "urn:drape:client-certificate";

/// A certificate is a caller by itself where a rule of the tenant says so.
fn by_certificate<'t>(
    tenant: &'t Tenant,
    shown: &ClientCertificate,
    environment: Environment,
) -> Result<(Caller, Rules<'t>), Refusal> {
    let rejected = |reason: &str| {
        let public =
            ("invalid_token", "the client certificate is not accepted, and there is no bearer token");
        Refusal::unauthenticated(&tenant.name, Some(public), reason)
    };
    let CertificateRule { caller: config, .. } =
        client_certificate::find(shown, &tenant.certificates).map_err(rejected)?;
    // The handshake may have been long ago.
    if environment.now_ms / 1_000 >= shown.expires_at {
        return Err(rejected("the client certificate has expired"));
    }
    let held = config.purposes.iter().flat_map(|(_, roles)| roles.iter().cloned()).collect();
    let mut caller = Caller {
        issuer: CERTIFICATES.to_owned(),
        subject: config.sub.clone(),
        name: config.name.clone(),
        roles: Default::default(),
        held_roles: held,
        organization: config.organization.clone(),
        departments: config.departments.iter().cloned().collect(),
        title: None,
        client: Some(config.client.clone().unwrap_or_else(|| config.sub.clone())),
        shift: None,
        fhir_user: None,
        patient: None,
        scopes: config.scopes.iter().flatten().flat_map(|s| scopes::parse(s)).collect(),
        relations: Default::default(),
        purpose: String::new(),
        statement: Statement::default(),
        proof: Proof { token_id: None, token_digest: shown.fingerprint, expires_at: shown.expires_at },
        environment,
    };
    if let [(purpose, _)] = &config.purposes[..] {
        drape_caller::act_for(&mut caller, purpose, StatedBy::Certificate, &config.purposes);
    }
    let rules = Rules {
        purposes: &config.purposes,
        header: config.purpose_header.as_ref(),
        launch: &[],
        intent: None,
        break_glass: None,
    };
    Ok((caller, rules))
}

/// The one `Authorization: Bearer` header. Tokens in the query or the form are not looked for (RFC 6750 section 2.3
/// advises against them), and a request with two headers could mean either.
fn bearer(tenant: &Tenant, headers: &HeaderMap) -> Result<zeroize::Zeroizing<String>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Refusal::unauthenticated(&tenant.name, None, "no credential"));
    };
    let invalid = |what: &str| {
        Refusal::unauthenticated(&tenant.name, Some(("invalid_request", "one bearer token is needed")), what)
    };
    if values.next().is_some() {
        return Err(invalid("two Authorization headers"));
    }
    let text = value.to_str().map_err(|_| invalid("the Authorization header is not ASCII"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() => {
            Ok(zeroize::Zeroizing::new(token.to_owned()))
        }
        _ => Err(invalid("the credential is not a bearer token")),
    }
}

/// A proved token's claims, who vouches, and how long that stands.
async fn verify(
    tenant: &Tenant,
    token: &str,
) -> Result<(Arc<Map<String, Value>>, String, Option<u64>), Refusal> {
    match tenant.issuers.verify(token, tenant.limits.token_bytes_max).await {
        Ok((claims, issuer)) => Ok((claims, issuer.config().issuer.clone(), issuer.cache_ms(token))),
        Err(Rejected::Token(fault)) => {
            Err(Refusal::unauthenticated(&tenant.name, Some(fault.public()), fault.to_string()))
        }
        Err(Rejected::Keys(why)) => {
            let mut refusal = Refusal::unavailable("admit", "tokens cannot be verified at this time", why);
            refusal.stranger = true;
            Err(refusal)
        }
    }
}

/// Circumstances in the tenant's time zone.
pub(crate) fn environment(
    tenant: &Tenant,
    now_ms: u64,
    peer: Option<IpAddr>,
) -> Result<Environment, Refusal> {
    let fault = |e: jiff::Error| Refusal::unavailable("admit", "the time cannot be told", e.to_string());
    let instant =
        jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(i64::MAX)).map_err(fault)?;
    let local = instant.to_zoned(tenant.time_zone.clone());
    let hour = u8::try_from(local.hour()).unwrap_or(0);
    let minute = u16::try_from(local.minute()).unwrap_or(0);
    Ok(Environment {
        now_ms,
        today: local.date().to_string(),
        hour,
        minute_of_day: u16::from(hour) * 60 + minute,
        weekday: u8::try_from(local.weekday().to_monday_one_offset()).unwrap_or(1),
        network: peer,
        break_glass: false,
    })
}
