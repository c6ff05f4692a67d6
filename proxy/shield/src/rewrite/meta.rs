//! A record's `meta`: what of it is shown, and the labels that say what was done to the record.

use drape_fhir::json::Kind as J;
use drape_view::catalogue::{Assigned, Edge, NodeId};
use drape_view::{Category, Plan, Treatment};

use super::object::{Of, without_mark};
use super::{Head, Rewriter, Stop, Wrote, separate};

impl Rewriter<'_> {
    /// Writes `meta` where it stood, or behind `resourceType`, once all that the labels speak of is done. A contained record has no labels
    /// of ours: what it was reduced by stands on its container (dom-5).
    pub(super) fn meta(
        &mut self,
        root: NodeId,
        plan: &Plan,
        head: &Head,
        contained: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        // It is written at the end and moved, so that all of it is known.
        let mark = out.len();
        out.extend_from_slice(b",\"meta\":{");
        let mut any = false;
        // The labels, with commas between them.
        let mut security = Vec::new();
        let mut came_from = Vec::new();
        self.path.push("meta");
        if let (Some(i), Some(edge)) = (head.meta, self.catalogue().edge(root, "meta")) {
            self.meta_members(i, edge, plan, out, &mut any, (&mut security, &mut came_from))?;
        }
        self.path.pop();
        if self.setup.declared && !contained {
            let codes = [
                (self.done.redacted, "REDACTED"),
                (self.done.generalized, "ABSTRED"),
                (self.done.pseudonymized, "PSEUDED"),
                (self.done.encrypted, "MASKED"),
            ];
            for (_, code) in codes.into_iter().filter(|(done, _)| *done) {
                separate(&mut !security.is_empty(), &mut security);
                security.extend_from_slice(
                    b"{\"system\":\"http://terminology.hl7.org/CodeSystem/v3-ObservationValue\",\"code\":\"",
                );
                security.extend_from_slice(code.as_bytes());
                security.extend_from_slice(b"\"}");
            }
        }
        if !security.is_empty() {
            separate(&mut any, out);
            out.extend_from_slice(b"\"security\":[");
            if let Some(trace) = &mut self.trace {
                trace.put(out.len(), came_from);
            }
            out.extend_from_slice(&security);
            out.push(b']');
        }
        if !any {
            self.cut(mark, out);
            return Ok(());
        }
        out.push(b'}');
        let length = out.len() - mark;
        let at = head.at.unwrap_or(mark);
        out[at..].rotate_right(length);
        if let Some(trace) = &mut self.trace {
            trace.rotated(at, out.len(), length);
        }
        Ok(())
    }

    fn meta_members(
        &mut self,
        i: usize,
        meta: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
        (security, came_from): (&mut Vec<u8>, &mut Vec<(usize, usize)>),
    ) -> Result<(), Stop> {
        if self.tape.get(i).kind != J::ObjectStart {
            self.count(Category::Unknown, Treatment::Redact);
            return Ok(());
        }
        let shown = matches!(meta.category, Assigned::Fixed(c) if plan.treatment(c) == Treatment::Show);
        let of = if shown { Of::Shown } else { Of::Hidden };
        // A profile asks for more than FHIR itself does (US Core for names, vital signs for days), so of a reduced record
        // its claim may be false. Where nothing may tell, no view that could be reduced has it.
        let claims = if self.setup.declared { !self.done.any() } else { plan.shows_all() };
        for (key, value) in self.tape.members(i) {
            let name = self.tape.name(self.text, key);
            let (base, sibling) = without_mark(&name);
            let Some((base, edge)) = self.catalogue().named_edge(meta.node, base) else {
                self.count(Category::Unknown, Treatment::Redact);
                continue;
            };
            if base == "profile" && !claims {
                self.count(Category::Label, Treatment::Redact);
                continue;
            }
            let (before, had) = (out.len(), *any);
            self.path.push(base);
            if base == "security" && self.tape.get(value).kind == J::ArrayStart {
                for item in self.tape.items(value) {
                    self.begins(item, out);
                    match self.value(item, edge, plan, out, Of::Shown)? {
                        Wrote::Yes { .. } => {
                            separate(&mut !security.is_empty(), security);
                            if let Some(trace) = &mut self.trace {
                                let found = trace.split_off(before);
                                came_from.extend(found.into_iter().map(|(at, i)| (security.len() + at, i)));
                            }
                            security.extend_from_slice(&out[before..]);
                            out.truncate(before);
                        }
                        _ => self.cut(before, out),
                    }
                }
            } else {
                let wrote = match self.paired(i, base, value, edge, plan, sibling) {
                    // Both were written with the first of them.
                    Some(_) if sibling => {
                        self.path.pop();
                        continue;
                    }
                    Some(other) => self.pair(key, (value, other), edge, plan, out, any)?,
                    None if sibling => self.sibling(i, key, value, edge, plan, out, any)?,
                    None => self.member(key, value, edge, plan, out, any, of)?,
                };
                self.settle(wrote, base, before, had, out, any);
            }
            self.path.pop();
        }
        Ok(())
    }
}
