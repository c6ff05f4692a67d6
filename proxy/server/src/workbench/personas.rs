//! `personas.yaml`: made-up callers, written as the claims of their tokens.

use std::collections::BTreeMap;

use drape_caller::ClaimNames;
use drape_view::fault::Fault;
use drape_view::{Caller, Environment};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The personas of a set.
#[derive(Clone, Debug, Default)]
pub struct Personas {
    /// Purpose of use → the roles it activates.
    pub purposes: Vec<(String, Vec<String>)>,
    list: BTreeMap<String, Persona>,
}

/// One of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Persona {
    /// Who that is, in one line.
    pub says: String,
    /// What the token claims.
    pub claims: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    purposes: BTreeMap<String, Vec<String>>,
    personas: BTreeMap<String, Persona>,
}

/// The issuer of those who name none.
const ISSUER: &str = "https://personas.drape.example";
/// What who names no scope may ask: everything that policy permits.
const SCOPE: &str = "user/*.cruds";

impl Personas {
    /// Reads the file; `path` is for messages.
    pub fn parse(path: &str, yaml: &str) -> Result<Self, Vec<Fault>> {
        let file: File = drape_view::yaml::read(path, yaml)?;
        if file.version != 1 {
            return Err(vec![
                Fault::new(format!("{path} version"), format!("`{}` is not known", file.version))
                    .help("write 1"),
            ]);
        }
        Ok(Self { purposes: file.purposes.into_iter().collect(), list: file.personas })
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Persona)> {
        self.list.iter().map(|(name, persona)| (name.as_str(), persona))
    }

    /// The persona of that name.
    pub fn find(&self, path: &str, name: &str) -> Result<&Persona, Fault> {
        self.list.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.list.keys().map(String::as_str).collect();
            let help = if names.is_empty() {
                "the set has no personas.yaml".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            Fault::new(path, format!("`{name}` is no persona")).help(help)
        })
    }
}

/// The caller that a token with these claims would make, by the default names of claims.
pub fn caller(
    claims: &Map<String, Value>,
    purposes: &[(String, Vec<String>)],
    environment: Environment,
) -> Result<Caller, String> {
    let mut claims = claims.clone();
    let put = |claims: &mut Map<String, Value>, name: &str, value: Value| {
        if !claims.contains_key(name) {
            claims.insert(name.to_owned(), value);
        }
    };
    put(&mut claims, "iss", ISSUER.into());
    put(&mut claims, "sub", "somebody".into());
    put(&mut claims, "exp", (environment.now_ms / 1_000 + 3_600).into());
    put(&mut claims, "scope", SCOPE.into());
    drape_caller::caller(&claims, &ClaimNames::default(), purposes, [0; 32], environment)
        .map_err(|fault| fault.to_string())
}

/// Noon of a Wednesday: when nothing else is said.
pub fn noon(now_ms: u64) -> Environment {
    let today = i64::try_from(now_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        .map(|now| now.to_zoned(jiff::tz::TimeZone::UTC).date().to_string())
        .unwrap_or_default();
    Environment { now_ms, today, hour: 12, minute_of_day: 720, weekday: 3, network: None, break_glass: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_persona_makes_a_caller() {
        for set in drape_policy::shipped::SETS {
            let personas = Personas::parse(set.name, set.file("personas.yaml").unwrap()).unwrap();
            assert!(personas.iter().count() > 0, "{}", set.name);
            for (name, persona) in personas.iter() {
                let made = caller(&persona.claims, &personas.purposes, noon(1_795_000_000_000)).unwrap();
                assert_eq!(
                    made.roles, made.held_roles,
                    "{}: {name}: the purpose activates all roles",
                    set.name
                );
            }
        }
    }

    #[test]
    fn who_is_no_persona_is_told_who_is() {
        let text = "version: 1\npersonas: { a: { says: x, claims: { sub: a } } }";
        let personas = Personas::parse("p.yaml", text).unwrap();
        let fault = personas.find("p.yaml", "b").unwrap_err();
        assert_eq!(fault.to_string(), "p.yaml: `b` is no persona\n  help: there are: a");
        assert!(Personas::parse("p.yaml", "version: 1\npersonas: {}\nmore: 1").is_err());
    }
}
