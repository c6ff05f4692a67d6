//! FHIRPath Patch (R4 fhirpatch): a `Parameters` of operations, with paths that name elements exactly.
//!
//! Of FHIRPath the paths may use names, `[n]` and `.where(name = 'text')`; any other is refused by its text.

use super::tree::Tree;
use super::{Bounds, OPERATIONS_MAX, PatchFault, misread, unfit};
use crate::definitions::{Element, r4};

/// Applies a FHIRPath Patch to a record, all of it or nothing.
pub fn fhirpath(
    record: &[u8],
    patch: &[u8],
    depth_max: usize,
    bytes_max: usize,
) -> Result<Vec<u8>, PatchFault> {
    let bounds = Bounds { depth_max, bytes_max };
    let mut record = Tree::read(record, depth_max)?;
    let patch = Tree::read(patch, depth_max)?;
    if patch.get("resourceType").and_then(Tree::as_str) != Some("Parameters") {
        return Err(misread("a FHIRPath Patch is a Parameters resource"));
    }
    let operations = patch.get("parameter").map(Tree::items).unwrap_or_default();
    if operations.len() > OPERATIONS_MAX {
        return Err(misread(format!("more than {OPERATIONS_MAX} operations")));
    }
    for operation in operations {
        if operation.get("name").and_then(Tree::as_str) != Some("operation") {
            return Err(misread("a FHIRPath Patch holds parameters called `operation` alone"));
        }
        apply(&mut record, &Parts { parts: operation.get("part").map(Tree::items).unwrap_or_default() })?;
        bounds.holds(&record)?;
    }
    Ok(record.to_json())
}

/// The parts of one operation, by name.
struct Parts<'t> {
    parts: &'t [Tree],
}

impl<'t> Parts<'t> {
    fn part(&self, name: &str) -> Result<&'t Tree, PatchFault> {
        let mut found =
            self.parts.iter().filter(|part| part.get("name").and_then(Tree::as_str) == Some(name));
        match (found.next(), found.next()) {
            (Some(part), None) => Ok(part),
            (None, _) => Err(misread(format!("an operation without `{name}`"))),
            _ => Err(misread(format!("an operation with `{name}` twice"))),
        }
    }

    fn text(&self, name: &str) -> Result<&'t str, PatchFault> {
        let (_, value) = value_of(self.part(name)?)?;
        value.as_str().ok_or_else(|| misread(format!("`{name}` is no text")))
    }

    fn number(&self, name: &str) -> Result<usize, PatchFault> {
        match value_of(self.part(name)?)? {
            (_, Tree::Word(word)) => {
                word.parse().map_err(|_| misread(format!("`{name}` is no place in a list")))
            }
            _ => Err(misread(format!("`{name}` is no place in a list"))),
        }
    }
}

/// The one `value[x]` of a part: the type as it stands in the name, and the value.
fn value_of(part: &Tree) -> Result<(&str, &Tree), PatchFault> {
    let Tree::Object(members) = part else { return Err(misread("a part is no object")) };
    let mut values = members.iter().filter_map(|(name, v)| Some((name.strip_prefix("value")?, v)));
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(misread("a part holds not one value")),
    }
}

