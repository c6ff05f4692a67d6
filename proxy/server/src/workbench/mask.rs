//! Records with each value replaced by the category that it belongs to, so that an answer can be shown and tells nothing.

use drape_view::catalogue::{Assigned, Edge, Kind, NodeId};
use drape_view::{Catalogue, Category, CategorySet, Treatment};
use serde_json::{Map, Value};

/// The categories that stand in a record.
pub fn categories(catalogue: &Catalogue, resource: &Value) -> CategorySet {
    let mut found = CategorySet::EMPTY;
    let mut resource = resource.clone();
    Walk { catalogue, each: &mut |_, category| found.insert(category) }.resource(&mut resource);
    found
}

/// The answer with each value replaced by its category, and by its treatment where that is the same in every record.
/// Types, and what a Bundle says of itself, stay; so does an OperationOutcome, which Drape wrote itself.
pub fn masked(
    catalogue: &Catalogue,
    answer: &Value,
    treatment: impl Fn(Category) -> Option<Treatment>,
) -> Value {
    let mut masked = answer.clone();
    let mut each = |value: &mut Value, category: Category| {
        *value = match treatment(category).filter(|t| *t != Treatment::Show) {
            Some(treatment) => format!("‹{category}, {}›", treatment.name()).into(),
            None => format!("‹{category}›").into(),
        };
    };
    let mut walk = Walk { catalogue, each: &mut each };
    match masked["resourceType"].as_str() {
        Some("OperationOutcome" | "CapabilityStatement") => {}
        Some("Bundle") => {
            for link in masked["link"].as_array_mut().into_iter().flatten() {
                link["url"] = "…".into();
            }
            for entry in masked["entry"].as_array_mut().into_iter().flatten() {
                if let Some(url) = entry.get_mut("fullUrl") {
                    (walk.each)(url, Category::RecordId);
                }
                if let Some(resource) = entry.get_mut("resource") {
                    walk.resource(resource);
                }
            }
            if let Some(id) = masked.get_mut("id") {
                *id = "…".into();
            }
        }
        _ => walk.resource(&mut masked),
    }
    masked
}

struct Walk<'a> {
    catalogue: &'a Catalogue,
    each: &'a mut dyn FnMut(&mut Value, Category),
}

impl Walk<'_> {
    fn resource(&mut self, resource: &mut Value) {
        let node = resource["resourceType"].as_str().and_then(|t| self.catalogue.root(t));
        match (resource.as_object_mut(), node) {
            (Some(members), Some(node)) => self.object(members, node, None),
            _ => self.all(resource, Category::Unknown),
        }
    }

    /// `outer`: the category of the extension that it stands in.
    fn object(&mut self, members: &mut Map<String, Value>, node: NodeId, outer: Option<Category>) {
        for (key, value) in members {
            if key == "resourceType" {
                continue;
            }
            let (name, beside) = match key.strip_prefix('_') {
                Some(name) => (name, true),
                None => (key.as_str(), false),
            };
            let Some(edge) = self.catalogue.edge(node, name).copied() else {
                self.all(value, Category::Unknown);
                continue;
            };
            match value {
                Value::Array(items) => {
                    for item in items.iter_mut().filter(|item| !item.is_null()) {
                        self.value(item, &edge, beside, outer);
                    }
                }
                value => self.value(value, &edge, beside, outer),
            }
        }
    }

    fn value(&mut self, value: &mut Value, edge: &Edge, beside: bool, outer: Option<Category>) {
        if beside {
            match value.as_object_mut() {
                Some(members) => self.object(members, self.catalogue.primitive_node(), outer),
                None => self.all(value, Category::Unknown),
            }
            return;
        }
        match (edge.kind, edge.category) {
            (Kind::Resource, _) => self.resource(value),
            (Kind::Primitive, Assigned::Fixed(category)) if !value.is_object() => {
                (self.each)(value, category);
            }
            (Kind::Complex, Assigned::Fixed(_)) if value.is_object() => {
                if let Some(members) = value.as_object_mut() {
                    self.object(members, edge.node, outer);
                }
            }
            (Kind::Complex, Assigned::Reference) => {
                let category = link(value, edge);
                self.all(value, category);
            }
            (Kind::Complex, Assigned::Extension(fallback)) => {
                let url = value["url"].as_str().unwrap_or_default();
                let inner = fallback.or(outer).filter(|_| !url.contains(':'));
                let category = self.catalogue.extension(url).or(inner).unwrap_or(Category::Unknown);
                let node = self.catalogue.extension_node(category);
                match value.as_object_mut() {
                    Some(members) => self.object(members, node, Some(category)),
                    None => self.all(value, category),
                }
            }
            _ => self.all(value, Category::Unknown),
        }
    }

    /// Every value there, whatever its place.
    fn all(&mut self, value: &mut Value, category: Category) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.all(item, category)),
            Value::Object(members) => members.values_mut().for_each(|member| self.all(member, category)),
            Value::Null => {}
            value => (self.each)(value, category),
        }
    }
}

