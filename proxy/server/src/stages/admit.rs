//! Who asks: exactly one bearer token, proved by a configured issuer, becomes a caller.

use std::net::IpAddr;
use std::sync::Arc;

use drape_view::{Caller, Environment};
use http::{HeaderMap, header};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::issuers::Rejected;
use crate::parts::Tenant;
use crate::refusal::Refusal;

/// A caller and the token, which goes on only where the tenant passes it to the upstream.
#[derive(Debug)]
pub struct Admitted {
    /// Who.
    pub caller: Arc<Caller>,
    /// Never logged.
    pub token: zeroize::Zeroizing<String>,
}

/// Admits the sender of a request, or says 401.
pub async fn admit(tenant: &Tenant, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Admitted, Refusal> {
    let token = bearer(tenant, headers)?;
    let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let now_ms = tenant.clock.now_ms();
    let (claims, issuer) = match tenant.tokens.find(&digest, now_ms) {
        Some(found) => found,
        None => {
            let (claims, issuer) = prove(tenant, &token).await?;
            tenant.tokens.keep(digest, &claims, &issuer, now_ms);
            (claims, issuer)
        }
    };
    let known = tenant.issuers.find(&issuer).ok_or_else(|| {
        Refusal::unauthenticated(
            &tenant.name,
            Some(("invalid_token", "the token is not accepted")),
            "unknown issuer",
        )
    })?;
    let environment = environment(tenant, now_ms, peer)?;
    let caller = drape_caller::caller(&claims, &known.names, &known.config().purposes, digest, environment)
        .map_err(|fault| {
        Refusal::unauthenticated(&tenant.name, Some(fault.public()), fault.to_string())
    })?;
    Ok(Admitted { caller: Arc::new(caller), token })
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

async fn prove(tenant: &Tenant, token: &str) -> Result<(Arc<Map<String, Value>>, String), Refusal> {
    match tenant.issuers.verify(token, tenant.limits.token_bytes_max).await {
        Ok((claims, issuer)) => Ok((Arc::new(claims), issuer.config().issuer.clone())),
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
