//! The files of an imported set.

use std::collections::{BTreeMap, BTreeSet};

use drape_view::{Category, Coarsening, Treatment, shipped};

use super::Unnamed;
use super::elements::{Leaf, RECEIVED};
use super::plan::Plan;
use super::report::{Line, Outcome};
use super::rules::RuleFile;

/// All of them.
pub(super) fn files(
    name: &str,
    file: &RuleFile,
    leaves: &[Leaf],
    plan: &Plan,
    lines: &[Line],
    unnamed: Unnamed,
) -> Vec<(String, String)> {
    let mut files = vec![
        ("IMPORT.md".to_owned(), report(name, file, leaves, plan, lines, unnamed)),
        ("imported.cedar".to_owned(), cedar(leaves, plan)),
        ("treatments.yaml".to_owned(), treatments(plan)),
        ("personas.yaml".to_owned(), PERSONAS.to_owned()),
    ];
    if !plan.moved.is_empty() || !plan.parts.is_empty() || !plan.extensions {
        files.push(("categories.yaml".to_owned(), categories(plan)));
    }
    files
}

const PERSONAS: &str = "\
# Made-up callers for `drape explain`, `drape test`, `drape diff` and `drape sheet`.
version: 1
purposes:
  HRESCH: [recipient]
personas:
  recipient:
    says: is given what the imported rules leave
    claims: { sub: recipient, roles: [recipient], purpose_of_use: HRESCH }
  nobody:
    says: has no role at all
    claims: { sub: nobody, roles: [], purpose_of_use: HRESCH }
";

/// One permit for each treatment and each set of types that share it.
fn cedar(leaves: &[Leaf], plan: &Plan) -> String {
    let received = format!("context.record.type in ResourceType::\"{RECEIVED}\"");
    let mut out = format!(
        "// Made by `drape import`; IMPORT.md beside this file tells how. Recipients get what the imported rules leave of the\n\
         // group `{RECEIVED}`, and nothing that no rule here permits.\n\n\
         @id(\"imported-requests\")\n\
         permit (principal in Role::\"recipient\", action in [Action::\"read\", Action::\"search\"], resource in ResourceType::\"{RECEIVED}\");\n\
         @id(\"imported-export\")\n\
         permit (principal in Role::\"recipient\", action == Action::\"export\", resource in ResourceType::\"{RECEIVED}\");\n\
         @id(\"imported-searches\")\n\
         permit (principal in Role::\"recipient\", action == Action::\"searchBy\", resource)\n\
         when {{ resource in Category::\"clinical\" || resource in Category::\"link\" || resource == Category::\"structure\" }};\n\n\
         @id(\"imported-receives\")\n\
         permit (principal in Role::\"recipient\", action == Action::\"receive\", resource)\n\
         when {{ {received} }};\n"
    );
    let mut types: BTreeMap<(&str, Category), BTreeSet<&str>> = BTreeMap::new();
    let mut having: BTreeMap<Category, BTreeSet<&str>> = BTreeMap::new();
    for ((name, category), treatment) in &plan.treatments {
        types.entry((treatment.name(), *category)).or_default().insert(name);
    }
    for leaf in leaves {
        having.entry(leaf.category).or_default().insert(leaf.resource_type);
    }
    // A category that all types which have it treat alike needs no list of types.
    let mut groups: BTreeMap<(&str, Option<BTreeSet<&str>>), Vec<Category>> = BTreeMap::new();
    for ((action, category), names) in types {
        let all = having.get(&category).is_some_and(|all| *all == names);
        groups.entry((action, (!all).then_some(names))).or_default().push(category);
    }
    let mut number = 0;
    for action in ["show", "generalize", "pseudonymize", "encrypt"] {
        for ((_, names), categories) in groups.iter().filter(|((a, _), _)| *a == action) {
            number += 1;
            let list = |kind: &str, names: &mut dyn Iterator<Item = &str>| {
                names.map(|n| format!("{kind}::\"{n}\"")).collect::<Vec<_>>().join(", ")
            };
            let categories = list("Category", &mut categories.iter().map(|c| c.name()));
            let of = match names {
                None => received.clone(),
                Some(names) => {
                    format!(
                        "[{}].contains(context.record.type)",
                        list("ResourceType", &mut names.iter().copied())
                    )
                }
            };
            out += &format!(
                "\n@id(\"imported-{action}-{number}\")\n\
                 permit (principal in Role::\"recipient\", action == Action::\"{action}\", resource)\n\
                 when {{\n  {of} &&\n  [{categories}].contains(resource)\n}};\n"
            );
        }
    }
    out
}

fn treatments(plan: &Plan) -> String {
    let mut out = String::from(
        "# Made by `drape import`: what the imported rules need. policies/treatments.yaml of Drape explains the words.\n\
         version: 1\nredaction: declared\ntreatments:\n",
    );
    for category in Category::ALL {
        let used: BTreeSet<Treatment> =
            plan.treatments.iter().filter(|((_, c), _)| *c == category).map(|(_, t)| *t).collect();
        let mut rungs: Vec<Treatment> = used.into_iter().collect();
        rungs.sort_by_key(|t| t.rank());
        let words: Vec<String> = rungs.into_iter().map(word).collect();
        out += &format!("  {category}: [{}]\n", words.join(", "));
    }
    out
}

fn word(treatment: Treatment) -> String {
    match treatment {
        Treatment::Generalize(how) => {
            let how = match how {
                Coarsening::Year => "year",
                Coarsening::City => "city",
                Coarsening::Zip3 => "zip3",
                Coarsening::Flag => "flag",
            };
            format!("{{ generalize: {how} }}")
        }
        other => other.name().to_owned(),
    }
}

