//! The treatments themselves: generalize, pseudonymize, encrypt, and what stands where something mandatory is hidden.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drape_fhir::json::{Kind as J, write_string};
use drape_fhir::reference::Reference;
use drape_keys::envelope::{self, Place};
use drape_view::catalogue::{Edge, Kind};
use drape_view::profiler::Date;
use drape_view::{Catalogue, Category, Coarsening, Plan, Reason, Treatment};

use crate::rewrite::{Rewriter, Wrote, separate};
use crate::{ENCRYPTED_ELEMENT, Fault};

const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

fn absent_extension(declared: bool, out: &mut Vec<u8>) {
    let code = if declared { "masked" } else { "unknown" };
    out.extend_from_slice(format!("{{\"url\":\"{ABSENT}\",\"valueCode\":\"{code}\"}}").as_bytes());
}

/// A mandatory member that is hidden: its place says so. Primitives say it on their `_` sibling.
pub(crate) fn absent(name: &str, edge: &Edge, declared: bool, out: &mut Vec<u8>) {
    let name = if edge.kind == Kind::Primitive { format!("_{name}") } else { name.to_owned() };
    write_string(&name, out);
    out.extend_from_slice(if edge.list { b":[{\"extension\":[" } else { b":{\"extension\":[" });
    absent_extension(declared, out);
    out.extend_from_slice(if edge.list { b"]}]" } else { b"]}" });
}

const YES: Wrote = Wrote::Yes { substance: true };

/// A string, number or boolean.
pub(crate) fn primitive(
    r: &mut Rewriter<'_>,
    i: usize,
    edge: &Edge,
    category: Category,
    plan: &Plan,
    out: &mut Vec<u8>,
) -> Result<Wrote, Fault> {
    let treatment = plan.treatment(category);
    match treatment {
        Treatment::Show => {
            r.count(category, treatment);
            match r.shown_address(i) {
                Some(address) => write_string(&address, out),
                None => out.extend_from_slice(r.tape.raw(r.text, i)),
            }
            // `structure` members alone (a bare `use`, a rank) keep no object alive whose content is gone.
            return Ok(Wrote::Yes { substance: category != Category::Structure || r.path.len() == 1 });
        }
        Treatment::Generalize(how) => {
            if let Some(coarse) = generalize(r, i, edge, how) {
                r.count(category, treatment);
                out.extend_from_slice(&coarse);
                return Ok(YES);
            }
        }
        Treatment::Pseudonymize if category == Category::RecordId => {
            let id = r.tape.text(r.text, i).into_owned();
            let kind = if r.contained_type(&id).is_some() { "#".to_owned() } else { r.resource_type.clone() };
            let pseudonym = if kind == "#" { r.setup.pseudonyms.of("#", &id) } else { r.mint(&kind, &id) };
            r.count(category, treatment);
            write_string(&pseudonym, out);
            return Ok(YES);
        }
        Treatment::Pseudonymize if category == Category::Identifier && edge.type_name == "string" => {
            let value = r.tape.text(r.text, i).into_owned();
            r.count(category, treatment);
            write_string(&r.setup.pseudonyms.of("identifier", &value), out);
            return Ok(YES);
        }
        Treatment::Encrypt => {
            let sealed = seal(r, i)?;
            r.count(category, treatment);
            return Ok(Wrote::Sibling(sealed));
        }
        _ => {}
    }
    r.count(category, Treatment::Redact);
    Ok(Wrote::No)
}

/// A coarser form, or `None` when only leaving it out is coarse enough.
fn generalize(r: &Rewriter<'_>, i: usize, edge: &Edge, how: Coarsening) -> Option<Vec<u8>> {
    if r.tape.get(i).kind != J::String {
        // Whether somebody died, not when.
        let flag = how == Coarsening::Flag && edge.type_name == "boolean";
        return flag.then(|| r.tape.raw(r.text, i).to_vec());
    }
    let text = r.tape.text(r.text, i);
    match how {
        Coarsening::Year => {
            // An instant cannot be shortened (R4 data types); times of day name no year.
            if !matches!(edge.type_name, "date" | "dateTime") {
                return None;
            }
            let date = Date::parse_latest(&text)?;
            let today = Date::parse(&r.setup.today)?;
            let birth = r.path.last().is_some_and(|name| name == "birthDate");
            if birth && date.years_until(today) > 89 {
                return None;
            }
            Some(format!("\"{:04}\"", date.year()).into_bytes())
        }
        Coarsening::Zip3 => {
            if r.path.last().is_none_or(|name| name != "postalCode") {
                return None;
            }
            zip3(&text).map(|z| format!("\"{z}\"").into_bytes())
        }
        // The caller turns `deceasedDateTime` into `deceasedBoolean: true`.
        Coarsening::Flag => (edge.type_name == "dateTime").then(|| b"true".to_vec()),
    }
}

