//! Conditions of a scope (`?category=laboratory`), as far as they can be judged exactly on a record itself.

use std::collections::HashMap;
use std::sync::OnceLock;

use drape_fhir::definitions::r4;
use drape_fhir::search::{Kind, parameter};

/// The search parameters that a condition may name. All of them compare codes, and a record says all that they read.
pub const PARAMETERS: [&str; 8] =
    ["_security", "_tag", "category", "class", "clinical-status", "code", "status", "type"];

/// One search parameter with the values of which the record must have one, as a token search compares them (R4 search,
/// 3.1.1.5.7): to the letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Condition {
    /// One of [`PARAMETERS`].
    pub parameter: &'static str,
    /// Any of these will do.
    pub any: Vec<Wanted>,
}

/// One value: `code`, `system|code`, `|code` or `system|`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wanted {
    /// `None`: whatever the system. Empty: no system at all.
    pub system: Option<String>,
    /// `None`: any code of the system.
    pub code: Option<String>,
}

/// A code that stands in a record where one of [`PARAMETERS`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// Which parameter.
    pub parameter: &'static str,
    /// The code's system, empty where it names none.
    pub system: String,
    /// The code.
    pub code: String,
}

/// Where a record says what a parameter reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The parameter.
    pub parameter: &'static str,
    /// The names of the members that lead there, each with whether it is a list.
    pub steps: Vec<(String, bool)>,
    /// What stands there.
    pub coded: Coded,
}

/// How a code is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coded {
    /// A CodeableConcept.
    Concept,
    /// A Coding.
    Coding,
    /// A plain code, whose system only the definitions know.
    Code,
}

impl Condition {
    /// Reads `name=value`. An error says what of it cannot be judged on a record.
    pub fn parse(name: &str, value: &str) -> Result<Self, String> {
        let Some(parameter) = PARAMETERS.into_iter().find(|p| *p == name) else {
            return Err(format!("`{name}` is not among {}", PARAMETERS.join(", ")));
        };
        let any = value.split(',').map(|one| Wanted::parse(one).ok_or_else(|| format!("`{name}={value}`")));
        Ok(Self { parameter, any: any.collect::<Result<_, _>>()? })
    }

    /// Whether it can be judged on records of that type; else why not.
    pub fn is_judged_on(&self, resource_type: &str) -> Result<(), String> {
        let mut places = places(resource_type).iter().filter(|p| p.parameter == self.parameter).peekable();
        if places.peek().is_none() {
            return Err(format!("`{}` is not judged on {resource_type}", self.parameter));
        }
        // The system of a plain code stands in no record.
        if places.any(|p| p.coded == Coded::Code) && self.any.iter().any(|w| w.system.is_some()) {
            return Err(format!("`{}` of {resource_type} has no system", self.parameter));
        }
        Ok(())
    }

    /// Whether a record in which these codes stand meets it.
    pub fn is_met(&self, tokens: &[Token]) -> bool {
        tokens.iter().filter(|t| t.parameter == self.parameter).any(|token| {
            self.any.iter().any(|wanted| {
                wanted.system.as_ref().is_none_or(|s| *s == token.system)
                    && wanted.code.as_ref().is_none_or(|c| *c == token.code)
            })
        })
    }

    /// As it stands in a search.
    pub fn value(&self) -> String {
        let text = |wanted: &Wanted| match (&wanted.system, &wanted.code) {
            (None, code) => code.clone().unwrap_or_default(),
            (Some(system), code) => format!("{system}|{}", code.as_deref().unwrap_or_default()),
        };
        self.any.iter().map(text).collect::<Vec<_>>().join(",")
    }
}

impl Wanted {
    fn parse(text: &str) -> Option<Self> {
        // Escaped separators, and what a reader could take for a space, would be read differently by somebody.
        if text.is_empty()
            || text.contains(|c: char| c.is_whitespace() || c.is_control() || "\\+$".contains(c))
        {
            return None;
        }
        let some = |text: &str| Some(text.to_owned());
        match text.split_once('|') {
            None => Some(Self { system: None, code: some(text) }),
            Some(("", "")) => None,
            Some((_, code)) if code.contains('|') => None,
            Some((system, "")) => Some(Self { system: some(system), code: None }),
            Some((system, code)) => Some(Self { system: some(system), code: some(code) }),
        }
    }
}