fn apply(record: &mut Tree, parts: &Parts<'_>) -> Result<(), PatchFault> {
    let path = Path::read(parts.text("path")?)?;
    let kind = parts.text("type")?;
    let root = record.get("resourceType").and_then(Tree::as_str).and_then(|t| r4().resource_type(t));
    let root = root.filter(|root| *root == path.root).ok_or_else(|| path.missing())?;
    match kind {
        "add" => {
            let name = parts.text("name")?;
            let (place, of) = path.one(record, root)?;
            let value = made(parts.part("value")?, name, of)?;
            let parent = at(record, &place).ok_or_else(|| path.missing())?;
            if value.list {
                match parent.get_mut(&value.name) {
                    Some(Tree::Array(items)) => items.push(value.tree),
                    Some(_) => return Err(unfit(format!("`{name}` is no list"))),
                    None => parent.set(&value.name, Tree::Array(vec![value.tree])),
                }
                return Ok(());
            }
            if parent.get(&value.name).is_some() {
                return Err(unfit(format!("`{}.{name}` is there already; replace it", path.text)));
            }
            parent.set(&value.name, value.tree);
            Ok(())
        }
        "insert" => {
            let (place, name, of) = path.list(record, root)?;
            let value = made(parts.part("value")?, &name, of)?;
            let index = parts.number("index")?;
            match at(record, &place) {
                Some(Tree::Array(items)) if index <= items.len() => items.insert(index, value.tree),
                _ => return Err(path.missing()),
            }
            Ok(())
        }
        "move" => {
            let (place, ..) = path.list(record, root)?;
            let (source, destination) = (parts.number("source")?, parts.number("destination")?);
            match at(record, &place) {
                Some(Tree::Array(items)) if source.max(destination) < items.len() => {
                    let item = items.remove(source);
                    items.insert(destination, item);
                }
                _ => return Err(path.missing()),
            }
            Ok(())
        }
        "delete" => {
            // To take out what is not there is no fault (R4 fhirpatch).
            let found = path.all(record, root)?;
            match found.as_slice() {
                [] => Ok(()),
                [(place, _)] => {
                    take(record, place);
                    Ok(())
                }
                _ => Err(path.several()),
            }
        }
        "replace" => {
            let (place, _) = path.one(record, root)?;
            let (name, of) = path.last(record, root)?;
            let value = made(parts.part("value")?, &name, of)?;
            match place.last() {
                Some(Step::Item(_)) => {
                    if let Some(there) = at(record, &place) {
                        *there = value.tree;
                    }
                }
                Some(Step::Member(_)) => {
                    let (_, parents) = place.split_last().ok_or_else(|| path.missing())?;
                    // Another form of a choice goes with what it replaces.
                    take(record, &place);
                    let parent = at(record, parents).ok_or_else(|| path.missing())?;
                    parent.set(&value.name, value.tree);
                }
                None => {
                    return Err(unfit("the whole record is not replaced by a patch; send it as an update"));
                }
            }
            Ok(())
        }
        other => Err(misread(format!("`{other}` is no operation of FHIRPath Patch"))),
    }
}

/// One step from a value to one within it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Item(usize),
}

fn at<'t>(record: &'t mut Tree, place: &[Step]) -> Option<&'t mut Tree> {
    place.iter().try_fold(record, |at, step| match (step, at) {
        (Step::Member(name), at) => at.get_mut(name),
        (Step::Item(place), Tree::Array(items)) => items.get_mut(*place),
        _ => None,
    })
}

fn seen<'t>(record: &'t Tree, place: &[Step]) -> Option<&'t Tree> {
    place.iter().try_fold(record, |at, step| match step {
        Step::Member(name) => at.get(name),
        Step::Item(place) => at.items().get(*place),
    })
}

/// Takes out a value, what stands beside it, and the list that would be left empty.
fn take(record: &mut Tree, place: &[Step]) {
    match place.split_last() {
        Some((Step::Member(name), parents)) => {
            if let Some(parent) = at(record, parents) {
                parent.remove(name);
                parent.remove(&format!("_{name}"));
            }
        }
        Some((Step::Item(index), list)) => {
            let Some((Step::Member(name), parents)) = list.split_last() else { return };
            let Some(parent) = at(record, parents) else { return };
            for name in [name.clone(), format!("_{name}")] {
                if let Some(Tree::Array(items)) = parent.get_mut(&name) {
                    if *index < items.len() {
                        items.remove(*index);
                    }
                    if items.is_empty() {
                        parent.remove(&name);
                    }
                }
            }
        }
        None => {}
    }
}

/// A value to be put in, under the name that it has in JSON.
struct Made {
    name: String,
    list: bool,
    tree: Tree,
}

