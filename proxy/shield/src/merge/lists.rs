//! Lists: whose items may have come back in another order, changed, fewer or more.

use drape_fhir::json::Kind as J;
use drape_view::Plan;
use drape_view::catalogue::{Edge, Kind};

use super::walk::{At, Refused, Trio, Walk};
use super::{Doc, ITEMS_MAX};

/// An item and, for primitives, what stands beside it.
type Item = [At; 2];

impl Walk<'_> {
    /// A list, or for primitives the two lists that belong together by position.
    ///
    /// An item of N is the one of V that it equals, else the one with the same `id`, else the one at its place where
    /// both have equally many. Items of S that are hidden whole stay behind the item that they stood behind.
    pub(super) fn list(
        &mut self,
        s: [At; 2],
        v: [At; 2],
        n: [At; 2],
        edge: &Edge,
        plan: &Plan,
    ) -> Result<[Option<Vec<u8>>; 2], Refused> {
        let (Some(stored), Some(shown), Some(sent)) =
            (zipped(self.s, s), zipped(self.v, v), zipped(self.n, n))
        else {
            return Err(self.partly());
        };
        if stored.len().max(sent.len()) > ITEMS_MAX {
            return Err(Refused(format!("{} has more than {ITEMS_MAX} items", self.here())));
        }
        let origins: Vec<Option<usize>> = shown.iter().map(|item| self.origin(item, &stored)).collect();
        let matched = self.matched(&shown, &origins, &sent);
        for (place, origin) in origins.iter().enumerate() {
            if !matched.contains(&Some(place))
                && let Some(origin) = *origin
                && !stored[origin].iter().flatten().all(|i| self.of_s.is_whole(*i))
            {
                self.path.push(format!("[{place}]"));
                let refused = self.not_removed();
                self.path.pop();
                return Err(refused);
            }
        }
        let kept: Vec<usize> = matched.iter().flatten().filter_map(|place| origins[*place]).collect();
        let mut hidden = Hidden::new(&stored, &origins, &kept);
        let mut out: Vec<[Option<Vec<u8>>; 2]> = Vec::new();
        out.extend(hidden.behind(None).into_iter().map(|i| stored[i].map(|at| self.restored(at))));
        for (place, item) in sent.iter().enumerate() {
            let seen = matched[place];
            let origin = seen.and_then(|seen| origins[seen]);
            self.path.push(format!("[{place}]"));
            let merged = match (seen, origin) {
                // Drape's own: a label, or what stands for a list that is hidden.
                (Some(_), None) => Ok(None),
                _ => self.item(
                    [0, 1].map(|side| Trio {
                        s: origin.and_then(|i| stored[i][side]),
                        v: seen.and_then(|i| shown[i][side]),
                        n: item[side],
                    }),
                    edge,
                    plan,
                ),
            };
            self.path.pop();
            out.extend(merged?);
            if origin.is_some() {
                out.extend(hidden.behind(origin).into_iter().map(|i| stored[i].map(|at| self.restored(at))));
            }
        }
        Ok([0, 1].map(|side| written(out.iter().map(|item| item[side].as_deref()))))
    }

    fn item(
        &mut self,
        at: [Trio; 2],
        edge: &Edge,
        plan: &Plan,
    ) -> Result<Option<[Option<Vec<u8>>; 2]>, Refused> {
        let [value, _] = at;
        if edge.kind == Kind::Primitive {
            return self.pair(at, edge, plan).map(Some);
        }
        let new = value.v.is_none() && value.s.is_none();
        if new && edge.kind == Kind::Resource {
            // A hidden one may have its id, or be named by something that is hidden.
            return Err(Refused("records can be put into another one only by who is shown all of it".into()));
        }
        if new && self.is_label(value.n) {
            return Err(Refused(format!(
                "`{}` is a label by which this server says what it hid; it is not yours to write",
                self.path.concat()
            )));
        }
        Ok(self.slot(value, edge, plan)?.map(|merged| [Some(merged), None]))
    }

    fn is_label(&self, n: At) -> bool {
        let security = self.path.iter().rev().skip(1).map(String::as_str).take(2).collect::<Vec<_>>();
        security == [".security", ".meta"] && n.is_some_and(|n| self.n.is_label(n))
    }

    /// The item of S that an item of V came from.
    fn origin(&self, item: &Item, stored: &[Item]) -> Option<usize> {
        let mut came = item.iter().flatten().filter_map(|i| self.of_s.origin(*i));
        let token = came.next()?;
        stored.iter().position(|s| s.contains(&Some(token)))
    }

    /// For each item of N the one of V that it is.
    fn matched(&self, shown: &[Item], origins: &[Option<usize>], sent: &[Item]) -> Vec<Option<usize>> {
        let mut matched: Vec<Option<usize>> = vec![None; sent.len()];
        let mut used = vec![false; shown.len()];
        let equal = |v: usize, n: usize| {
            self.same_at(shown[v][0], sent[n][0]) && self.same_at(shown[v][1], sent[n][1])
        };
        // Those that did not move first, so that of two that look alike each stays what it is.
        for n in 0..sent.len().min(shown.len()) {
            if equal(n, n) {
                (matched[n], used[n]) = (Some(n), true);
            }
        }
        for (n, matched) in matched.iter_mut().enumerate() {
            let free = |v: &usize| !used[*v] && equal(*v, n);
            // An item of the record's own before one that Drape put there.
            let own = || (0..shown.len()).filter(|v| origins[*v].is_some()).find(free);
            if matched.is_none()
                && let Some(v) = own().or_else(|| (0..shown.len()).find(free))
            {
                (*matched, used[v]) = (Some(v), true);
            }
        }
        let ids = |doc: &Doc<'_>, items: &[Item]| items.iter().map(|i| id_of(doc, i)).collect::<Vec<_>>();
        let (theirs, ours) = (ids(self.n, sent), ids(self.v, shown));
        let only = |ids: &[Option<String>], id: &Option<String>| {
            let mut found = ids.iter().enumerate().filter(|(_, other)| *other == id);
            found.next().filter(|_| found.next().is_none()).map(|(place, _)| place)
        };
        for n in 0..sent.len() {
            if matched[n].is_none()
                && theirs[n].is_some()
                && only(&theirs, &theirs[n]).is_some()
                && let Some(v) = only(&ours, &theirs[n]).filter(|v| !used[*v])
            {
                (matched[n], used[v]) = (Some(v), true);
            }
        }
        if sent.len() == shown.len() {
            for n in 0..sent.len() {
                let plain = theirs[n].is_none() && ours[n].is_none();
                if matched[n].is_none() && !used[n] && origins[n].is_some() && plain {
                    (matched[n], used[n]) = (Some(n), true);
                }
            }
        }
        matched
    }
}

