//! SMART App Launch scopes, versions 1 and 2: they bound what a client may ask; policy narrows further.

use drape_view::{Caller, Scope, ScopeLevel};

/// What a request needs of the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// Read, vread and instance history.
    Read,
    /// Search.
    Search,
    /// Create.
    Create,
    /// Update and patch.
    Update,
    /// Delete.
    Delete,
}

/// Whether scopes cover a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeRuling {
    /// They do.
    Granted {
        /// Only by `patient/` scopes: every record must be about the patient in context.
        patient_only: bool,
    },
    /// They do not; the text may be told to the caller.
    Refused(String),
}

/// Reads the `scope` claim. What is not a resource scope (`openid`, `launch/patient`, …) is passed over; a resource
/// scope that is malformed (`dus` out of order, an unknown letter) stays as one that grants nothing, so that a token
/// which carries no other is not taken for one without scopes.
pub fn parse(text: &str) -> Vec<Scope> {
    text.split(' ').filter(|s| !s.is_empty()).filter_map(one).collect()
}

fn one(text: &str) -> Option<Scope> {
    let (level, rest) = text.split_once('/')?;
    let level = match level {
        "patient" => ScopeLevel::Patient,
        "user" => ScopeLevel::User,
        "system" => ScopeLevel::System,
        _ => return None,
    };
    Some(resource(level, rest).unwrap_or(Scope {
        level,
        resource_type: None,
        create: false,
        read: false,
        update: false,
        delete: false,
        search: false,
        granular: false,
    }))
}

fn resource(level: ScopeLevel, rest: &str) -> Option<Scope> {
    let (rest, granular) = match rest.split_once('?') {
        Some((rest, _)) => (rest, true),
        None => (rest, false),
    };
    let (resource_type, rights) = rest.split_once('.')?;
    let resource_type = match resource_type {
        "*" => None,
        name if name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Some(name.to_owned())
        }
        _ => return None,
    };
    let rights = match rights {
        "read" => "rs",
        "write" => "cud",
        "*" => "cruds",
        letters => letters,
    };
    // An ordered, non-empty subset of "cruds".
    let mut order = "cruds".chars();
    if rights.is_empty() || !rights.chars().all(|letter| order.any(|o| o == letter)) {
        return None;
    }
    let has = |letter| rights.contains(letter);
    Some(Scope {
        level,
        resource_type,
        create: has('c'),
        read: has('r'),
        update: has('u'),
        delete: has('d'),
        search: has('s'),
        granular,
    })
}

/// The letter that SMART has for it.
pub fn letter(need: Need) -> &'static str {
    match need {
        Need::Read => "r",
        Need::Search => "s",
        Need::Create => "c",
        Need::Update => "u",
        Need::Delete => "d",
    }
}

/// The caller's scopes that speak of `need` on `resource_type`, as SMART writes them.
pub fn covering(caller: &Caller, need: Need, resource_type: &str) -> Vec<String> {
    let mut texts: Vec<String> =
        caller.scopes.iter().filter(|scope| speaks_of(scope, need, resource_type)).map(text).collect();
    texts.sort();
    texts.dedup();
    texts
}

fn text(scope: &Scope) -> String {
    let level = match scope.level {
        ScopeLevel::Patient => "patient",
        ScopeLevel::User => "user",
        ScopeLevel::System => "system",
    };
    let rights = [
        (scope.create, 'c'),
        (scope.read, 'r'),
        (scope.update, 'u'),
        (scope.delete, 'd'),
        (scope.search, 's'),
    ];
    let rights: String = rights.into_iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect();
    let granular = if scope.granular { "?…" } else { "" };
    format!("{level}/{}.{rights}{granular}", scope.resource_type.as_deref().unwrap_or("*"))
}

fn speaks_of(scope: &Scope, need: Need, resource_type: &str) -> bool {
    scope.resource_type.as_deref().is_none_or(|t| t == resource_type)
        && match need {
            Need::Read => scope.read,
            Need::Search => scope.search,
            Need::Create => scope.create,
            Need::Update => scope.update,
            Need::Delete => scope.delete,
        }
}

/// Whether the caller's scopes cover `need` on `resource_type`.
pub fn check(caller: &Caller, need: Need, resource_type: &str) -> ScopeRuling {
    let covers = |scope: &&Scope| speaks_of(scope, need, resource_type);
    let mut patient = false;
    let mut granular = false;
    for scope in caller.scopes.iter().filter(covers) {
        match scope.level {
            _ if scope.granular => granular = true,
            ScopeLevel::User | ScopeLevel::System => return ScopeRuling::Granted { patient_only: false },
            ScopeLevel::Patient => patient = true,
        }
    }
    if patient && caller.patient.is_some() {
        return ScopeRuling::Granted { patient_only: true };
    }
    let right = letter(need);
    let mut text = format!("the token's scopes do not cover `{resource_type}.{right}`");
    if patient {
        text.push_str("; its `patient/` scopes need a patient in context, and the token names none");
    } else if granular {
        text.push_str("; scopes with `?` conditions grant nothing yet");
    }
    ScopeRuling::Refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_smart_scopes_are_understood() {
        let rights = |text: &str| {
            let s = &parse(text)[0];
            (s.create, s.read, s.update, s.delete, s.search)
        };
        assert_eq!(rights("user/Patient.rs"), (false, true, false, false, true));
        assert_eq!(rights("user/*.read"), (false, true, false, false, true));
        assert_eq!(rights("system/Observation.write"), (true, false, true, true, false));
        assert_eq!(rights("patient/*.*"), (true, true, true, true, true));
        assert_eq!(rights("user/Patient.cruds"), (true, true, true, true, true));
    }

    #[test]
    fn malformed_and_foreign_scopes_grant_nothing() {
        for text in [
            "user/Patient.sr",
            "user/Patient.dus",
            "user/Patient.rr",
            "user/Patient.",
            "user/Patient",
            "user/.rs",
            "user/patient.rs",
            "user/Pati*.rs",
            "user/Patient.rsx",
        ] {
            // It stays as one that grants nothing: who was to be bounded by it is not unbounded.
            let scopes = parse(text);
            assert_eq!(scopes.len(), 1, "{text}");
            assert!(
                scopes.iter().all(|s| !(s.create || s.read || s.update || s.delete || s.search)),
                "{text}"
            );
        }
        for text in ["group/Patient.rs", "openid", "launch/patient", "fhirUser", ""] {
            assert!(parse(text).is_empty(), "{text}");
        }
    }
}
