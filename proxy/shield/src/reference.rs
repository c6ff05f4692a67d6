//! References: the link by what it names, the display by whom it names, the identifier as an identifier.

use drape_fhir::json::{Kind as J, write_string};
use drape_fhir::reference::Reference;
use drape_view::catalogue::Edge;
use drape_view::{Catalogue, Category, Plan, Pointer, Treatment};

use crate::rewrite::{Of, Rewriter, Stop, Wrote, YES, separate};
use crate::tape::Tape;

/// What a reference names and under which categories that falls.
struct Named {
    link: Category,
    display: Category,
    /// What stands in place of the upstream's text; `None` leaves it out.
    rewritten: Option<String>,
    /// The contained record that it names; empty for the container.
    contained: Option<String>,
    /// It names nothing literally: a display or an identifier must do.
    logical: bool,
}

/// Writes the Reference at `i`.
pub(crate) fn reference(
    r: &mut Rewriter<'_>,
    i: usize,
    edge: &Edge,
    plan: &Plan,
    out: &mut Vec<u8>,
) -> Result<Wrote, Stop> {
    let mut named = named(r, i, edge, plan);
    r.concealed = r.hides(i, edge);
    if r.concealed {
        r.count(named.link, Treatment::Redact);
        return Ok(Wrote::No);
    }
    if !r.setup.declared && named.rewritten.is_none() {
        // A display or an identifier that is left alone would say that a link was there: they stay only where any link
        // to such a record would, and then as if there had been none.
        if plan.treatment(named.link) != Treatment::Show {
            r.count(named.link, Treatment::Redact);
            return Ok(Wrote::No);
        }
        named.logical = true;
    }
    let mark = out.len();
    out.push(b'{');
    let mut any = false;
    let mut substance = false;
    for (key, value) in r.tape.members(i) {
        let name = r.tape.name(r.text, key);
        match &*name {
            b"reference" => match &named.rewritten {
                Some(text) => {
                    separate(&mut any, out);
                    if let Some(id) = &named.contained {
                        r.name_contained(id, out);
                    }
                    out.extend_from_slice(b"\"reference\":");
                    write_string(text, out);
                    substance = true;
                    let done = plan.treatment(named.link);
                    r.count(named.link, if done == Treatment::Show { done } else { Treatment::Pseudonymize });
                }
                None => r.count(named.link, Treatment::Redact),
            },
            b"type" => {
                let stated = (r.tape.get(value).kind == J::String).then(|| r.tape.text(r.text, value));
                if (named.rewritten.is_some() || named.logical) && stated.is_some_and(|t| is_resource(&t)) {
                    separate(&mut any, out);
                    out.extend_from_slice(b"\"type\":");
                    out.extend_from_slice(r.tape.raw(r.text, value));
                }
            }
            b"display" if r.tape.get(value).kind == J::String => {
                let treatment = plan.treatment(named.display);
                if treatment == Treatment::Show {
                    separate(&mut any, out);
                    out.extend_from_slice(b"\"display\":");
                    out.extend_from_slice(r.tape.raw(r.text, value));
                    r.count(named.display, treatment);
                    substance = true;
                } else {
                    r.count(named.display, Treatment::Redact);
                }
            }
            b"identifier" | b"extension" | b"id" => {
                let Some((name, inner)) = r.catalogue().named_edge(edge.node, &name) else { continue };
                let (before, had) = (out.len(), any);
                let own = name != "id";
                r.path.push(name);
                match r.member(key, value, inner, plan, out, &mut any, Of::Shown)? {
                    Wrote::Yes { substance: says } => substance |= says && own,
                    _ => {
                        r.cut(before, out);
                        any = had;
                    }
                }
                r.path.pop();
            }
            _ => r.count(Category::Unknown, Treatment::Redact),
        }
    }
    if !substance {
        r.cut(mark, out);
        return Ok(Wrote::No);
    }
    out.push(b'}');
    Ok(YES)
}