/// Areas of three digits with 20,000 people or fewer, by the 2000 census (45 CFR 164.514(b)(2)(i)(B)); the rule binds
/// to current census data, so this list has to be reviewed with each.
const SMALL_AREAS: [&str; 17] = [
    "036", "059", "063", "102", "203", "556", "692", "790", "821", "823", "830", "831", "878", "879", "884", "890",
    "893",
];

fn zip3(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let five = bytes.len() >= 5 && bytes[..5].iter().all(u8::is_ascii_digit);
    let plus4 = bytes.len() == 5 || bytes.len() == 10 && bytes[5] == b'-' && bytes[6..].iter().all(u8::is_ascii_digit);
    if !five || !plus4 {
        return None;
    }
    Some(if SMALL_AREAS.contains(&&text[..3]) { "000" } else { &text[..3] })
}

/// An object that is treated as one thing; `None` when its members are judged one by one.
pub(crate) fn complex(
    r: &mut Rewriter<'_>,
    i: usize,
    edge: &Edge,
    category: Category,
    plan: &Plan,
    out: &mut Vec<u8>,
) -> Result<Option<Wrote>, Fault> {
    if edge.type_name == "BackboneElement" || edge.type_name == "Element" {
        return Ok(None);
    }
    let treatment = plan.treatment(category);
    match treatment {
        Treatment::Encrypt => {
            let sealed = seal(r, i)?;
            r.count(category, treatment);
            out.extend(sealed);
            Ok(Some(YES))
        }
        Treatment::Pseudonymize if edge.type_name == "Identifier" => {
            let system = r.tape.string(r.text, i, "system").unwrap_or_default();
            let Some(value) = r.tape.string(r.text, i, "value") else { return Ok(Some(Wrote::No)) };
            let pseudonym = r.setup.pseudonyms.of("identifier", &format!("{system}|{value}"));
            r.count(category, treatment);
            out.extend_from_slice(b"{\"value\":");
            write_string(&pseudonym, out);
            out.push(b'}');
            Ok(Some(YES))
        }
        Treatment::Generalize(Coarsening::Year) if edge.type_name == "Age" => {
            let old = r
                .tape
                .member(r.text, i, "value")
                .and_then(|v| std::str::from_utf8(r.tape.raw(r.text, v)).ok()?.parse::<f64>().ok());
            let years = r.tape.string(r.text, i, "code").is_some_and(|c| c == "a");
            r.count(category, treatment);
            match old {
                Some(age) if years && age > 89.0 => {
                    out.extend_from_slice(
                        b"{\"value\":90,\"comparator\":\">=\",\"unit\":\"years\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"a\"}",
                    );
                    Ok(Some(YES))
                }
                Some(_) if years => {
                    let value = r.tape.member(r.text, i, "value").map(|v| r.tape.raw(r.text, v).to_vec());
                    out.extend_from_slice(b"{\"value\":");
                    out.extend(value.unwrap_or_default());
                    out.extend_from_slice(b",\"unit\":\"years\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"a\"}");
                    Ok(Some(YES))
                }
                // Months and days of a small child are not ages over 89, but they are dates by another name.
                _ => Ok(Some(Wrote::No)),
            }
        }
        _ => Ok(None),
    }
}

/// The element sealed with the patient's key: `{"extension":[masked, ciphertext]}`.
fn seal(r: &mut Rewriter<'_>, i: usize) -> Result<Vec<u8>, Fault> {
    let path = format!("{}.{}", r.resource_type, r.path.join("."));
    let place =
        Place { tenant: &r.setup.tenant, resource_type: &r.resource_type, binding: &r.binding, path: &path };
    let sealed = envelope::seal(r.seal_key()?, &place, r.tape.raw(r.text, i)).map_err(|e| Fault::internal(e.to_string()))?;
    let mut out = b"{\"extension\":[".to_vec();
    absent_extension(true, &mut out);
    out.extend_from_slice(
        format!(",{{\"url\":\"{ENCRYPTED_ELEMENT}\",\"valueBase64Binary\":\"{}\"}}]}}", STANDARD.encode(sealed)).as_bytes(),
    );
    Ok(out)
}

