//! Who is asked for: the personas of both sets, and callers whom the policies speak of though no persona is one.

use std::collections::BTreeSet;

use drape_policy::compare::Callers;
use drape_view::{Caller, Environment};
use serde_json::{Map, Value, json};

use super::Set;
use crate::workbench::personas::{self, Personas};

/// More callers than these are made up for no persona.
const VARIANTS_MAX: usize = 8;

/// Everybody for whom two sets are compared, each by a name.
pub fn cast(
    old: &Set,
    new: &Set,
    own: Option<&Personas>,
    environment: &Environment,
) -> Result<Vec<(String, Caller)>, String> {
    let mut cast = Cast { environment, found: Vec::new() };
    let all = {
        let mut all = old.loaded.set.callers(None);
        let more = new.loaded.set.callers(None);
        all.roles.extend(more.roles);
        all.purposes.extend(more.purposes);
        all
    };
    let differ =
        [old.loaded.set.callers(Some(&new.loaded.set)), new.loaded.set.callers(Some(&old.loaded.set))];
    let lists: Vec<&Personas> = match own {
        Some(own) => vec![own],
        None => vec![&old.personas, &new.personas],
    };
    for list in lists {
        for (name, persona) in list.iter() {
            cast.persona(name, &persona.claims, &list.purposes, &all.purposes, &differ)?;
        }
    }
    // Roles that policies name and no persona has: whoever has one is compared as well.
    let held: BTreeSet<String> = cast.found.iter().flat_map(|(_, c)| c.roles.iter().cloned()).collect();
    for role in all.roles.difference(&held) {
        for purpose in all.purposes.iter().map(String::as_str).chain([""]) {
            let claims = json!({ "roles": [role], "purpose_of_use": purpose });
            let purposes = [(purpose.to_owned(), vec![role.clone()])];
            let name = match purpose {
                "" => format!("(role {role})"),
                purpose => format!("(role {role}, purpose {purpose})"),
            };
            cast.take(name, &object(claims), &purposes)?;
        }
    }
    Ok(cast.found)
}

struct Cast<'a> {
    environment: &'a Environment,
    found: Vec<(String, Caller)>,
}

impl Cast<'_> {
    /// A persona for its own purpose, for the others that policies name, and as one that the policies which differ
    /// speak of.
    fn persona(
        &mut self,
        name: &str,
        claims: &Map<String, Value>,
        purposes: &[(String, Vec<String>)],
        named: &BTreeSet<String>,
        differ: &[Callers; 2],
    ) -> Result<(), String> {
        self.take(name.to_owned(), claims, purposes)?;
        for purpose in named {
            let mut other = claims.clone();
            other.insert("purpose_of_use".to_owned(), purpose.as_str().into());
            self.take(format!("{name} (purpose {purpose})"), &other, purposes)?;
        }
        let spoken_of = differ.iter().flat_map(|callers| &callers.attributes);
        let words: BTreeSet<(&str, &String)> =
            spoken_of.flat_map(|(attr, words)| words.iter().map(move |word| (attr.as_str(), word))).collect();
        for (attr, word) in words.into_iter().take(VARIANTS_MAX) {
            let mut other = claims.clone();
            let (claim, value) = match attr {
                "departments" => ("departments", json!([word])),
                "client" => ("client_id", json!(word)),
                attr => (attr, json!(word)),
            };
            other.insert(claim.to_owned(), value);
            let noun = attr.strip_suffix('s').unwrap_or(attr);
            self.take(format!("{name} ({noun} {word})"), &other, purposes)?;
        }
        Ok(())
    }

    /// One more, unless somebody is the same to every policy.
    fn take(
        &mut self,
        name: String,
        claims: &Map<String, Value>,
        purposes: &[(String, Vec<String>)],
    ) -> Result<(), String> {
        let caller = personas::caller(claims, purposes, self.environment.clone())
            .map_err(|fault| format!("the persona `{name}` makes no caller: {fault}"))?;
        let same = |known: &Caller| {
            let Caller { roles, organization, departments, title, client, shift, purpose, .. } = known;
            (roles, organization, departments, title, client, shift, purpose)
                == (
                    &caller.roles,
                    &caller.organization,
                    &caller.departments,
                    &caller.title,
                    &caller.client,
                    &caller.shift,
                    &caller.purpose,
                )
        };
        // By its own name a persona is always told, but not twice.
        let is_persona = !name.contains('(');
        let known = self.found.iter().any(|(n, known)| n == &name || same(known) && !is_persona);
        if is_persona && self.found.iter().any(|(n, known)| n == &name && !same(known)) {
            self.found.push((format!("{name} (of the new set)"), caller));
        } else if !known {
            self.found.push((name, caller));
        }
        Ok(())
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
