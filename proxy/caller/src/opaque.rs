//! What an issuer says of a token that it was asked about (RFC 7662), held to the same rules as a signed one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::fault::TokenFault;
use crate::strict;
use crate::token::{Rules, check};

/// Whether a token says of itself who signed it: three parts, the first of them a JSON object. Such a token is proved by
/// whom it names, or by nobody.
pub fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let decoded = URL_SAFE_NO_PAD.decode(header.trim_end_matches('='));
    decoded.is_ok_and(|bytes| serde_json::from_slice::<Map<String, Value>>(&bytes).is_ok())
}

/// Who claims to have signed it. Nothing is proved by that.
pub fn named_issuer(token: &str) -> Result<String, TokenFault> {
    let payload = token.split('.').nth(1).unwrap_or_default();
    let bytes =
        URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenFault::Malformed("a part is not base64url"))?;
    let claims = strict::object(&bytes)?;
    claims.get("iss").and_then(Value::as_str).map(str::to_owned).ok_or(TokenFault::Issuer)
}

/// The claims in an issuer's answer. A token without `exp` or `aud` is refused like a signed one, and so is an answer that
/// speaks for another issuer.
pub fn answered(body: &[u8], rules: &Rules<'_>, now: u64) -> Result<Map<String, Value>, TokenFault> {
    let mut claims = strict::object(body)?;
    match claims.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(TokenFault::Inactive),
        _ => return Err(TokenFault::Claim("active".into())),
    }
    match claims.get("token_type") {
        None | Some(Value::Null) => {}
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
        // A token that is bound to a key or a channel is not proved by being shown.
        Some(_) => return Err(TokenFault::Type),
    }
    match claims.get("iss") {
        None | Some(Value::Null) => {
            claims.insert("iss".into(), Value::String(rules.issuer.to_owned()));
        }
        Some(Value::String(issuer)) if issuer == rules.issuer => {}
        Some(_) => return Err(TokenFault::Issuer),
    }
    check(&claims, rules, now)?;
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const RULES: Rules<'static> = Rules { issuer: "https://i", audiences: &[], algorithms: &[], skew: 0 };

    fn read(changes: Value) -> Result<Map<String, Value>, TokenFault> {
        let audiences = ["https://here".to_owned()];
        let rules = Rules { audiences: &audiences, ..RULES };
        let mut answer =
            json!({"active": true, "exp": 100, "aud": "https://here", "sub": "s", "scope": "user/*.rs"});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(answer.as_object_mut().unwrap().remove(name)),
                value => answer[name] = value.clone(),
            }
        }
        answered(answer.to_string().as_bytes(), &rules, 50)
    }

    #[test]
    fn an_answer_is_held_to_the_rules_of_signed_tokens() {
        assert_eq!(read(json!({})).unwrap()["iss"], "https://i");
        assert!(
            read(json!({"token_type": "Bearer", "iss": "https://i", "aud": ["x", "https://here"]})).is_ok()
        );
        for (changes, fault) in [
            (json!({"active": false}), TokenFault::Inactive),
            (json!({"active": null}), TokenFault::Claim("active".into())),
            (json!({"active": "true"}), TokenFault::Claim("active".into())),
            (json!({"active": 1}), TokenFault::Claim("active".into())),
            (json!({"exp": null}), TokenFault::NoExpiry),
            (json!({"exp": 50}), TokenFault::Expired),
            (json!({"nbf": 51}), TokenFault::NotYet),
            (json!({"iat": 51}), TokenFault::NotYet),
            (json!({"aud": null}), TokenFault::Audience),
            (json!({"aud": "https://elsewhere"}), TokenFault::Audience),
            (json!({"iss": "https://j"}), TokenFault::Issuer),
            (json!({"iss": 7}), TokenFault::Issuer),
            (json!({"token_type": "DPoP"}), TokenFault::Type),
        ] {
            assert_eq!(read(changes.clone()), Err(fault), "{changes}");
        }
        let twice = br#"{"active":false,"active":true,"exp":100,"aud":"https://here"}"#;
        assert_eq!(answered(twice, &RULES, 50), Err(TokenFault::Duplicate));
    }

    #[test]
    fn what_names_its_signer_is_told_from_what_does_not() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let jwt = format!("{}.{}.x", part(r#"{"alg":"none"}"#), part(r#"{"iss":"https://i"}"#));
        assert!(is_jwt(&jwt));
        assert_eq!(named_issuer(&jwt).unwrap(), "https://i");
        for opaque in ["abc", "a.b", "a.b.c", "a.b.c.d.e", "", "..", "bm90anNvbg.x.y"] {
            assert!(!is_jwt(opaque), "{opaque}");
        }
    }
}
