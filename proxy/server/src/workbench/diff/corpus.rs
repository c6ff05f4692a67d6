//! The same over a corpus: every record judged by both sets, through the catalogue and the lists of each.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use drape_policy::compare::{Difference, Kind, What, treatment, verdict_differences};
use drape_policy::{RecordJudge, Standing};
use drape_view::catalogue::{Assigned, NodeId};
use drape_view::{Caller, Catalogue, Category, Facts, Plan, Profiler, Treatment, Verdict, View};
use serde_json::Value;

use super::lines::Line;
use super::{Report, Set, beside};

/// One record of a corpus.
#[derive(Debug)]
pub struct Record {
    /// Where it stands: the file and the number of the record in it.
    place: String,
    resource_type: String,
    value: Value,
}

/// How deep JSON may nest.
const DEPTH_MAX: usize = 64;
/// A file of a corpus.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads NDJSON, Bundles and single resources.
pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let fault = |what: &dyn std::fmt::Display| format!("`{}` {what}", path.display());
    let size = std::fs::metadata(path).map_err(|e| fault(&format!("cannot be read: {e}")))?.len();
    if size > FILE_BYTES_MAX {
        return Err(fault(&"is larger than a gigabyte; give parts of it"));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fault(&format!("cannot be read: {e}")))?;
    let mut values = Vec::new();
    match serde_json::from_str::<Value>(&text) {
        Ok(whole) => values.push(whole),
        Err(_) => {
            for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
                let value = serde_json::from_str(line)
                    .map_err(|e| fault(&format!("line {}: is not JSON: {e}", number + 1)))?;
                values.push(value);
            }
        }
    }
    let mut records = Vec::new();
    for value in values {
        if value["resourceType"] == "Bundle" && value["entry"].is_array() {
            let entries = value["entry"].as_array().into_iter().flatten();
            records.extend(entries.map(|e| e["resource"].clone()).filter(Value::is_object));
        } else {
            records.push(value);
        }
    }
    let name = path.display();
    let named = records.into_iter().enumerate().map(|(number, value)| {
        let place = format!("{name}, record {}", number + 1);
        let Some(resource_type) = value["resourceType"].as_str().map(str::to_owned) else {
            return Err(fault(&format!("record {}: has no resourceType", number + 1)));
        };
        Ok(Record { place, resource_type, value })
    });
    named.collect()
}

/// Compares what becomes of each of these records.
pub fn corpus(old: &Set, new: &Set, cast: &[(String, Caller)], records: &[Record]) -> Result<Report, String> {
    let mut report = beside(old, new);
    let mut met: BTreeMap<(String, Difference), (u64, String)> = BTreeMap::new();
    let sides = [old, new];
    let profilers = sides.map(|set| {
        Arc::new(Profiler::new(Arc::clone(&set.loaded.labels), Arc::clone(&set.loaded.overrides)))
    });
    for record in records {
        let text = record.value.to_string();
        let mut facts = Vec::new();
        for set in sides {
            let read = drape_shield::facts_of(
                &set.loaded.catalogue,
                text.as_bytes(),
                &record.resource_type,
                &[],
                DEPTH_MAX,
            );
            facts.push(read.map_err(|e| format!("{}: {e}", record.place))?);
        }
        let elements = Elements::of(&old.loaded.catalogue, &new.loaded.catalogue, &record.value);
        for (who, caller) in cast {
            let caller = Arc::new(caller.clone());
            let mut judged = Vec::new();
            for (side, set) in sides.into_iter().enumerate() {
                judged.push(Judged::of(set, &caller, &profilers[side], &facts[side])?);
            }
            report.cases += 1;
            let [was, is] = [&judged[0], &judged[1]];
            for difference in elements.differences(&record.resource_type, was, is) {
                let entry = met.entry((who.clone(), difference)).or_insert_with(|| (0, record.place.clone()));
                entry.0 += 1;
            }
        }
    }
    for ((who, difference), (count, example)) in met {
        let line = Line { count: Some(count), example: Some(example), ..Line::of(&who, difference) };
        report.lines.add(line);
    }
    report.callers = cast.len();
    report.lines.sort();
    Ok(report)
}

/// What one set makes of a record.
struct Judged {
    verdict: Verdict,
    standing: Arc<Standing>,
    profile: drape_view::Profile,
}

impl Judged {
    fn of(set: &Set, caller: &Arc<Caller>, profiler: &Arc<Profiler>, facts: &Facts) -> Result<Self, String> {
        let standing = Arc::new(set.standing(caller)?);
        let judge = Arc::new(RecordJudge::new(Arc::clone(&standing)));
        let view = View::new(judge, Arc::clone(caller), Arc::clone(profiler), drape_view::Bounds::free());
        let verdict = match view.rule(facts).into_iter().next() {
            Some(Verdict::Keep(plan)) if set.silent() => {
                Verdict::Keep(plan.unsealed().map(Arc::new).unwrap_or(plan))
            }
            Some(verdict) => verdict,
            None => return Err("a record without facts".to_owned()),
        };
        Ok(Self { verdict, standing, profile: view.profile(facts) })
    }

