//! JSON Patch (RFC 6902) by JSON Pointers (RFC 6901).

use super::tree::Tree;
use super::{Bounds, OPERATIONS_MAX, PatchFault, misread, unfit};

/// Applies a JSON Patch to a record, all of it or nothing.
pub fn json(record: &[u8], patch: &[u8], depth_max: usize, bytes_max: usize) -> Result<Vec<u8>, PatchFault> {
    let bounds = Bounds { depth_max, bytes_max };
    let mut record = Tree::read(record, depth_max)?;
    let Tree::Array(operations) = Tree::read(patch, depth_max)? else {
        return Err(misread("a JSON Patch is a list of operations"));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(misread(format!("more than {OPERATIONS_MAX} operations")));
    }
    for operation in &operations {
        apply(&mut record, operation)?;
        bounds.holds(&record)?;
    }
    Ok(record.to_json())
}

fn apply(record: &mut Tree, operation: &Tree) -> Result<(), PatchFault> {
    let text = |name: &str| {
        let value = operation.get(name).and_then(Tree::as_str);
        value.ok_or_else(|| misread(format!("an operation without `{name}`")))
    };
    let value = || operation.get("value").ok_or_else(|| misread("an operation without `value`"));
    let path = Pointer::read(text("path")?)?;
    match text("op")? {
        "add" => add(record, &path, value()?.clone()),
        "remove" => remove(record, &path).map(drop),
        "replace" => {
            let value = value()?.clone();
            *found_mut(record, &path)? = value;
            Ok(())
        }
        "test" => {
            let wanted = value()?;
            match found(record, &path) {
                Ok(there) if there.equals(wanted) => Ok(()),
                _ => Err(unfit(format!("the test of `{}` does not hold", path.text))),
            }
        }
        "copy" => {
            let value = found(record, &Pointer::read(text("from")?)?)?.clone();
            add(record, &path, value)
        }
        "move" => {
            let from = Pointer::read(text("from")?)?;
            if path.steps.starts_with(&from.steps) && path.steps.len() > from.steps.len() {
                return Err(unfit(format!("`{}` cannot be moved into itself", from.text)));
            }
            let value = remove(record, &from)?;
            add(record, &path, value)
        }
        other => Err(misread(format!("`{other}` is no operation of JSON Patch"))),
    }
}

struct Pointer {
    text: String,
    steps: Vec<String>,
}

impl Pointer {
    fn read(text: &str) -> Result<Self, PatchFault> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(misread(format!("`{text}` is no JSON Pointer")));
        }
        let steps = text.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        Ok(Self { text: text.to_owned(), steps: steps.collect() })
    }

    fn missing(&self) -> PatchFault {
        unfit(format!("nothing stands at `{}`", self.text))
    }

    /// The steps to the parent, and the last one.
    fn parted(&self) -> Result<(&[String], &str), PatchFault> {
        match self.steps.split_last() {
            Some((last, parents)) => Ok((parents, last)),
            None => Err(unfit("the whole record is not replaced by a patch; send it as an update")),
        }
    }
}

/// An index without a sign or leading zeros, below `end`.
fn index(text: &str, end: usize) -> Option<usize> {
    let plain = text == "0" || !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|at| plain && *at < end)
}

fn found<'t>(record: &'t Tree, path: &Pointer) -> Result<&'t Tree, PatchFault> {
    path.steps
        .iter()
        .try_fold(record, |at, step| match at {
            Tree::Object(_) => at.get(step),
            Tree::Array(items) => index(step, items.len()).map(|place| &items[place]),
            _ => None,
        })
        .ok_or_else(|| path.missing())
}

fn walk_mut<'t>(record: &'t mut Tree, steps: &[String]) -> Option<&'t mut Tree> {
    steps.iter().try_fold(record, |at, step| match at {
        Tree::Object(_) => at.get_mut(step),
        Tree::Array(items) => index(step, items.len()).map(|place| &mut items[place]),
        _ => None,
    })
}

