//! Attacks by well signed claims: for somebody else, at another time, named twice, of another shape.

use serde_json::json;

use super::{Attack, Forge, b64, rsa_header};
use crate::{AUDIENCE, ISSUER};

impl Forge {
    /// Meant for others, by others, about nobody.
    pub(super) fn for_others(&self) -> Vec<Attack> {
        let mut all = Vec::new();
        for (name, aud) in [
            ("missing", json!(null)),
            ("another server", json!("https://elsewhere.example/fhir")),
            ("a list of others", json!(["https://elsewhere.example/fhir", "x"])),
            ("an empty list", json!([])),
            ("with a slash at its end", json!(format!("{AUDIENCE}/"))),
            ("in capitals", json!(AUDIENCE.to_uppercase())),
            ("a part of ours", json!("https://a.example.org")),
            ("ours and more", json!(format!("{AUDIENCE}/Patient"))),
            ("two in one text", json!(format!("{AUDIENCE} https://elsewhere.example"))),
            ("a number", json!(1)),
            ("an object", json!({AUDIENCE: true})),
            ("a list in a list", json!([[AUDIENCE]])),
            ("ours with a NUL", json!(format!("{AUDIENCE}\u{0}"))),
            ("the client, as in an ID token", json!("app")),
        ] {
            all.push((format!("aud is {name}"), self.rs256(&rsa_header(), &self.with(json!({"aud": aud})))));
        }
        for (name, iss) in [
            ("missing", json!(null)),
            ("another", json!("https://evil.example.org")),
            ("with a slash at its end", json!(format!("{ISSUER}/"))),
            ("in capitals", json!(ISSUER.to_uppercase())),
            ("over plain HTTP", json!(ISSUER.replace("https", "http"))),
            ("a list with ours", json!([ISSUER])),
            ("ours and more", json!(format!("{ISSUER}.evil.example"))),
            ("ours as a user", json!(format!("{ISSUER}@evil.example"))),
            ("empty", json!("")),
        ] {
            all.push((format!("iss is {name}"), self.rs256(&rsa_header(), &self.with(json!({"iss": iss})))));
        }
        for (name, sub) in [
            ("missing", json!(null)),
            ("empty", json!("")),
            ("a number", json!(0)),
            ("a list", json!(["officer"])),
        ] {
            all.push((format!("sub is {name}"), self.rs256(&rsa_header(), &self.with(json!({"sub": sub})))));
        }
        all
    }

    /// Not now.
    pub(super) fn times(&self) -> Vec<Attack> {
        let now = self.now;
        let mut all = Vec::new();
        for (name, changes) in [
            ("no exp", json!({"exp": null})),
            ("exp is now", json!({"exp": now})),
            ("exp a second ago", json!({"exp": now - 1})),
            ("exp long ago", json!({"exp": 1})),
            ("exp is 0", json!({"exp": 0})),
            ("exp is negative", json!({"exp": -1})),
            ("exp as text", json!({"exp": (now + 600).to_string()})),
            ("exp as a date", json!({"exp": "2100-01-01T00:00:00Z"})),
            ("exp is true", json!({"exp": true})),
            ("exp in a list", json!({"exp": [now + 600]})),
            ("exp in an object", json!({"exp": {"$gt": 0}})),
            ("exp in milliseconds", json!({"exp": (now + 600) * 1_000})),
            ("exp is the greatest number of 64 bits", json!({"exp": u64::MAX})),
            ("exp is 1e300", json!({"exp": 1e300})),
            ("nbf in an hour", json!({"nbf": now + 3_600})),
            ("nbf as text", json!({"nbf": "0"})),
            ("nbf is negative", json!({"nbf": -5})),
            ("iat in an hour", json!({"iat": now + 3_600})),
            ("iat as text", json!({"iat": "now"})),
        ] {
            all.push((name.into(), self.rs256(&rsa_header(), &self.with(changes))));
        }
        let text = self.claims().to_string();
        let at = format!("\"exp\":{}", now + 600);
        assert!(text.contains(&at));
        for (name, exp) in [
            ("a number that is none", "NaN"),
            ("infinite", "Infinity"),
            ("1e999", "1e999"),
            ("with a plus", "+9999999999"),
        ] {
            let odd = text.replace(&at, &format!("\"exp\":{exp}"));
            all.push((format!("exp is {name}"), self.keys.rs(&rsa_header().to_string(), &odd)));
        }
        all
    }