    fn deciding(&self, category: Option<Category>) -> Vec<String> {
        self.standing.deciding(&self.profile, category)
    }
}

/// The categories of a record's elements by the catalogue of each side, by path.
struct Elements(BTreeMap<String, [Option<Category>; 2]>);

impl Elements {
    fn of(old: &Catalogue, new: &Catalogue, record: &Value) -> Self {
        let mut found: BTreeMap<String, [Option<Category>; 2]> = BTreeMap::new();
        for (side, catalogue) in [old, new].into_iter().enumerate() {
            resource(catalogue, record, "", &mut |path, category| {
                found.entry(path).or_default()[side] = Some(category);
            });
        }
        Self(found)
    }

    fn differences(&self, resource_type: &str, was: &Judged, is: &Judged) -> Vec<Difference> {
        let difference = |what: What, from: String, to: String, kind: Kind, about: [Option<Category>; 2]| {
            let [old_policies, new_policies] = [(was, about[0]), (is, about[1])].map(|(j, c)| j.deciding(c));
            Difference {
                what,
                types: vec![resource_type.to_owned()],
                from,
                to,
                kind,
                given: Vec::new(),
                unless: Vec::new(),
                more: false,
                old_policies,
                new_policies,
            }
        };
        let (Verdict::Keep(before), Verdict::Keep(after)) = (&was.verdict, &is.verdict) else {
            return verdict_differences(&was.verdict, &is.verdict)
                .into_iter()
                .map(|(what, from, to, kind)| difference(what, from, to, kind, [None, None]))
                .collect();
        };
        // Only what the record has, each element by the category that it is in on either side.
        let mut told: BTreeMap<(Category, Category), (Treatment, Treatment)> = BTreeMap::new();
        let treated = |plan: &Plan, category: Category| plan.treatment(category);
        for pair in self.0.values() {
            if let [Some(old), Some(new)] = *pair {
                let both = (treated(before, old), treated(after, new));
                if both.0 != both.1 {
                    told.insert((old, new), both);
                }
            }
        }
        told.into_iter()
            .map(|((old, new), (from, to))| {
                let kind = match (from, to) {
                    (Treatment::Redact, _) => Kind::Gained,
                    (_, Treatment::Redact) => Kind::Lost,
                    _ => Kind::Treated,
                };
                let about = [Some(old), Some(new)];
                difference(What::Category(new), treatment(from), treatment(to), kind, about)
            })
            .collect()
    }
}

fn resource(catalogue: &Catalogue, value: &Value, path: &str, take: &mut dyn FnMut(String, Category)) {
    let Some(root) = value["resourceType"].as_str().and_then(|t| catalogue.root(t)) else {
        take(path.to_owned(), Category::Unknown);
        return;
    };
    object(catalogue, root, value, path, take);
}

fn object(
    catalogue: &Catalogue,
    node: NodeId,
    value: &Value,
    path: &str,
    take: &mut dyn FnMut(String, Category),
) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let (name, beside) = match key.strip_prefix('_') {
            Some(name) => (name, true),
            None => (key.as_str(), false),
        };
        let path = format!("{path}.{key}");
        let Some(edge) = catalogue.edge(node, name) else {
            let shape = key == "resourceType";
            take(path, if shape { Category::Structure } else { Category::Unknown });
            continue;
        };
        let items: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for item in items.into_iter().filter(|item| !item.is_null()) {
            match edge.category {
                Assigned::Reference => {
                    let named = item["reference"].as_str().unwrap_or_default();
                    let kind = item["type"].as_str().or_else(|| named.rsplit('/').nth(1));
                    let target = kind.or(edge.target).unwrap_or_default();
                    take(path.clone(), Catalogue::link_category(target));
                    if item.get("display").is_some() {
                        take(format!("{path}.display"), Catalogue::display_category(target));
                    }
                }
                Assigned::Extension(inherited) => {
                    let url = item["url"].as_str().unwrap_or_default();
                    let category = catalogue.extension(url).or(inherited).unwrap_or(Category::Unknown);
                    take(format!("{path}({url})"), category);
                }
                Assigned::Fixed(_) if item["resourceType"].is_string() => {
                    resource(catalogue, item, &path, take);
                }
                Assigned::Fixed(_) if beside => {
                    object(catalogue, catalogue.primitive_node(), item, &path, take);
                }
                Assigned::Fixed(_) if item.is_object() => object(catalogue, edge.node, item, &path, take),
                Assigned::Fixed(category) => take(path.clone(), category),
            }
        }
    }
}
