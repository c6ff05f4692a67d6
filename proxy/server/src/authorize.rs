//! The way of a browser to its log-in, where the authorization server expects another audience than Drape's address.
//!
//! A SMART app names the server that it means to talk to by `aud`: for it that is Drape. An authorization server that
//! knows only the FHIR server behind would refuse that, so the app's browser comes by here and is sent on with the
//! audience that is expected there. Nothing but the address passes: codes and tokens go between the app and the
//! authorization server alone.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::stages::{Answer, Own};

/// Where browsers come by, below the public base URL.
pub(crate) const PATH: &str = "/_authorize";

/// Answers such a browser; `None` where the tenant's authorization server takes Drape's own address.
pub(crate) fn relay(tenant: &Tenant, head: &http::request::Parts, path: &str) -> Option<Answer> {
    let audience = tenant.issuers.first()?.config().authorize_audience.as_ref().filter(|_| path == PATH)?;
    Some(match redirect(tenant, head, audience) {
        Ok(own) => Answer::Own(own),
        Err(refusal) => Answer::Refused(refusal),
    })
}

fn redirect(tenant: &Tenant, head: &http::request::Parts, audience: &str) -> Result<Own, Refusal> {
    if head.method != Method::GET {
        let public = "the authorization endpoint is asked by GET";
        let refusal = Refusal::new("classify", StatusCode::METHOD_NOT_ALLOWED, "not-supported", public);
        return Err(refusal.with(header::ALLOW, "GET"));
    }
    let endpoint = tenant.discovery.authorization_endpoint().ok_or_else(|| {
        let public = "the authorization server is not known yet; try again";
        Refusal::unavailable("classify", public, "no discovery document yet")
    })?;
    let query = replaced(head.uri.query().unwrap_or_default(), &tenant.public_base, audience)
        .map_err(|public| Refusal::new("classify", StatusCode::BAD_REQUEST, "invalid", public))?;
    let joint = if endpoint.contains('?') { '&' } else { '?' };
    let location = HeaderValue::from_str(&format!("{endpoint}{joint}{query}")).map_err(|_| {
        Refusal::new("classify", StatusCode::BAD_REQUEST, "invalid", "the query cannot stand in an address")
    })?;
    let mut headers = HeaderMap::new();
    headers.insert(header::LOCATION, location);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(Own { status: StatusCode::FOUND, headers, body: Bytes::new() })
}

/// The query with `audience` for the one `aud`, which must be Drape's own: an app that was told to go elsewhere gets no
/// help from here. Everything else stays as it came.
fn replaced(query: &str, own: &str, audience: &str) -> Result<String, &'static str> {
    let decoded = |text: &str| {
        percent_decode_str(&text.replace('+', " ")).decode_utf8().map(std::borrow::Cow::into_owned).ok()
    };
    let mut found = 0;
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        // RFC 8707 says the same by another name.
        match decoded(name).as_deref() {
            Some(kind @ ("aud" | "resource")) => {
                if decoded(value).as_deref().map(|v| v.trim_end_matches('/')) != Some(own) {
                    return Err("`aud` must be the base URL of this server");
                }
                found += usize::from(kind == "aud");
                pairs.push(format!("{kind}={}", utf8_percent_encode(audience, NON_ALPHANUMERIC)));
            }
            _ => pairs.push(pair.to_owned()),
        }
    }
    if found == 1 {
        Ok(pairs.join("&"))
    } else {
        Err("`aud` is needed exactly once: the base URL of this server")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audience_is_replaced_and_everything_else_stays_to_the_byte() {
        let own = "https://drape/fhir";
        let ask = |query: &str| replaced(query, own, "https://ehr/R4");
        assert_eq!(
            ask("scope=user%2F*.rs+openid&aud=https%3A%2F%2Fdrape%2Ffhir%2F&state=a%26b").as_deref(),
            Ok("scope=user%2F*.rs+openid&aud=https%3A%2F%2Fehr%2FR4&state=a%26b")
        );
        for wrong in [
            "",
            "scope=x",
            "aud=https://evil/fhir",
            "aud=https://drape/fhir&aud=https://drape/fhir",
            "aud=https://drape/fhir&%61ud=https://evil",
            "aud=https://drape/fhir&resource=https://evil",
            "aud",
        ] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
    }
}
