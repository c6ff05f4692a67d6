//! SMART App Launch scopes, versions 1 and 2: they bound what a client may ask; policy narrows further.

use drape_view::granular::Condition;
use drape_view::{Bounds, Caller, Cover, Scope, ScopeLevel};

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
        /// What they leave of the records of that type.
        bounds: Bounds,
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
        conditions: Vec::new(),
        unclear: None,
    }))
}

fn resource(level: ScopeLevel, rest: &str) -> Option<Scope> {
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (rest, None),
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
    let (conditions, unclear) = match query.map(conditions).transpose() {
        Ok(conditions) => (conditions.unwrap_or_default(), None),
        Err(why) => (Vec::new(), Some(why)),
    };
    Some(Scope {
        level,
        resource_type,
        create: has('c'),
        read: has('r'),
        update: has('u'),
        delete: has('d'),
        search: has('s'),
        conditions,
        unclear,
    })
}

/// More conditions than this no scope needs.
const CONDITIONS_MAX: usize = 20;

/// `category=laboratory&status=final`, percent-encoded or not; all of it must be understood.
fn conditions(query: &str) -> Result<Vec<Condition>, String> {
    let pairs: Vec<&str> = query.split('&').collect();
    if pairs.len() > CONDITIONS_MAX {
        return Err(format!("it has more than {CONDITIONS_MAX} conditions"));
    }
    let one = |pair: &str| {
        let (name, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` has no value"))?;
        Condition::parse(name, &decoded(value).ok_or_else(|| format!("`{pair}` is not well encoded"))?)
    };
    pairs.into_iter().map(one).collect()
}

/// Undoes `%7C`; a `%` that begins no such thing could mean anything.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = more;
            continue;
        }
        let (high, low) = (more.first()?, more.get(1)?);
        let digit = |b: u8| (b as char).to_digit(16);
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = more.get(2..)?;
    }
    String::from_utf8(bytes).ok()
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
    let granular = if scope.conditions.is_empty() && scope.unclear.is_none() { "" } else { "?…" };
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

/// What the caller's scopes leave of records of `resource_type` for `need`.
pub fn check(caller: &Caller, need: Need, resource_type: &str) -> ScopeRuling {
    let covers = |scope: &&Scope| speaks_of(scope, need, resource_type);
    let (mut alternatives, mut lacks_patient, mut unclear) = (Vec::new(), false, None);
    for scope in caller.scopes.iter().filter(covers) {
        let patient = scope.level == ScopeLevel::Patient;
        if let Err(why) = judged(scope, resource_type) {
            unclear.get_or_insert(why);
        } else if patient && caller.patient.is_none() {
            lacks_patient = true;
        } else {
            alternatives.push(Cover { patient, conditions: scope.conditions.clone() });
        }
    }
    if let Some(bounds) = Bounds::of(alternatives) {
        return ScopeRuling::Granted { bounds };
    }
    let right = letter(need);
    let mut text = format!("the token's scopes do not cover `{resource_type}.{right}`");
    if lacks_patient {
        text.push_str("; its `patient/` scopes need a patient in context, and the token names none");
    }
    if let Some(why) = unclear {
        let why: String = why.chars().take(200).collect();
        text.push_str(&format!(
            "; a scope with `?` grants nothing unless all of it can be judged on the record: {why}"
        ));
    }
    ScopeRuling::Refused(text)
}

/// Whether all conditions of a scope can be judged on records of that type.
fn judged(scope: &Scope, resource_type: &str) -> Result<(), String> {
    if let Some(why) = &scope.unclear {
        return Err(why.clone());
    }
    if resource_type == "Binary" && !scope.conditions.is_empty() {
        // It is judged by what it belongs to.
        return Err("conditions are not judged on Binary".to_owned());
    }
    scope.conditions.iter().try_for_each(|condition| condition.is_judged_on(resource_type))
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
        for text in ["user/Patient.sr?category=a", "user/Patient?category=a"] {
            assert!(parse(text).iter().all(|s| !s.read && !s.search), "{text}");
        }
        for text in ["group/Patient.rs", "openid", "launch/patient", "fhirUser", ""] {
            assert!(parse(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn conditions_are_read_encoded_or_not_and_whole_or_not_at_all() {
        let one = |text: &str| parse(text).remove(0);
        let plain = one("patient/Observation.rs?category=http://x.org/c|laboratory&status=final");
        assert_eq!(plain.conditions.len(), 2);
        assert_eq!(
            plain,
            one("patient/Observation.rs?category=http%3A%2F%2Fx.org/c%7Claboratory&status=final")
        );
        for unclear in [
            "?",
            "?category",
            "?category=",
            "?date=gt2020",
            "?category=a&date=2020",
            "?category:not=a",
            "?category=%",
            "?category=%zz",
            "?category=%ff",
            "?category=a%2",
            "?category=a&",
            "?category=a+b",
            "?patient=1",
        ] {
            let scope = one(&format!("user/Observation.rs{unclear}"));
            assert!(scope.unclear.is_some() && scope.conditions.is_empty(), "{unclear}");
            assert!(scope.read, "it bounds the token all the same");
        }
    }
}