/// Makes the value of an element from a part: `value[x]`, or parts of its own where its type has no name.
fn made(part: &Tree, name: &str, of: &'static str) -> Result<Made, PatchFault> {
    let element = element(of, name).ok_or_else(|| unfit(format!("`{name}` is no element of {of}")))?;
    if let Some(inner) = part.get("part") {
        let children = element.json_names().next().map(|(_, data_type)| r4().children_of(element, data_type));
        let children = children.ok_or_else(|| unfit(format!("`{name}` has no elements")))?;
        let mut tree = Tree::Object(Vec::new());
        for inner in inner.items() {
            let name =
                inner.get("name").and_then(Tree::as_str).ok_or_else(|| misread("a part without a name"))?;
            let value = made(inner, name, children)?;
            match (value.list, tree.get_mut(&value.name)) {
                (true, Some(Tree::Array(items))) => items.push(value.tree),
                (true, _) => tree.set(&value.name, Tree::Array(vec![value.tree])),
                (false, None) => tree.set(&value.name, value.tree),
                (false, Some(_)) => return Err(misread(format!("`{name}` stands twice"))),
            }
        }
        return Ok(Made { name: name.to_owned(), list: element.list, tree });
    }
    let (data_type, value) = value_of(part)?;
    let names: Vec<(String, &str)> = element.json_names().map(|(n, t)| (n.to_string(), t)).collect();
    let chosen = match names.as_slice() {
        [(only, _)] => only.clone(),
        several => {
            let fits = several.iter().find(|(_, t)| t.eq_ignore_ascii_case(data_type));
            fits.ok_or_else(|| unfit(format!("`{name}` can be no {data_type}")))?.0.clone()
        }
    };
    Ok(Made { name: chosen, list: element.list, tree: value.clone() })
}