/// What the Reference at `i` names: one of them on this server, or whatever types it may be of elsewhere. Nothing for
/// what is contained, which is judged as part of the record, and for what names nothing literally.
pub(crate) fn pointers(tape: &Tape, text: &[u8], i: usize, edge: &Edge, bases: &[&str]) -> Vec<Pointer> {
    let Some(literal) = tape.string(text, i, "reference") else { return Vec::new() };
    let foreign = match Reference::parse(&literal, bases) {
        Reference::Contained(_) => return Vec::new(),
        Reference::Local { resource_type, id, .. } => {
            let (resource_type, id) = (Some(resource_type.to_owned()), Some(id.to_owned()));
            return vec![Pointer { resource_type, id }];
        }
        Reference::Foreign(url) | Reference::Query(url) => {
            url.split(['/', '?']).rev().find(|p| is_resource(p))
        }
        Reference::Urn(_) => None,
    };
    let stated = tape.string(text, i, "type");
    let possible = [foreign, stated.as_deref().filter(|t| is_resource(t)), edge.target];
    let elsewhere =
        |resource_type: Option<&str>| Pointer { resource_type: resource_type.map(str::to_owned), id: None };
    let found: Vec<Pointer> = possible.into_iter().flatten().map(|t| elsewhere(Some(t))).collect();
    if found.is_empty() { vec![elsewhere(None)] } else { found }
}

fn is_resource(name: &str) -> bool {
    drape_fhir::definitions::r4().is_resource(name)
}

fn named(r: &mut Rewriter<'_>, i: usize, edge: &Edge, plan: &Plan) -> Named {
    let literal = r.tape.string(r.text, i, "reference");
    let stated = r.tape.string(r.text, i, "type");
    let target = literal.as_deref().map(|l| r.target(l));
    // What a reference names decides; what it only says of itself counts where nothing else is known, and then the
    // stricter of all that it may be.
    let certain = match target {
        Some(Reference::Local { resource_type, .. }) => Some(resource_type),
        Some(Reference::Contained(id)) => r.contained_type(id),
        _ => None,
    };
    let possible = match certain {
        Some(certain) => [Some(certain), None, None],
        None => {
            let elsewhere = match target {
                Some(Reference::Foreign(url)) => url.rsplit('/').find(|part| is_resource(part)),
                _ => None,
            };
            [elsewhere, stated.as_deref().filter(|t| is_resource(t)), edge.target]
        }
    };
    let strictest = |of: &mut dyn Iterator<Item = Category>| {
        of.max_by_key(|c| plan.treatment(*c).rank()).unwrap_or(Category::Unknown)
    };
    let (link, display) = if possible.iter().all(Option::is_none) {
        let links = [Category::PatientLink, Category::RecordLink, Category::Staff];
        let displays = [Category::PersonName, Category::Staff, Category::Note];
        (strictest(&mut links.into_iter()), strictest(&mut displays.into_iter()))
    } else {
        (
            strictest(&mut possible.into_iter().flatten().map(Catalogue::link_category)),
            strictest(&mut possible.into_iter().flatten().map(Catalogue::display_category)),
        )
    };
    let treatment = plan.treatment(link);
    let mut contained = None;
    let rewritten = match (target, literal.as_deref()) {
        (Some(Reference::Contained(id)), _) => {
            let known = id.is_empty() || certain.is_some();
            let shown = match (treatment, plan.treatment(Category::RecordId)) {
                _ if !known => None,
                (Treatment::Show, _) if id.is_empty() => Some("#".to_owned()),
                (Treatment::Show | Treatment::Pseudonymize, Treatment::Show) => Some(format!("#{id}")),
                (Treatment::Show | Treatment::Pseudonymize, Treatment::Pseudonymize) => {
                    Some(format!("#{}", r.setup.pseudonyms.of("#", id)))
                }
                _ => None,
            };
            contained = shown.is_some().then(|| id.to_owned());
            shown
        }
        (Some(Reference::Local { resource_type, id, .. }), _) if treatment == Treatment::Pseudonymize => {
            Some([resource_type, "/", &r.mint(resource_type, id)].concat())
        }
        (Some(target), Some(literal)) if treatment == Treatment::Show && is_plain(target) => {
            Some(match literal.strip_prefix(r.setup.upstream_base.as_str()) {
                Some(rest) if rest.starts_with('/') => format!("{}{rest}", r.setup.public_base),
                _ => literal.to_owned(),
            })
        }
        // A link elsewhere cannot be pseudonymised so that it still leads anywhere.
        _ => None,
    };
    Named { link, display, rewritten, contained, logical: literal.is_none() }
}

/// Whether a reference names a record and nothing else: a search in its place could hold any value as a criterion,
/// and a text that is no address could be anything at all.
fn is_plain(target: Reference<'_>) -> bool {
    match target {
        Reference::Local { .. } | Reference::Urn(_) => true,
        Reference::Foreign(text) => {
            let web = text.starts_with("https://") || text.starts_with("http://");
            web && !text.contains(['?', ' ', '\t', '\n'])
        }
        Reference::Contained(_) | Reference::Query(_) => false,
    }
}