/// Where records of a type say what [`PARAMETERS`] read. A parameter that reads anything else than codes is left out.
pub fn places(resource_type: &str) -> &'static [Place] {
    static PLACES: OnceLock<HashMap<&'static str, Vec<Place>>> = OnceLock::new();
    let all = PLACES.get_or_init(|| {
        let of = |name| PARAMETERS.into_iter().filter_map(move |code| read(name, code)).flatten();
        r4().resource_types().map(|name| (name, of(name).collect())).collect()
    });
    all.get(resource_type).map(Vec::as_slice).unwrap_or_default()
}

/// All places of one parameter, or none where one of them is not a code.
fn read(resource_type: &'static str, code: &'static str) -> Option<Vec<Place>> {
    let known = parameter(resource_type, code).filter(|p| p.is_resolvable() && p.kind == Kind::Token)?;
    known.paths().map(|path| place(code, path)).collect()
}

fn place(parameter: &'static str, path: &str) -> Option<Place> {
    let (path, chosen) = path.split_once(':').map_or((path, None), |(p, t)| (p, Some(t)));
    let mut names = path.split('.');
    let mut under = names.next()?.to_owned();
    let (mut steps, mut kind) = (Vec::new(), "");
    for name in names {
        let element = r4().elements(&under).iter().find(|e| e.name == name)?;
        if element.content_reference.is_some() {
            return None;
        }
        let mut fitting =
            element.json_names().filter(|(_, kind)| !element.choice || chosen.is_some_and(|c| c == *kind));
        let (json_name, data_type) = fitting.next()?;
        under = match data_type {
            "BackboneElement" | "Element" => element.path.to_owned(),
            other => other.to_owned(),
        };
        steps.push((json_name, element.list));
        kind = data_type;
    }
    let coded = match kind {
        "CodeableConcept" => Coded::Concept,
        "Coding" => Coded::Coding,
        "code" => Coded::Code,
        _ => return None,
    };
    Some(Place { parameter, steps, coded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_wherever_the_definitions_put_them() {
        let steps = |kind: &str, code: &str| -> Vec<String> {
            let found = places(kind).iter().filter(|p| p.parameter == code);
            found.map(|p| p.steps.iter().map(|s| s.0.as_str()).collect::<Vec<_>>().join(".")).collect()
        };
        assert_eq!(steps("Observation", "category"), ["category"]);
        assert_eq!(steps("Observation", "_security"), ["meta.security"]);
        assert_eq!(steps("AllergyIntolerance", "code"), ["code", "reaction.substance"]);
        assert_eq!(steps("DeviceRequest", "code"), ["codeCodeableConcept"]);
        assert_eq!(steps("Encounter", "class"), ["class"]);
        assert!(steps("Observation", "class").is_empty());
        for kind in r4().resource_types() {
            for code in ["_security", "_tag"] {
                assert_eq!(steps(kind, code).len(), 1, "{kind} {code}");
            }
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_condition() {
        for good in ["a", "s|a", "|a", "s|", "http://x.org/y|a,b", "a,b,c"] {
            assert_eq!(Condition::parse("category", good).unwrap().value(), good);
        }
        for bad in ["", "|", "a,", ",a", "a,,b", "s|a|b", "a\\,b", "a b", "a+b", "a$b"] {
            assert!(Condition::parse("category", bad).is_err(), "{bad}");
        }
        for name in ["date", "patient", "category:not", "code:in", "_id", "subject.name", "_has", ""] {
            assert!(Condition::parse(name, "a").is_err(), "{name}");
        }
    }

    #[test]
    fn a_plain_code_is_compared_without_a_system() {
        let of = |value: &str| Condition::parse("status", value).unwrap();
        assert!(of("final").is_judged_on("Observation").is_ok());
        assert!(of("http://hl7.org/fhir/observation-status|final").is_judged_on("Observation").is_err());
        assert!(of("|final").is_judged_on("Observation").is_err());
        assert!(Condition::parse("class", "AMB").unwrap().is_judged_on("Observation").is_err());
        assert!(Condition::parse("category", "s|a").unwrap().is_judged_on("Observation").is_ok());
    }
}
