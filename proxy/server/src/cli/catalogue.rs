//! `drape catalogue`: the elements of a type, each with its category, the rule that says so, and how far it may be revealed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use drape_fhir::definitions::r4;
use drape_view::catalogue::{Row, Why};
use drape_view::fault::near;
use drape_view::{Catalogue, Category, Treatment, Treatments};
use serde_json::{Value, json};

use super::source::{of_name, pick};
use super::{Failure, say};
use crate::config::{Config, Policies, PolicySource};
use crate::parts::Texts;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A resource type, `Patient`, or one of its elements, `Patient.contact`.
    #[arg(value_name = "TYPE", required_unless_present = "category")]
    path: Option<String>,
    /// Only what belongs to this category; of all types where none is named.
    #[arg(long, value_name = "CATEGORY")]
    category: Option<String>,
    /// The catalogue and treatments of a configuration, instead of the shipped ones.
    #[arg(short, long, value_name = "FILE", conflicts_with = "policies")]
    config: Option<PathBuf>,
    /// Which tenant of the configuration; may be left out where there is only one.
    #[arg(long, value_name = "NAME", requires = "config")]
    tenant: Option<String>,
    /// The treatments of a set, instead of the shipped ones: a shipped set by its name, or a folder.
    #[arg(short, long, value_name = "SET|FOLDER")]
    policies: Option<String>,
    /// How to tell it.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// In columns.
    Text,
    /// A Markdown table.
    Md,
    /// One document.
    Json,
}

/// Lists.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let (catalogue, treatments) = loaded(arguments)?;
    let category = arguments.category.as_deref().map(category).transpose()?;
    let mut rows = match &arguments.path {
        Some(path) => catalogue.rows(path).ok_or_else(|| unknown(&catalogue, path))?,
        None => r4().resource_types().filter_map(|t| catalogue.rows(t)).flatten().collect(),
    };
    rows.retain(|row| category.is_none_or(|c| row.categories.contains(c)));
    if rows.is_empty() {
        say("no element belongs there");
        return Ok(ExitCode::SUCCESS);
    }
    match arguments.format {
        Format::Json => {
            let all: Vec<Value> = rows.iter().map(|row| document(row, &treatments)).collect();
            say(format!("{:#}", Value::Array(all)));
        }
        Format::Md => markdown(&rows, &treatments),
        Format::Text => columns(&rows, &treatments),
    }
    Ok(ExitCode::SUCCESS)
}

/// The policies themselves need not be sound for it.
fn loaded(arguments: &Arguments) -> Result<(Catalogue, Treatments), Failure> {
    let policies = match (&arguments.config, &arguments.policies) {
        (Some(path), _) => pick(Config::load(path)?.tenants, arguments.tenant.as_deref())?.policies,
        (None, Some(name)) => Policies::of(of_name(name)?),
        (None, None) => Policies::of(PolicySource::Shipped("hospital".into())),
    };
    let texts = Texts::read(&policies).map_err(|f| Failure::faults(&f))?;
    let mut faults = Vec::new();
    let catalogue = texts.categories.parse("categories", &mut faults, |text| Catalogue::parse(text, r4()));
    let treatments = texts.treatments.parse("treatments", &mut faults, Treatments::parse);
    catalogue.zip(treatments).ok_or_else(|| Failure::faults(&faults))
}

fn category(name: &str) -> Result<Category, Failure> {
    let fault = || Failure::new(format!("`{name}` is no category\n  help: {}", Category::meant(name)));
    Category::parse(name).ok_or_else(fault)
}

/// Where a path goes wrong, and what was probably meant.
fn unknown(catalogue: &Catalogue, path: &str) -> Failure {
    let resource = path.split('.').next().unwrap_or_default();
    if !r4().is_resource(resource) {
        let help = match near(resource, r4().resource_types()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "write a FHIR R4 resource type, e.g. `Patient`, or one of its elements, `Patient.contact`"
                    .to_owned()
            }
        };
        return Failure::new(format!("`{resource}` is no resource type\n  help: {help}"));
    }
    let parts: Vec<&str> = path.split('.').collect();
    let known = (1..parts.len()).rev().map(|n| parts[..n].join(".")).find(|p| catalogue.rows(p).is_some());
    let known = known.unwrap_or_else(|| resource.to_owned());
    let wrong = parts.get(known.split('.').count()).copied().unwrap_or_default();
    let members = catalogue.members_of(&known);
    // A choice is written with its type.
    let choices: Vec<&str> = members.iter().copied().filter(|m| m.starts_with(wrong)).collect();
    let help = match near(wrong, members.iter().copied()) {
        Some(near) => format!("did you mean `{known}.{near}`?"),
        None if !choices.is_empty() => format!("there are: {}", choices.join(", ")),
        None => format!("`{known}` has: {}", members.join(", ")),
    };
    Failure::new(format!("`{known}` has no element `{wrong}`\n  help: {help}"))
}

/// Names of the categories; of an extension that is not listed, `unknown`.
fn categories(row: &Row) -> String {
    let names: Vec<&str> = row.categories.iter().map(Category::name).collect();
    match row.why {
        Why::Bracket => "-".to_owned(),
        Why::Extension => "unknown unless listed".to_owned(),
        _ => names.join(" or "),
    }
}

/// How far it may be revealed, most revealing first; for several categories what each allows.
fn rungs(row: &Row, treatments: &Treatments) -> Vec<String> {
    let of = |c: Category| treatments.rungs(c).iter().map(Treatment::to_string).collect::<Vec<_>>();
    let mut all: Vec<Vec<String>> = match row.why {
        Why::Bracket => return vec!["-".to_owned()],
        Why::Extension => vec![of(Category::Unknown)],
        _ => row.categories.iter().map(of).collect(),
    };
    all.dedup();
    all.iter().map(|one| if one.is_empty() { "never".to_owned() } else { one.join(", ") }).collect()
}

fn columns(rows: &[Row], treatments: &Treatments) {
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let marks = format!("{}{}", row.type_name, if row.modifier { " (modifier)" } else { "" });
            [row.path.clone(), marks, categories(row), rungs(row, treatments).join(" | "), row.rule.clone()]
        })
        .collect();
    let heads = ["element", "type", "category", "may be", "because"].map(str::to_owned);
    let mut widths = [0; 5];
    for line in cells.iter().chain([&heads]) {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in [&heads].into_iter().chain(&cells) {
        let padded: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        say(padded.join("  ").trim_end());
    }
}

fn markdown(rows: &[Row], treatments: &Treatments) {
    say("| element | type | category | may be | because |\n| --- | --- | --- | --- | --- |");
    for row in rows {
        let rungs = rungs(row, treatments).join(" or ");
        let categories = categories(row);
        say(format!("| `{}` | {} | {categories} | {rungs} | {} |", row.path, row.type_name, row.rule));
    }
}

fn document(row: &Row, treatments: &Treatments) -> Value {
    let names: Vec<&str> = row.categories.iter().map(Category::name).collect();
    let of = |c: Category| treatments.rungs(c).iter().map(Treatment::to_string).collect::<Vec<_>>();
    let rungs: serde_json::Map<String, Value> =
        row.categories.iter().map(|c| (c.name().to_owned(), json!(of(c)))).collect();
    json!({
        "path": row.path,
        "type": row.type_name,
        "categories": names,
        "treatments": rungs,
        "rule": row.rule,
        "modifier": row.modifier,
        "mandatory": row.mandatory,
    })
}