    /// One parser may read the first, another the last.
    pub(super) fn twice(&self) -> Vec<Attack> {
        let (header, claims) = (rsa_header().to_string(), self.claims().to_string());
        let before = |text: &str, member: &str| text.replacen('{', &format!("{{{member},"), 1);
        let after = |text: &str, member: &str| format!("{},{member}}}", text.strip_suffix('}').unwrap());
        let headers = [
            ("alg", before(&header, r#""alg":"none""#)),
            ("alg, at the end", after(&header, r#""alg":"none""#)),
            ("alg, written as \\u0061lg", before(&header, r#""\u0061lg":"none""#)),
            ("kid", before(&header, r#""kid":"ec""#)),
            ("typ, written as t\\u0079p", after(&header, r#""t\u0079p":"JWT""#)),
        ];
        let payloads = [
            ("sub", before(&claims, r#""sub":"admin""#)),
            ("sub, at the end", after(&claims, r#""sub":"admin""#)),
            ("sub, written as s\\u0075b", after(&claims, r#""s\u0075b":"admin""#)),
            ("exp", before(&claims, r#""exp":9999999999"#)),
            ("exp, written as e\\u0078p", after(&claims, r#""e\u0078p":9999999999"#)),
            ("aud", before(&claims, &format!(r#""aud":"{AUDIENCE}""#))),
            ("iss", before(&claims, r#""iss":"https://evil.example.org""#)),
            ("roles", after(&claims, r#""roles":["records-officer"]"#)),
            (
                "a member of an object inside",
                after(&claims, r#""realm_access":{"roles":[],"roles":["records-officer"]}"#),
            ),
        ];
        let in_header =
            headers.map(|(name, h)| (format!("twice in the header: {name}"), self.keys.rs(&h, &claims)));
        let in_claims =
            payloads.map(|(name, c)| (format!("twice among the claims: {name}"), self.keys.rs(&header, &c)));
        in_header.into_iter().chain(in_claims).collect()
    }

    /// Not the compact form of a signed token.
    pub(super) fn shapes(&self) -> Vec<Attack> {
        let good = self.good();
        let parts: Vec<&str> = good.split('.').collect();
        let (h, p, s) = (parts[0], parts[1], parts[2]);
        let jwe = b64(json!({"alg": "dir", "enc": "A256GCM", "kid": "rsa"}).to_string());
        let flattened = json!({"payload": p, "protected": h, "signature": s}).to_string();
        let mut all: Vec<Attack> = vec![
            ("two parts".into(), format!("{h}.{p}")),
            ("one part".into(), p.to_owned()),
            ("four parts".into(), format!("{good}.{s}")),
            ("five parts (JWE)".into(), format!("{jwe}..{}.{p}.{s}", b64([0; 12]))),
            ("five parts of a good token".into(), format!("{h}.{p}.{s}.{p}.{s}")),
            ("a dot before".into(), format!(".{good}")),
            ("a dot behind".into(), format!("{good}.")),
            ("an empty header".into(), format!(".{p}.{s}")),
            ("an empty payload".into(), format!("{h}..{s}")),
            ("JSON instead of the compact form".into(), flattened.replace(' ', "")),
            ("an unsecured JSON".into(), self.claims().to_string()),
            ("padding behind the header".into(), format!("{h}=.{p}.{s}")),
            ("padding behind the signature".into(), format!("{good}==")),
            ("a blank in the payload".into(), format!("{h}.{} {}.{s}", &p[..8], &p[8..])),
            ("a tab in the payload".into(), format!("{h}.{}\t{}.{s}", &p[..8], &p[8..])),
            ("dots in percent-encoding".into(), good.replace('.', "%2E")),
            ("quotes around it".into(), format!("\"{good}\"")),
        ];
        // The last letter of a signature of 256 bytes holds two bits of it and four that are nothing.
        let last = s.chars().last().unwrap();
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = alphabet.find(last).unwrap();
        let other = alphabet.as_bytes()[place ^ 1] as char;
        all.push((
            "other bits behind the end of the signature".into(),
            format!("{h}.{p}.{}{other}", &s[..s.len() - 1]),
        ));
        let plain = format!("{h}.{p}.{}", s.replace('-', "+").replace('_', "/"));
        if plain != good {
            all.push(("the signature in the other alphabet of base64".into(), plain));
        }
        for (name, payload) in [
            ("a list", "[]".to_owned()),
            ("text", "\"x\"".to_owned()),
            ("nothing", String::new()),
            ("two objects", "{}{}".to_owned()),
        ] {
            all.push((format!("the payload is {name}"), self.keys.rs(&rsa_header().to_string(), &payload)));
        }
        let with_mark = format!("\u{feff}{}", self.claims());
        all.push((
            "a byte order mark before the claims".into(),
            self.keys.rs(&rsa_header().to_string(), &with_mark),
        ));
        let deep = format!("{}{}", "[".repeat(3_000), "]".repeat(3_000));
        let nested = self.claims().to_string().replacen('{', &format!("{{\"x\":{deep},"), 1);
        all.push(("nested 3,000 deep".into(), self.keys.rs(&rsa_header().to_string(), &nested)));
        let mut wide = self.claims();
        wide["filler"] = json!("x".repeat(13_000));
        all.push(("17,000 bytes".into(), self.rs256(&rsa_header(), &wide)));
        wide["filler"] = json!("x".repeat(40_000));
        all.push(("54,000 bytes".into(), self.rs256(&rsa_header(), &wide)));
        let mut header = rsa_header();
        header["filler"] = json!("x".repeat(13_000));
        all.push(("a header of 17,000 bytes".into(), self.rs256(&header, &self.claims())));
        let many: Vec<String> = (0..1_001).map(|n| format!("r{n}")).collect();
        all.push(("1,001 roles".into(), self.rs256(&rsa_header(), &self.with(json!({"roles": many})))));
        all
    }
}