/// The items of S that are hidden whole, each behind the shown item that it stood behind.
struct Hidden {
    behind: Vec<(Option<usize>, usize)>,
}

impl Hidden {
    fn new(stored: &[Item], origins: &[Option<usize>], kept: &[usize]) -> Self {
        let mut behind = Vec::new();
        let mut last = None;
        for place in 0..stored.len() {
            if kept.contains(&place) {
                last = Some(place);
            } else if !origins.contains(&Some(place)) {
                behind.push((last, place));
            }
        }
        Self { behind }
    }

    fn behind(&mut self, item: Option<usize>) -> Vec<usize> {
        let found = self.behind.iter().filter(|(anchor, _)| *anchor == item).map(|(_, place)| *place);
        let found = found.collect();
        self.behind.retain(|(anchor, _)| *anchor != item);
        found
    }
}

/// The items of two lists by position; `None` where one of them is no list.
fn zipped(doc: &Doc<'_>, lists: [At; 2]) -> Option<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    for (side, list) in lists.into_iter().enumerate() {
        let Some(list) = list else { continue };
        if doc.kind(list) != J::ArrayStart {
            return None;
        }
        for (place, item) in doc.tape.items(list).enumerate() {
            if items.len() <= place {
                items.push([None, None]);
            }
            items[place][side] = Some(item).filter(|i| doc.kind(*i) != J::Null);
        }
    }
    Some(items)
}

fn id_of(doc: &Doc<'_>, item: &Item) -> Option<String> {
    let i = item[0].filter(|i| doc.kind(*i) == J::ObjectStart)?;
    doc.tape.string(doc.text, i, "id").map(std::borrow::Cow::into_owned)
}

fn written<'i>(items: impl Iterator<Item = Option<&'i [u8]>>) -> Option<Vec<u8>> {
    let mut out = vec![b'['];
    let mut any = false;
    for (place, item) in items.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        any |= item.is_some();
        out.extend_from_slice(item.unwrap_or(b"null"));
    }
    out.push(b']');
    any.then_some(out)
}