fn found_mut<'t>(record: &'t mut Tree, path: &Pointer) -> Result<&'t mut Tree, PatchFault> {
    path.parted()?;
    walk_mut(record, &path.steps).ok_or_else(|| path.missing())
}

fn add(record: &mut Tree, path: &Pointer, value: Tree) -> Result<(), PatchFault> {
    let (parents, last) = path.parted()?;
    match walk_mut(record, parents) {
        Some(parent @ Tree::Object(_)) => parent.set(last, value),
        Some(Tree::Array(items)) if last == "-" => items.push(value),
        Some(Tree::Array(items)) => {
            let place = index(last, items.len() + 1).ok_or_else(|| path.missing())?;
            items.insert(place, value);
        }
        _ => return Err(path.missing()),
    }
    Ok(())
}

fn remove(record: &mut Tree, path: &Pointer) -> Result<Tree, PatchFault> {
    let (parents, last) = path.parted()?;
    let taken = match walk_mut(record, parents) {
        Some(parent @ Tree::Object(_)) => parent.remove(last),
        Some(Tree::Array(items)) => index(last, items.len()).map(|place| items.remove(place)),
        _ => None,
    };
    taken.ok_or_else(|| path.missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patched(record: &str, patch: &str) -> Result<String, PatchFault> {
        json(record.as_bytes(), patch.as_bytes(), 32, 10_000).map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn operations_do_what_the_standard_says() {
        for (record, patch, expected) in [
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":[2.50]}]"#, r#"{"a":1,"b":[2.50]}"#),
            (r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2,3]}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":"z"}]"#, r#"{"a":[1,"z"]}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"remove","path":"/a"}]"#, r#"{"b":2}"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"replace","path":"/a/b","value":null}]"#, r#"{"a":{"b":null}}"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, r#"{"a":{},"c":1}"#),
            (r#"{"a":[1]}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, r#"{"a":[1],"b":[1]}"#),
            (r#"{"a/b~":1.0}"#, r#"[{"op":"test","path":"/a~1b~0","value":1}]"#, r#"{"a/b~":1.0}"#),
        ] {
            assert_eq!(patched(record, patch).unwrap(), expected, "{patch}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_by_its_pointer_and_what_is_not_understood_apart() {
        let record = r#"{"a":[1],"b":{"c":"d"}}"#;
        for (patch, unprocessable) in [
            (r#"[{"op":"remove","path":"/x"}]"#, true),
            (r#"[{"op":"replace","path":"/x","value":1}]"#, true),
            (r#"[{"op":"test","path":"/x","value":1}]"#, true),
            (r#"[{"op":"test","path":"/b/c","value":"e"}]"#, true),
            (r#"[{"op":"copy","from":"/x","path":"/b/d"}]"#, true),
            (r#"[{"op":"move","from":"/b","path":"/b/c"}]"#, true),
            (r#"[{"op":"add","path":"/a/01","value":1}]"#, true),
            (r#"[{"op":"add","path":"/a/3","value":1}]"#, true),
            (r#"[{"op":"replace","path":"","value":{}}]"#, true),
            (r#"[{"op":"add","path":"a","value":1}]"#, false),
            (r#"[{"op":"add","path":"/a"}]"#, false),
            (r#"[{"op":"jump","path":"/a"}]"#, false),
            (r#"{"op":"add"}"#, false),
            (r#"[{"op":"add","op":"add"}]"#, false),
        ] {
            let fault = patched(record, patch).unwrap_err();
            assert_eq!(fault.unprocessable, unprocessable, "{patch}: {fault}");
        }
    }

    #[test]
    fn a_patch_cannot_make_a_record_grow_without_bound() {
        let copy = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        let patch = format!("[{}]", [copy; 40].join(","));
        assert!(patched(r#"{"a":["0123456789"]}"#, &patch).unwrap_err().unprocessable);
    }
}
