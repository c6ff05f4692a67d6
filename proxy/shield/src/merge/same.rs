//! Whether two JSON values say the same: members in any order, numbers digit for digit, sealed elements by what is in
//! them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use drape_fhir::json::Kind as J;
use drape_keys::DataKey;
use drape_keys::envelope::{self, Place};

use super::Doc;
use crate::ENCRYPTED_ELEMENT;

/// What opens the sealed elements of a record.
pub(super) struct Opener<'a> {
    pub(super) key: Option<&'a DataKey>,
    pub(super) tenant: &'a str,
    pub(super) resource_type: &'a str,
    pub(super) binding: &'a str,
    /// The path of the value that is looked at, without the type.
    pub(super) path: Vec<String>,
}

/// Whether the values say the same. Without an opener two sealed elements are the same only byte for byte.
pub(super) fn same(
    (a, i): (&Doc<'_>, usize),
    (b, j): (&Doc<'_>, usize),
    opener: &mut Option<Opener<'_>>,
) -> bool {
    match (a.kind(i), b.kind(j)) {
        (J::ObjectStart, J::ObjectStart) => {
            if let Some(opener) = opener
                && let (Some(one), Some(other)) = (sealed(a, i), sealed(b, j))
            {
                return one == other || opener.opened(&one).is_some_and(|o| opener.opened(&other) == Some(o));
            }
            let there: HashMap<_, usize> =
                b.tape.members(j).map(|(key, value)| (b.tape.name(b.text, key), value)).collect();
            let mut count = 0;
            for (key, value) in a.tape.members(i) {
                count += 1;
                let name = a.tape.name(a.text, key);
                let Some(other) = there.get(&*name) else { return false };
                if let Some(opener) = opener {
                    let base = String::from_utf8_lossy(&name);
                    opener.path.push(base.strip_prefix('_').unwrap_or(&base).to_owned());
                }
                let alike = same((a, value), (b, *other), opener);
                if let Some(opener) = opener {
                    opener.path.pop();
                }
                if !alike {
                    return false;
                }
            }
            count == there.len()
        }
        (J::ArrayStart, J::ArrayStart) => {
            let (mut left, mut right) = (a.tape.items(i), b.tape.items(j));
            loop {
                match (left.next(), right.next()) {
                    (None, None) => return true,
                    (Some(i), Some(j)) if same((a, i), (b, j), opener) => {}
                    _ => return false,
                }
            }
        }
        (J::String, J::String) => a.tape.text(a.text, i) == b.tape.text(b.text, j),
        (one, other) => one == other && a.tape.raw(a.text, i) == b.tape.raw(b.text, j),
    }
}

/// The ciphertext of a sealed element: an object of two extensions, the second of which holds it.
fn sealed(doc: &Doc<'_>, i: usize) -> Option<String> {
    let mut members = doc.tape.members(i);
    let (key, list) = members.next()?;
    let alone = members.next().is_none();
    if !alone || !doc.tape.says(doc.text, key, "extension") || doc.kind(list) != J::ArrayStart {
        return None;
    }
    let items: Vec<usize> = doc.tape.items(list).take(3).collect();
    let [_, second] = items[..] else { return None };
    let url = doc.tape.string(doc.text, second, "url")?;
    (url == ENCRYPTED_ELEMENT)
        .then(|| doc.tape.string(doc.text, second, "valueBase64Binary").map(|text| text.into_owned()))?
}

impl Opener<'_> {
    fn opened(&self, text: &str) -> Option<Vec<u8>> {
        let mut path = self.resource_type.to_owned();
        for step in &self.path {
            path.push('.');
            path.push_str(step);
        }
        let place = Place {
            tenant: self.tenant,
            resource_type: self.resource_type,
            binding: self.binding,
            path: &path,
        };
        envelope::open(self.key?, &place, &STANDARD.decode(text).ok()?).ok()
    }
}
