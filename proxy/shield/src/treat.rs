//! The treatments themselves: generalize, pseudonymize, encrypt, and what stands where something mandatory is hidden.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drape_fhir::json::{Kind as J, write_string};
use drape_fhir::reference::Reference;
use drape_keys::envelope::{self, Place};
use drape_view::catalogue::{Edge, Kind};
use drape_view::profiler::Date;
use drape_view::{Catalogue, Category, Coarsening, Plan, Treatment};

use crate::rewrite::{Rewriter, Wrote, YES};
use crate::{ENCRYPTED_ELEMENT, Fault};

/// The extension that says why something is absent.
pub(crate) const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

fn absent_extension(declared: bool, out: &mut Vec<u8>) {
    let code = if declared { "masked" } else { "unknown" };
    for part in ["{\"url\":\"", ABSENT, "\",\"valueCode\":\"", code, "\"}"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A mandatory member that is hidden: its place says so, and the places of its own mandatory parts. Primitives say it on
/// their `_` sibling.
pub(crate) fn absent(catalogue: &Catalogue, name: &str, edge: &Edge, declared: bool, out: &mut Vec<u8>) {
    let name = if edge.kind == Kind::Primitive { format!("_{name}") } else { name.to_owned() };
    write_string(&name, out);
    out.extend_from_slice(if edge.list { b":[{\"extension\":[" } else { b":{\"extension\":[" });
    absent_extension(declared, out);
    out.push(b']');
    absent_parts(catalogue, edge, declared, out);
    out.extend_from_slice(if edge.list { b"}]" } else { b"}" });
}

fn absent_parts(catalogue: &Catalogue, edge: &Edge, declared: bool, out: &mut Vec<u8>) {
    for (name, part) in parts(catalogue, edge) {
        out.push(b',');
        absent(catalogue, name, part, declared, out);
    }
}

/// Whether an element can be said to be absent: a code from a fixed list cannot, nor what has one among its mandatory parts.
pub(crate) fn can_be_absent(catalogue: &Catalogue, edge: &Edge) -> bool {
    let written = edge.kind != Kind::Resource && !edge.required_binding;
    written && parts(catalogue, edge).all(|(_, part)| can_be_absent(catalogue, part))
}

/// What must stand in every value of an element, of a choice its first type.
fn parts<'c>(catalogue: &'c Catalogue, edge: &Edge) -> impl Iterator<Item = (&'c str, &'c Edge)> {
    let node = (edge.kind == Kind::Complex).then_some(edge.node);
    let mut last = "";
    node.into_iter().flat_map(|node| catalogue.mandatory(node)).filter(move |(name, part)| {
        let kind = name.len().checked_sub(part.type_name.len()).and_then(|at| name.split_at_checked(at));
        let base = kind
            .filter(|(_, kind)| kind.eq_ignore_ascii_case(part.type_name))
            .map_or(*name, |(base, _)| base);
        std::mem::replace(&mut last, base) != base
    })
}

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
        // An empty text is no value (FHIR JSON), and stands for nothing that a view could be less without.
        Treatment::Show if r.tape.raw(r.text, i) == b"\"\"" => return Ok(Wrote::No),
        Treatment::Show if !leads_where_none_may_look(r, i, edge, plan, out) => {
            r.count(category, treatment);
            match r.shown_address(i) {
                Some(address) => write_string(&address, out),
                None => out.extend_from_slice(r.tape.raw(r.text, i)),
            }
            // `structure` members alone (a bare `use`, a rank) keep no object alive whose content is gone.
            let own = r.path.len() == 1 || r.path[0] == "meta" || r.is_definition;
            return Ok(Wrote::Yes { substance: category != Category::Structure || own });
        }
        Treatment::Generalize(how) => {
            if let Some(coarse) = generalize(r, i, edge, category, how) {
                r.count(category, treatment);
                r.treated(i);
                out.extend_from_slice(&coarse);
                return Ok(YES);
            }
        }
        // The ids of elements within a record lead nowhere from outside: only the record's own gets a pseudonym.
        Treatment::Pseudonymize if category == Category::RecordId && r.path == ["id"] => {
            let id = r.tape.text(r.text, i).into_owned();
            let pseudonym = r.own_pseudonym(&id);
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
            let sealed = seal(r, i, plan)?;
            r.count(category, treatment);
            return Ok(Wrote::Sibling(sealed));
        }
        _ => {}
    }
    r.count(category, Treatment::Redact);
    Ok(Wrote::No)
}

/// Whether an address that is shown names a record whose links are not: `instantiatesUri`, `valueUri` and the like can
/// hold what a Reference holds. One that names a contained record stays with it.
fn leads_where_none_may_look(r: &mut Rewriter<'_>, i: usize, edge: &Edge, plan: &Plan, out: &[u8]) -> bool {
    if !matches!(edge.type_name, "uri" | "url" | "canonical") {
        return false;
    }
    let text = r.tape.text(r.text, i);
    match r.target(&text) {
        Reference::Contained(id) => {
            let leads =
                r.contained_type(id).is_some() && plan.treatment(Category::RecordId) == Treatment::Show;
            if leads {
                r.name_contained(id, out);
            }
            !leads
        }
        Reference::Local { resource_type, .. } => {
            // What is published under a URL of its own is no secret: profiles, value sets, questionnaires.
            let elements = drape_fhir::definitions::r4().elements(resource_type);
            let published = elements.iter().any(|e| e.name == "url" && e.types().any(|t| t == "uri"));
            !published && plan.treatment(Catalogue::link_category(resource_type)) != Treatment::Show
        }
        // A search may hold any value as its criterion.
        Reference::Query(_) => true,
        Reference::Urn(_) | Reference::Foreign(_) => false,
    }
}