/// A Reference: the link by what it names, the display by whom it names, the identifier as an identifier.
pub(crate) fn reference(
    r: &mut Rewriter<'_>,
    i: usize,
    edge: &Edge,
    plan: &Plan,
    out: &mut Vec<u8>,
) -> Result<Result<Wrote, Reason>, Fault> {
    let literal = r.tape.string(r.text, i, "reference").map(std::borrow::Cow::into_owned);
    let stated = r.tape.string(r.text, i, "type").map(std::borrow::Cow::into_owned);
    let named = literal.as_deref().map(|l| r.target(l));
    let target: Option<String> = match named {
        Some(Reference::Local { resource_type, .. }) => Some(resource_type.to_owned()),
        Some(Reference::Contained(id)) => r.contained_type(id).map(str::to_owned),
        _ => None,
    }
    .or_else(|| stated.clone().filter(|t| drape_fhir::definitions::r4().is_resource(t)))
    .or_else(|| edge.target.map(str::to_owned));
    let strictest = |of: [Category; 3]| {
        of.into_iter().max_by_key(|c| plan.treatment(*c).rank()).unwrap_or(Category::Unknown)
    };
    let link = match &target {
        Some(t) => Catalogue::link_category(t),
        None => strictest([Category::PatientLink, Category::RecordLink, Category::Staff]),
    };
    let display = match &target {
        Some(t) => Catalogue::display_category(t),
        None => strictest([Category::PersonName, Category::Staff, Category::Note]),
    };
    let rewritten = match (&named, plan.treatment(link)) {
        (Some(Reference::Contained(id)), treatment) if r.contained_type(id).is_some() => {
            let id = (*id).to_owned();
            let shown = match (treatment, plan.treatment(Category::RecordId)) {
                (Treatment::Show | Treatment::Pseudonymize, Treatment::Show) => Some(format!("#{id}")),
                (Treatment::Show | Treatment::Pseudonymize, Treatment::Pseudonymize) => {
                    Some(format!("#{}", r.setup.pseudonyms.of("#", &id)))
                }
                _ => None,
            };
            if shown.is_some() {
                r.name_contained(&id);
            }
            shown
        }
        // The container itself.
        (Some(Reference::Contained("")), Treatment::Show) => Some("#".to_owned()),
        (Some(Reference::Contained(_)), _) | (None, _) => None,
        (Some(_), Treatment::Show) => literal.as_deref().map(|l| match l.strip_prefix(&r.setup.upstream_base) {
            Some(rest) if rest.starts_with('/') => format!("{}{rest}", r.setup.public_base),
            _ => l.to_owned(),
        }),
        (Some(Reference::Local { resource_type, id, .. }), Treatment::Pseudonymize) => {
            let (kind, id) = ((*resource_type).to_owned(), (*id).to_owned());
            Some(format!("{kind}/{}", r.mint(&kind, &id)))
        }
        // A link elsewhere cannot be pseudonymised so that it still leads anywhere.
        _ => None,
    };
    let mark = out.len();
    out.push(b'{');
    let mut any = false;
    let mut substance = false;
    for (key, value) in r.tape.members(i) {
        let name = r.tape.text(r.text, key).into_owned();
        match name.as_str() {
            "reference" => match &rewritten {
                Some(text) => {
                    separate(&mut any, out);
                    out.extend_from_slice(b"\"reference\":");
                    write_string(text, out);
                    substance = true;
                    let done = plan.treatment(link);
                    r.count(link, if done == Treatment::Show { Treatment::Show } else { Treatment::Pseudonymize });
                }
                None => r.count(link, Treatment::Redact),
            },
            "type" if rewritten.is_some() && r.tape.get(value).kind == J::String => {
                separate(&mut any, out);
                out.extend_from_slice(b"\"type\":");
                out.extend_from_slice(r.tape.raw(r.text, value));
            }
            "display" if r.tape.get(value).kind == J::String => {
                if plan.treatment(display) == Treatment::Show {
                    separate(&mut any, out);
                    out.extend_from_slice(b"\"display\":");
                    out.extend_from_slice(r.tape.raw(r.text, value));
                    r.count(display, Treatment::Show);
                    substance = true;
                } else {
                    r.count(display, Treatment::Redact);
                }
            }
            "identifier" | "extension" => {
                let Some(inner) = r.catalogue().edge(edge.node, &name).copied() else { continue };
                let before = (out.len(), any);
                r.path.push(name);
                let wrote = r.plain_member(key, value, &inner, plan, out, &mut any)?;
                r.path.pop();
                match wrote {
                    Err(reason) => return Ok(Err(reason)),
                    Ok(Wrote::Yes { substance: says }) => substance |= says,
                    Ok(_) => {
                        out.truncate(before.0);
                        any = before.1;
                    }
                }
            }
            _ => r.count(Category::Unknown, Treatment::Redact),
        }
    }
    if !substance {
        out.truncate(mark);
        return Ok(Ok(Wrote::No));
    }
    out.push(b'}');
    Ok(Ok(YES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postal_codes_keep_three_digits_and_small_areas_none() {
        assert_eq!(zip3("02139"), Some("021"));
        assert_eq!(zip3("02139-4307"), Some("021"));
        assert_eq!(zip3("03601"), Some("000"));
        for other in ["SW1A 1AA", "1234", "021", "0213x", "02139-43", ""] {
            assert_eq!(zip3(other), None, "{other}");
        }
    }
}
