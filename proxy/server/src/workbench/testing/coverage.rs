//! What the tests of a set have touched: which policies determined anything, which categories of elements were at stake.

use std::collections::BTreeSet;

use drape_policy::PolicySet;
use drape_view::catalogue::{Assigned, Kind, NodeId};
use drape_view::{Catalogue, Category, CategorySet};
use serde_json::Value;

/// What was touched.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    policies: BTreeSet<String>,
    categories: CategorySet,
}

/// What was touched of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Policies that determined something, of all policies.
    pub policies: (usize, usize),
    /// Those that did not: id and place.
    pub missed_policies: Vec<(String, String)>,
    /// Categories that a judged record had elements of, of all categories.
    pub categories: (usize, usize),
    /// Those that none had.
    pub missed_categories: Vec<&'static str>,
}

impl Coverage {
    /// Policies that determined something.
    pub fn determined<'a>(&mut self, policies: impl IntoIterator<Item = &'a String>) {
        self.policies.extend(policies.into_iter().cloned());
    }

    /// A record that was judged.
    pub fn judged(&mut self, catalogue: &Catalogue, record: &Value) {
        let resource_type = record["resourceType"].as_str().unwrap_or_default();
        if let Some(root) = catalogue.root(resource_type) {
            walk(catalogue, root, record, &mut self.categories);
        }
    }

    /// Against what there is.
    pub fn of(&self, set: &PolicySet) -> Covered {
        let (mut hit, mut missed) = (0, Vec::new());
        for (id, place) in set.ids() {
            if self.policies.contains(id) {
                hit += 1;
            } else {
                missed.push((id.to_owned(), place.to_owned()));
            }
        }
        let missed_categories: Vec<&str> =
            Category::ALL.into_iter().filter(|c| !self.categories.contains(*c)).map(Category::name).collect();
        Covered {
            policies: (hit, hit + missed.len()),
            missed_policies: missed,
            categories: (Category::COUNT - missed_categories.len(), Category::COUNT),
            missed_categories,
        }
    }
}

/// The categories of the primitive values that stand in an object.
fn walk(catalogue: &Catalogue, node: NodeId, object: &Value, found: &mut CategorySet) {
    for (key, value) in object.as_object().into_iter().flatten() {
        let Some(edge) = catalogue.edge(node, key) else { continue };
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for item in items {
            match (edge.kind, edge.category) {
                (Kind::Resource, _) => {
                    let root = item["resourceType"].as_str().and_then(|t| catalogue.root(t));
                    root.into_iter().for_each(|root| walk(catalogue, root, item, found));
                }
                (Kind::Complex, Assigned::Reference) => {
                    let target = item["reference"].as_str().and_then(|r| r.split('/').next());
                    if let Some(target) = target {
                        found.insert(Catalogue::link_category(target));
                    }
                    if item.get("identifier").is_some() {
                        found.insert(Category::Identifier);
                    }
                    if item.get("display").is_some() {
                        found.insert(Catalogue::display_category(target.unwrap_or_default()));
                    }
                }
                (Kind::Complex, Assigned::Extension(_)) => {
                    let url = item["url"].as_str().unwrap_or_default();
                    found.insert(catalogue.extension(url).unwrap_or(Category::Unknown));
                }
                (Kind::Complex, Assigned::Fixed(_)) => walk(catalogue, edge.node, item, found),
                (Kind::Primitive, Assigned::Fixed(category)) => found.insert(category),
                (Kind::Primitive, _) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_touches_the_categories_of_what_stands_in_it() {
        let record = json!({"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p", "display": "Ann"},
            "code": {"coding": [{"code": "x"}], "text": "words"}, "onsetDateTime": "2026-01-01",
            "extension": [{"url": "http://nobody.knows", "valueString": "x"}]});
        let mut coverage = Coverage::default();
        coverage.judged(Catalogue::builtin(), &record);
        let touched: Vec<Category> =
            Category::ALL.into_iter().filter(|c| coverage.categories.contains(*c)).collect();
        let mut expected = vec![
            Category::RecordId,
            Category::PatientLink,
            Category::PersonName,
            Category::Diagnosis,
            Category::Note,
            Category::EventDate,
            Category::Unknown,
        ];
        expected.sort();
        assert_eq!(touched, expected);
    }
}