/// The category of a Reference: by the type of what it names.
fn link(reference: &Value, edge: &Edge) -> Category {
    let text = reference["reference"].as_str().unwrap_or_default();
    let named = text.rsplit('/').nth(1);
    let kind = named.or(reference["type"].as_str()).or(edge.target);
    Catalogue::link_category(kind.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> Value {
        json!({
            "resourceType": "Condition", "id": "secret-1", "subject": {"reference": "Patient/secret-2", "display": "Secret"},
            "code": {"coding": [{"code": "secret-3"}], "text": "secret-4"}, "note": [{"text": "secret-5"}],
            "contained": [{"resourceType": "Patient", "id": "secret-6", "name": [{"family": "secret-7"}]}],
            "onsetDateTime": "2020-secret", "_onsetDateTime": {"extension": [{"url": "http://secret", "valueString": "secret-8"}]},
            "madeUp": {"deep": ["secret-9"]}, "extension": [{"url": "http://secret.example", "valueInteger": 7}],
        })
    }

    #[test]
    fn no_value_of_a_record_is_left_and_every_type_is() {
        let masked = masked(Catalogue::builtin(), &record(), |_| None);
        let text = masked.to_string();
        assert!(!text.to_lowercase().contains("secret") && !text.contains('7'), "{text}");
        assert_eq!(masked["resourceType"], "Condition");
        assert_eq!(masked["contained"][0]["resourceType"], "Patient");
        assert_eq!(masked["contained"][0]["name"][0]["family"], "‹person-name›");
        assert_eq!(masked["subject"]["reference"], "‹patient-link›");
        assert_eq!(masked["code"]["text"].as_str().unwrap().matches('‹').count(), 1);
        assert_eq!(masked["madeUp"]["deep"][0], "‹unknown›");
    }

    #[test]
    fn a_bundle_says_what_it_is_and_its_records_say_how_they_were_treated() {
        let bundle = json!({"resourceType": "Bundle", "type": "searchset", "link": [{"relation": "self", "url": "http://x/secret"}],
            "entry": [{"fullUrl": "http://x/Condition/secret", "resource": record()}]});
        let masked = masked(Catalogue::builtin(), &bundle, |c| {
            (c == Category::RecordId).then_some(Treatment::Pseudonymize)
        });
        assert_eq!(masked["type"], "searchset");
        assert_eq!(masked["link"][0]["relation"], "self");
        assert_eq!(masked["entry"][0]["resource"]["id"], "‹record-id, pseudonymize›");
        assert!(!masked.to_string().to_lowercase().contains("secret"), "{masked}");
    }

    #[test]
    fn the_categories_of_a_record_are_those_that_stand_in_it() {
        let found = categories(Catalogue::builtin(), &record());
        for category in [Category::RecordId, Category::PatientLink, Category::Note, Category::PersonName] {
            assert!(found.contains(category), "{category}");
        }
        assert!(!found.contains(Category::Financial) && !found.contains(Category::Genomic));
    }
}