/// The element of that FHIRPath name: `value` is the choice `value[x]`.
fn element(of: &'static str, name: &str) -> Option<&'static Element> {
    r4().elements(of).iter().find(|e| e.name.trim_end_matches("[x]") == name)
}

/// A path that names elements exactly.
struct Path {
    text: String,
    root: String,
    segments: Vec<Segment>,
}

struct Segment {
    name: String,
    filters: Vec<Filter>,
}

enum Filter {
    Index(usize),
    Where(String, String),
}

/// An element that a path leads to, and the definition of what is in it.
type Found = (Vec<Step>, &'static str);

impl Path {
    fn read(text: &str) -> Result<Self, PatchFault> {
        let fault = || {
            misread(format!(
                "the path `{text}` is not understood; it may use names, `[0]` and `.where(name = 'text')`"
            ))
        };
        let mut rest = text.trim();
        let (root, mut segments): (String, Vec<Segment>) = (word(&mut rest).ok_or_else(fault)?, Vec::new());
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('[') {
                let (digits, after) = after.split_once(']').ok_or_else(fault)?;
                let index = Filter::Index(digits.parse().map_err(|_| fault())?);
                segments.last_mut().ok_or_else(fault)?.filters.push(index);
                rest = after;
            } else if let Some(after) = rest.strip_prefix(".where(") {
                let mut after = after.trim_start();
                let name = word(&mut after).ok_or_else(fault)?;
                let after = after.trim_start().strip_prefix('=').ok_or_else(fault)?.trim_start();
                let (value, after) =
                    after.strip_prefix('\'').and_then(|v| v.split_once('\'')).ok_or_else(fault)?;
                if value.contains('\\') {
                    return Err(fault());
                }
                let filter = Filter::Where(name, value.to_owned());
                segments.last_mut().ok_or_else(fault)?.filters.push(filter);
                rest = after.trim_start().strip_prefix(')').ok_or_else(fault)?;
            } else {
                rest = rest.strip_prefix('.').ok_or_else(fault)?;
                let name = word(&mut rest).ok_or_else(fault)?;
                segments.push(Segment { name, filters: Vec::new() });
            }
        }
        Ok(Self { text: text.to_owned(), root, segments })
    }

    fn missing(&self) -> PatchFault {
        unfit(format!("nothing stands at `{}`", self.text))
    }

    fn several(&self) -> PatchFault {
        unfit(format!("`{}` names more than one element", self.text))
    }

    /// All elements that it leads to.
    fn all(&self, record: &Tree, root: &'static str) -> Result<Vec<Found>, PatchFault> {
        self.walk(record, root, &self.segments)
    }

    fn walk(
        &self,
        record: &Tree,
        root: &'static str,
        segments: &[Segment],
    ) -> Result<Vec<Found>, PatchFault> {
        let mut found: Vec<Found> = vec![(Vec::new(), root)];
        for segment in segments {
            let mut next = Vec::new();
            for (place, of) in found {
                let element = element(of, &segment.name)
                    .ok_or_else(|| unfit(format!("`{}` is no element of {of}", segment.name)))?;
                for (name, data_type) in element.json_names() {
                    let mut place = place.clone();
                    place.push(Step::Member(name.to_string()));
                    let children = r4().children_of(element, data_type);
                    match seen(record, &place) {
                        Some(Tree::Array(items)) => next.extend((0..items.len()).map(|index| {
                            let mut place = place.clone();
                            place.push(Step::Item(index));
                            (place, children)
                        })),
                        Some(_) => next.push((place, children)),
                        None => {}
                    }
                }
            }
            for filter in &segment.filters {
                next = match filter {
                    Filter::Index(index) => next.into_iter().nth(*index).into_iter().collect(),
                    Filter::Where(name, value) => next
                        .into_iter()
                        .filter(|(place, _)| {
                            let there = seen(record, place).and_then(|t| t.get(name));
                            there.and_then(Tree::as_str) == Some(value)
                        })
                        .collect(),
                };
            }
            found = next;
        }
        Ok(found)
    }

    fn one(&self, record: &Tree, root: &'static str) -> Result<Found, PatchFault> {
        let mut found = self.all(record, root)?;
        match (found.pop(), found.is_empty()) {
            (Some(found), true) => Ok(found),
            (Some(_), false) => Err(self.several()),
            (None, _) => Err(self.missing()),
        }
    }

    /// The name of the last element, and the definition of what it stands in.
    fn last(&self, record: &Tree, root: &'static str) -> Result<(String, &'static str), PatchFault> {
        let (last, before) = self.segments.split_last().ok_or_else(|| self.missing())?;
        let found = self.walk(record, root, before)?;
        let (_, of) = found.first().ok_or_else(|| self.missing())?;
        Ok((last.name.clone(), of))
    }

    /// The list that it leads to, as a whole.
    fn list(
        &self,
        record: &Tree,
        root: &'static str,
    ) -> Result<(Vec<Step>, String, &'static str), PatchFault> {
        let (last, before) = self.segments.split_last().ok_or_else(|| self.missing())?;
        let mut found = self.walk(record, root, before)?;
        let (Some((mut place, of)), true) = (found.pop(), found.is_empty()) else {
            return Err(if found.is_empty() { self.missing() } else { self.several() });
        };
        place.push(Step::Member(last.name.clone()));
        let is_list = matches!(seen(record, &place), Some(Tree::Array(_)));
        // A list of primitives with a list beside it would come apart.
        let mut beside = place.clone();
        beside.pop();
        beside.push(Step::Member(format!("_{}", last.name)));
        if !is_list || !last.filters.is_empty() || seen(record, &beside).is_some() {
            return Err(self.missing());
        }
        Ok((place, last.name.clone(), of))
    }
}

/// A name at the beginning of what is left.
fn word(rest: &mut &str) -> Option<String> {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record() -> Value {
        json!({"resourceType": "Patient", "id": "1", "birthDate": "1980-01-01", "_birthDate": {"id": "b"},
            "identifier": [{"system": "a", "value": "1"}, {"system": "b", "value": "2"}],
            "name": [{"family": "Lee", "given": ["Ann", "Bea"]}], "deceasedBoolean": true})
    }

    fn operation(parts: Value) -> Value {
        let parts: Vec<Value> = parts
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| match value {
                Value::Object(_) => {
                    let mut part = value.clone();
                    part["name"] = json!(name);
                    part
                }
                Value::Number(_) => json!({"name": name, "valueInteger": value}),
                _ => json!({"name": name, "valueString": value}),
            })
            .collect();
        json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]})
    }

    fn patched(parts: Value) -> Result<Value, PatchFault> {
        let patch = operation(parts).to_string();
        let out = fhirpath(record().to_string().as_bytes(), patch.as_bytes(), 32, 10_000)?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn operations_do_what_the_standard_says() {
        let with = |change: &dyn Fn(&mut Value)| {
            let mut record = record();
            change(&mut record);
            record
        };
        let ok = |parts: Value| patched(parts).unwrap();
        assert_eq!(
            ok(
                json!({"type": "replace", "path": "Patient.name[0].given[1]", "value": {"valueString": "Cat"}})
            ),
            with(&|r| r["name"][0]["given"][1] = json!("Cat"))
        );
        assert_eq!(
            ok(
                json!({"type": "replace", "path": "Patient.identifier.where(system='b').value", "value": {"valueString": "3"}})
            ),
            with(&|r| r["identifier"][1]["value"] = json!("3"))
        );
        assert_eq!(
            ok(json!({"type": "delete", "path": "Patient.birthDate"})),
            with(&|r| {
                r.as_object_mut().unwrap().remove("birthDate");
                r.as_object_mut().unwrap().remove("_birthDate");
            })
        );
        assert_eq!(ok(json!({"type": "delete", "path": "Patient.telecom"})), record());
        assert_eq!(
            ok(json!({"type": "add", "path": "Patient", "name": "gender", "value": {"valueCode": "female"}})),
            with(&|r| r["gender"] = json!("female"))
        );
        assert_eq!(
            ok(json!({"type": "add", "path": "Patient", "name": "contact", "value":
                {"part": [{"name": "name", "valueHumanName": {"text": "a"}}, {"name": "gender", "valueCode": "male"}]}})),
            with(&|r| r["contact"] = json!([{"name": {"text": "a"}, "gender": "male"}]))
        );
        assert_eq!(
            ok(
                json!({"type": "insert", "path": "Patient.identifier", "index": 1, "value": {"valueIdentifier": {"value": "x"}}})
            )["identifier"][1],
            json!({"value": "x"})
        );
        assert_eq!(
            ok(json!({"type": "move", "path": "Patient.identifier", "source": 1, "destination": 0}))["identifier"]
                [0]["system"],
            "b"
        );
        assert_eq!(
            ok(json!({"type": "replace", "path": "Patient.deceased", "value": {"valueDateTime": "2020"}})),
            with(&|r| {
                r.as_object_mut().unwrap().remove("deceasedBoolean");
                r["deceasedDateTime"] = json!("2020");
            })
        );
    }

    #[test]
    fn other_paths_are_refused_by_their_text_and_what_is_not_there_by_its_place() {
        for (parts, unprocessable) in [
            (
                json!({"type": "replace", "path": "Patient.telecom[0].value", "value": {"valueString": "x"}}),
                true,
            ),
            (
                json!({"type": "replace", "path": "Patient.identifier.value", "value": {"valueString": "x"}}),
                true,
            ),
            (
                json!({"type": "add", "path": "Patient", "name": "birthDate", "value": {"valueDate": "2000"}}),
                true,
            ),
            (
                json!({"type": "add", "path": "Patient", "name": "nonsense", "value": {"valueDate": "2000"}}),
                true,
            ),
            (json!({"type": "delete", "path": "Patient.identifier"}), true),
            (json!({"type": "delete", "path": "Observation.status"}), true),
            (json!({"type": "move", "path": "Patient.identifier", "source": 5, "destination": 0}), true),
            (json!({"type": "delete", "path": "Patient.name.first()"}), false),
            (json!({"type": "delete", "path": "Patient.name | Patient.telecom"}), false),
            (json!({"type": "delete", "path": "Patient.identifier.where(system != 'a')"}), false),
            (json!({"type": "delete", "path": ""}), false),
            (json!({"type": "jump", "path": "Patient.name"}), false),
            (json!({"path": "Patient.name"}), false),
        ] {
            let fault = patched(parts.clone()).unwrap_err();
            assert_eq!(fault.unprocessable, unprocessable, "{parts}: {fault}");
        }
    }
}