/// A coarser form, or `None` when only leaving it out is coarse enough.
fn generalize(
    r: &Rewriter<'_>,
    i: usize,
    edge: &Edge,
    category: Category,
    how: Coarsening,
) -> Option<Vec<u8>> {
    if r.tape.get(i).kind != J::String {
        // Whether somebody died, not when.
        let whether = category == Category::Death && edge.type_name == "boolean";
        return whether.then(|| r.tape.raw(r.text, i).to_vec());
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
            // Whoever was treated more than 89 years ago is older than that, whatever her birth date says.
            let years = match category {
                Category::BirthDate => years_at_most(&text, date, today),
                _ => today.year() - date.year(),
            };
            if years > 89 {
                return None;
            }
            Some(format!("\"{:04}\"", date.year()).into_bytes())
        }
        Coarsening::City => {
            let kept = r.path.last().is_some_and(|name| matches!(*name, "city" | "postalCode"));
            kept.then(|| r.tape.raw(r.text, i).to_vec())
        }
        Coarsening::Zip3 => {
            if r.path.last().is_none_or(|name| *name != "postalCode") {
                return None;
            }
            drape_view::small_areas::zip3(&text).map(|z| format!("\"{z}\"").into_bytes())
        }
        // The caller turns `deceasedDateTime` into `deceasedBoolean: true`.
        Coarsening::Flag => (edge.type_name == "dateTime").then(|| b"true".to_vec()),
    }
}

/// The oldest that somebody born on `date` can be; of a year or month alone nothing says on which side of a birthday.
fn years_at_most(text: &str, date: Date, today: Date) -> i64 {
    let whole = Date::parse(text).is_some();
    if whole { date.years_until(today) } else { today.year() - date.year() }
}

/// Whether an object of that type is treated as one thing, not member by member.
pub(crate) fn is_one_thing(edge: &Edge, treatment: Treatment) -> bool {
    match treatment {
        Treatment::Encrypt => !matches!(edge.type_name, "BackboneElement" | "Element"),
        Treatment::Pseudonymize => edge.type_name == "Identifier",
        Treatment::Generalize(Coarsening::Year) => edge.type_name == "Age",
        _ => false,
    }
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
    if is_one_thing(edge, treatment) {
        r.treated(i);
    }
    match treatment {
        Treatment::Encrypt if !can_be_absent(r.catalogue(), edge) => {
            r.count(category, Treatment::Redact);
            Ok(Some(Wrote::No))
        }
        Treatment::Encrypt => {
            let sealed = seal(r, i, plan)?;
            r.count(category, treatment);
            out.extend_from_slice(&sealed);
            out.truncate(out.len() - 1);
            absent_parts(r.catalogue(), edge, true, out);
            out.push(b'}');
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
                Some(age) if years && age >= 90.0 => {
                    out.extend_from_slice(
                        b"{\"value\":90,\"comparator\":\">=\",\"unit\":\"years\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"a\"}",
                    );
                    Ok(Some(YES))
                }
                // Parts of a year would tell the month of birth.
                Some(age) if years && age >= 0.0 => {
                    let whole = format!("{:.0}", age.trunc());
                    out.extend_from_slice(b"{\"value\":");
                    out.extend(whole.into_bytes());
                    out.extend_from_slice(
                        b",\"unit\":\"years\",\"system\":\"http://unitsofmeasure.org\",\"code\":\"a\"}",
                    );
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
fn seal(r: &mut Rewriter<'_>, i: usize, plan: &Plan) -> Result<Vec<u8>, Fault> {
    let mut path = r.resource_type.to_owned();
    for step in &r.path {
        path.push('.');
        path.push_str(step);
    }
    let (setup, resource_type) = (r.setup, r.resource_type);
    let (key, raw) = (r.seal_key()?, r.tape.raw(r.text, i));
    let place = Place { tenant: &setup.tenant, resource_type, binding: r.binding(plan), path: &path };
    let sealed = envelope::seal(key, &place, raw).map_err(|e| Fault::internal(e.to_string()))?;
    let text = STANDARD.encode(sealed);
    // With room for what stands around it.
    let mut out = Vec::with_capacity(text.len() + 256);
    out.extend_from_slice(b"{\"extension\":[");
    absent_extension(true, &mut out);
    for part in [",{\"url\":\"", ENCRYPTED_ELEMENT, "\",\"valueBase64Binary\":\"", &text, "\"}]}"] {
        out.extend_from_slice(part.as_bytes());
    }
    Ok(out)
}
