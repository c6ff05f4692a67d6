//! An OpenID issuer for the demonstration: it signs real tokens and asks nobody for a password.
//!
//! Anybody who reaches it can be anybody of the cast. It must listen on the loopback interface only, and no tenant
//! with real patients may trust it.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::ambient::{Ambient, uuid};
use crate::cast::{Cast, Persona};
use crate::exact;

/// The grant by which anybody becomes a member of the cast: `grant_type=urn:drape:demo:persona&persona=doctor`. There
/// is no such grant in any standard, and it exists for the demonstration only.
pub const PERSONA_GRANT: &str = "urn:drape:demo:persona";

/// The one confidential client, for `client_credentials`. Its tokens carry no role.
pub const SERVICE_CLIENT: &str = "demo-service";

/// How long tokens of the token endpoint live.
const TTL: Duration = Duration::from_secs(900);

/// The issuer, with a key made at its start that is never written down.
pub struct Issuer {
    url: String,
    audiences: Vec<String>,
    cast: Cast,
    zone: TimeZone,
    ambient: Ambient,
    key: EcdsaKeyPair,
    kid: String,
    secret: String,
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssuerFault {
    /// The population has nobody for that part, typically no child and so no guardian.
    #[error("nobody in this population can play `{}`", .0.word())]
    NotInCast(Persona),
    /// The random source or the signature failed.
    #[error("the key cannot be made or used")]
    Key,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Issuer {
    /// An issuer of that URL (without a trailing slash) for these audiences, the public base URLs of tenants. Shifts
    /// are counted in `zone`, the tenant's.
    ///
    /// # Errors
    /// [`IssuerFault::Key`] where no key can be made.
    pub fn new(
        url: &str,
        audiences: &[&str],
        cast: Cast,
        zone: TimeZone,
        ambient: Ambient,
    ) -> Result<Issuer, IssuerFault> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| IssuerFault::Key)?;
        let (x, y) = coordinates(&key)?;
        // RFC 7638: the members in this order.
        let thumbprint =
            digest(&SHA256, format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let secret = (ambient.random)().ok_or(IssuerFault::Key)?;
        Ok(Issuer {
            url: url.to_owned(),
            audiences: audiences.iter().map(|a| (*a).to_owned()).collect(),
            cast,
            zone,
            ambient,
            key,
            kid,
            secret: URL_SAFE_NO_PAD.encode(secret.to_be_bytes()),
        })
    }

    /// `iss`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The cast it vouches for.
    pub fn cast(&self) -> &Cast {
        &self.cast
    }

    /// The secret of [`SERVICE_CLIENT`], made at the start.
    pub fn service_secret(&self) -> &str {
        &self.secret
    }

    /// A token for that part from now on, see [`Issuer::token_at`].
    ///
    /// # Errors
    /// As [`Issuer::claims_at`].
    pub fn token(&self, persona: Persona, ttl: Duration) -> Result<String, IssuerFault> {
        self.token_at(persona, (self.ambient.now)(), ttl)
    }

    /// A token for that part, issued at `now`: an access token in JWT form (RFC 9068), signed with ES256.
    ///
    /// # Errors
    /// As [`Issuer::claims_at`].
    pub fn token_at(&self, persona: Persona, now: Timestamp, ttl: Duration) -> Result<String, IssuerFault> {
        self.sign(&self.claims_at(persona, now, ttl)?)
    }

    /// The claims of such a token, to be changed before they are signed where a demonstration needs it.
    ///
    /// Who works in shifts is given one of twelve hours around `now` (it began four hours ago, on the hour), so that
    /// the demonstration works at any time of day; put another `shift` in its place to see a nurse off duty.
    ///
    /// # Errors
    /// [`IssuerFault::NotInCast`] where the cast has nobody for the part, [`IssuerFault::Key`] where chance fails.
    pub fn claims_at(
        &self,
        persona: Persona,
        now: Timestamp,
        ttl: Duration,
    ) -> Result<Map<String, Value>, IssuerFault> {
        let member = self.cast.member(persona).ok_or(IssuerFault::NotInCast(persona))?;
        let mut claims = self.frame(now, ttl)?;
        claims.extend(member.claims());
        if member.works_in_shifts {
            let hour = now.to_zoned(self.zone.clone()).hour();
            let (start, end) = ((hour + 20) % 24, (hour + 8) % 24);
            claims.insert(
                "shift".into(),
                json!({"start": format!("{start:02}:00"), "end": format!("{end:02}:00")}),
            );
        }
        Ok(claims)
    }

    /// Signs whatever claims it is given.
    ///
    /// # Errors
    /// [`IssuerFault::Key`] where the signature fails.
    pub fn sign(&self, claims: &Map<String, Value>) -> Result<String, IssuerFault> {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": self.kid});
        let claims = Value::Object(claims.clone());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(exact::write(value));
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature =
            self.key.sign(&SystemRandom::new(), signed.as_bytes()).map_err(|_| IssuerFault::Key)?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Answers `/.well-known/openid-configuration`, `/jwks` and `/token`; `authorization` is that header.
    pub fn handle(&self, method: &str, path: &str, authorization: Option<&str>, body: &[u8]) -> Reply {
        match (method, path) {
            ("GET", "/.well-known/openid-configuration") => reply(200, &self.configuration()),
            ("GET", "/jwks") => match self.jwks() {
                Ok(keys) => reply(200, &keys),
                Err(_) => refusal(500, "server_error", "the key cannot be shown"),
            },
            ("POST", "/token") => self.grant(authorization, body),
            (_, "/.well-known/openid-configuration" | "/jwks" | "/token") => {
                refusal(405, "invalid_request", "this method does nothing here")
            }
            _ => refusal(404, "invalid_request", "nothing is here"),
        }
    }

    /// OpenID Connect Discovery 1.0, as far as there is something to discover.
    pub fn configuration(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/jwks", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "grant_types_supported": ["client_credentials", PERSONA_GRANT],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }

    /// The public key as a JWK Set (RFC 7517).
    ///
    /// # Errors
    /// [`IssuerFault::Key`] where the key has not the form of a P-256 point.
    pub fn jwks(&self) -> Result<Value, IssuerFault> {
        let (x, y) = coordinates(&self.key)?;
        let key = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y,
        });
        Ok(json!({"keys": [key]}))
    }

    fn grant(&self, authorization: Option<&str>, body: &[u8]) -> Reply {
        let Some(form) = std::str::from_utf8(body).ok().and_then(form) else {
            return refusal(400, "invalid_request", "the body is not a form");
        };
        let field = |name: &str| {
            let mut found = form.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
            found.next().filter(|_| found.next().is_none())
        };
        let now = (self.ambient.now)();
        let claims = match field("grant_type") {
            Some(PERSONA_GRANT) => {
                let Some(persona) = field("persona").and_then(Persona::from_word) else {
                    let words = Persona::ALL.map(Persona::word).join(", ");
                    return refusal(400, "invalid_request", &format!("`persona` must be one of {words}"));
                };
                self.claims_at(persona, now, TTL)
            }
            Some("client_credentials") => {
                let basic = authorization.and_then(basic);
                let posted =
                    field("client_id").zip(field("client_secret")).map(|(i, s)| (i.to_owned(), s.to_owned()));
                let Some((id, secret)) = basic.or(posted) else {
                    return refusal(401, "invalid_client", "no client credentials were sent");
                };
                let same = aws_lc_rs::constant_time::verify_slices_are_equal;
                if id != SERVICE_CLIENT || same(secret.as_bytes(), self.secret.as_bytes()).is_err() {
                    return refusal(401, "invalid_client", "the client or its secret is not known")
                        .with("www-authenticate", "Basic realm=\"demo\"".into());
                }
                self.frame(now, TTL).map(|mut claims| {
                    for name in ["sub", "client_id"] {
                        claims.insert(name.into(), json!(SERVICE_CLIENT));
                    }
                    claims.insert("roles".into(), json!([]));
                    claims.insert("scope".into(), json!("system/*.rs"));
                    claims
                })
            }
            Some(_) => {
                return refusal(
                    400,
                    "unsupported_grant_type",
                    "only `client_credentials` and the demo grant",
                );
            }
            None => return refusal(400, "invalid_request", "`grant_type` is missing"),
        };
        let claims = match claims {
            Ok(claims) => claims,
            Err(fault @ IssuerFault::NotInCast(_)) => {
                return refusal(400, "invalid_request", &fault.to_string());
            }
            Err(IssuerFault::Key) => return refusal(500, "server_error", "no token can be made"),
        };
        let Ok(token) = self.sign(&claims) else {
            return refusal(500, "server_error", "no token can be made");
        };
        let mut answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": TTL.as_secs()});
        for name in ["scope", "patient"] {
            if let Some(value) = claims.get(name) {
                answer[name] = value.clone();
            }
        }
        reply(200, &answer)
    }

    /// The claims that every token has.
    fn frame(&self, now: Timestamp, ttl: Duration) -> Result<Map<String, Value>, IssuerFault> {
        let seconds = now.as_second();
        let audience = match self.audiences.as_slice() {
            [one] => json!(one),
            many => json!(many),
        };
        let id = uuid((self.ambient.random)().ok_or(IssuerFault::Key)?);
        let mut claims = Map::new();
        claims.insert("iss".into(), json!(self.url));
        claims.insert("aud".into(), audience);
        claims.insert("iat".into(), json!(seconds));
        claims.insert("nbf".into(), json!(seconds));
        claims.insert(
            "exp".into(),
            json!(seconds.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX))),
        );
        claims.insert("jti".into(), json!(id));
        Ok(claims)
    }
}

impl Reply {
    fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

fn reply(status: u16, value: &Value) -> Reply {
    let headers =
        vec![("content-type", "application/json".to_owned()), ("cache-control", "no-store".to_owned())];
    Reply { status, headers, body: exact::write(value) }
}

/// RFC 6749 section 5.2.
fn refusal(status: u16, error: &str, description: &str) -> Reply {
    reply(status, &json!({"error": error, "error_description": description}))
}

/// The two halves of an uncompressed point, base64url.
fn coordinates(key: &EcdsaKeyPair) -> Result<(String, String), IssuerFault> {
    match key.public_key().as_ref() {
        [4, point @ ..] if point.len() == 64 => {
            Ok((URL_SAFE_NO_PAD.encode(&point[..32]), URL_SAFE_NO_PAD.encode(&point[32..])))
        }
        _ => Err(IssuerFault::Key),
    }
}

fn form(text: &str) -> Option<Vec<(String, String)>> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, credentials) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id)?, decoded(secret)?))
}