/// The shipped catalogue with what the rules hide of categories that are shown.
fn categories(plan: &Plan) -> String {
    let mut out = String::from("# Made by `drape import` from the shipped catalogue.\n");
    let mut section = "";
    for line in shipped::CATEGORIES.lines() {
        let top = !line.starts_with([' ', '#']) && line.ends_with(':');
        if top {
            section = line.trim_end_matches(':');
        }
        let moved = match section {
            "elements" => &plan.moved,
            "parts" => &plan.parts,
            _ => &BTreeSet::new(),
        };
        let key = line.trim().rsplit_once(": ").map_or("", |(key, _)| key);
        if moved.contains(key) {
            continue;
        }
        if section == "extensions"
            && !top
            && !plan.extensions
            && line.contains(": ")
            && !line.contains("data-absent-reason")
        {
            continue;
        }
        out += line;
        out.push('\n');
        if top && !moved.is_empty() {
            out += "  # The imported rules hide these: they count as text, which no recipient is shown.\n";
            for key in moved {
                out += &format!("  {key}: note\n");
            }
            out += "  # As shipped.\n";
        }
    }
    out
}

fn report(
    name: &str,
    file: &RuleFile,
    leaves: &[Leaf],
    plan: &Plan,
    lines: &[Line],
    unnamed: Unnamed,
) -> String {
    let count = |outcome| lines.iter().filter(|l| l.outcome == outcome).count();
    let mut out = format!(
        "# Imported rules\n\n\
         Made by `drape import` from `{name}`: {} rules, {} carried over to the letter, {} by something stricter, {} not at all.\n\n\
         **Theirs keep what no rule names; Drape shows only what a policy permits.** Of what no rule names, this set\n{}. It\n\
         reaches recipients who hold the role `recipient` under the purpose `HRESCH`, and only in types of the group\n\
         `{RECEIVED}`. Where a rule could not be followed to the letter, something stricter stands in its place, never\n\
         anything laxer. Text, attachments and extensions that are not listed can repeat anything: no recipient is shown them.\n\
         A record of which a modifier element goes (`Patient.deceased[x]`, for one) is withheld.\n\n",
        lines.len(),
        count(Outcome::Exactly),
        count(Outcome::Stricter),
        count(Outcome::Nowhere),
        match unnamed {
            Unnamed::Keep => "shows what their tool would keep (`--default keep`)",
            Unnamed::Redact => "shows nothing but what gives a record its shape (`--default redact`)",
        }
    );
    out += "## Rule by rule\n\n| where | path | method | carried over | remarks |\n|---|---|---|---|---|\n";
    for line in lines {
        let outcome = match line.outcome {
            Outcome::Exactly => "yes",
            Outcome::Stricter => "more strictly",
            Outcome::Nowhere => "no",
        };
        // A bar would end the cell.
        let cell = |text: &str| text.replace('|', "\\|");
        let remarks = line.remarks.join("; ");
        out += &format!(
            "| {} | `{}` | {} | {outcome} | {} |\n",
            line.place,
            cell(&line.path),
            line.method.name(),
            cell(&remarks)
        );
    }
    out += "\n## Parameters\n\n";
    let mut parameters = Vec::new();
    if !file.parameters.left.is_empty() {
        let names: Vec<String> = file.parameters.left.iter().map(|n| format!("`{n}`")).collect();
        parameters.push(format!(
            "{}: not carried over. Keys are never copied: Drape's pseudonyms and ciphertexts are made under keys of its own,\n  so that they are not those of other exports.",
            names.join(", ")
        ));
    }
    let areas = &file.parameters.areas_unknown;
    if !areas.is_empty() && file.parameters.partial_zips {
        parameters.push(format!(
            "`restrictedZipCodeTabulationAreas` names {}, which Drape's own list (policies/small-areas.yaml) does not: no part\n  of a postal code is shown.",
            areas.join(", ")
        ));
    }
    if parameters.is_empty() {
        parameters.push("None that were not carried over.".to_owned());
    }
    parameters.iter().for_each(|line| out += &format!("- {line}\n"));
    out + "\n## What no rule names\n\nTheirs would keep all of it.\n" + &unnamed_elements(leaves, plan)
}

/// For each type, the elements that no rule names, by what becomes of them.
fn unnamed_elements(leaves: &[Leaf], plan: &Plan) -> String {
    let mut by_type: BTreeMap<&str, BTreeMap<&str, BTreeSet<String>>> = BTreeMap::new();
    for (leaf, fate) in leaves.iter().zip(&plan.fates).filter(|(_, fate)| fate.by.is_empty()) {
        let ends = match fate.is {
            Treatment::Show => "shown",
            Treatment::Generalize(_) => "generalised",
            Treatment::Pseudonymize => "pseudonymised",
            Treatment::Encrypt => "encrypted",
            Treatment::Redact => "gone",
        };
        let element = leaf.nodes.first().map(|n| n.key.clone()).unwrap_or_default();
        by_type.entry(leaf.resource_type).or_default().entry(ends).or_default().insert(element);
    }
    let mut out = String::new();
    for (name, ends) in by_type {
        out += &format!("\n### {name}\n\n");
        for (end, elements) in &ends {
            // An element of several fates is named under each, as parts of it.
            let name = |e: &String| {
                let shared = ends.iter().any(|(other, names)| other != end && names.contains(e));
                if shared { format!("parts of {e}") } else { e.clone() }
            };
            let names: Vec<String> = elements.iter().map(name).collect();
            out += &format!("- {end}: {}\n", names.join(", "));
        }
    }
    out
}
