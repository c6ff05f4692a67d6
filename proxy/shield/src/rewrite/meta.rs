//! A record's `meta`: what of it is shown, and the labels that say what was done to the record.

use drape_fhir::json::Kind as J;
use drape_view::catalogue::{Assigned, Edge, NodeId};
use drape_view::{Category, Plan, Treatment};

use super::object::Of;
use super::{Head, Rewriter, Stop, Wrote, separate};

impl Rewriter<'_> {
    /// Writes `meta` behind `resourceType`, once all that the labels speak of is done. A contained record has no labels
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
        let mut security = Vec::new();
        self.path.push("meta".to_owned());
        if let (Some(i), Some(edge)) = (head.meta, self.setup.catalogue.edge(root, "meta").copied()) {
            self.meta_members(i, &edge, plan, out, &mut any, &mut security)?;
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
                const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
                security.push(format!("{{\"system\":\"{SYSTEM}\",\"code\":\"{code}\"}}").into_bytes());
            }
        }
        if !security.is_empty() {
            separate(&mut any, out);
            out.extend_from_slice(b"\"security\":[");
            out.extend(security.join(&b","[..]));
            out.push(b']');
        }
        if !any {
            self.cut(mark, out);
            return Ok(());
        }
        out.push(b'}');
        let meta = out.split_off(mark);
        out.splice(head.at..head.at, meta);
        Ok(())
    }

    fn meta_members(
        &mut self,
        i: usize,
        meta: &Edge,
        plan: &Plan,
        out: &mut Vec<u8>,
        any: &mut bool,
        security: &mut Vec<Vec<u8>>,
    ) -> Result<(), Stop> {
        if self.tape.get(i).kind != J::ObjectStart {
            self.count(Category::Unknown, Treatment::Redact);
            return Ok(());
        }
        let shown = matches!(meta.category, Assigned::Fixed(c) if plan.treatment(c) == Treatment::Show);
        let of = if shown { Of::Shown } else { Of::Hidden };
        for (key, value) in self.tape.members(i) {
            let name = self.tape.text(self.text, key);
            let (base, sibling) = name.strip_prefix('_').map_or((name.as_ref(), false), |base| (base, true));
            let Some(edge) = self.setup.catalogue.edge(meta.node, base).copied() else {
                self.count(Category::Unknown, Treatment::Redact);
                continue;
            };
            // A profile asks for days where only years are left (vs-1): the claim would be false.
            if base == "profile" && self.done.shortened {
                self.count(Category::Label, Treatment::Redact);
                continue;
            }
            let (before, had) = (out.len(), *any);
            self.path.push(base.to_owned());
            if base == "security" && self.tape.get(value).kind == J::ArrayStart {
                for item in self.tape.items(value) {
                    match self.value(item, &edge, plan, out, Of::Shown)? {
                        Wrote::Yes { .. } => security.push(out.split_off(before)),
                        _ => self.cut(before, out),
                    }
                }
            } else {
                let wrote = if sibling {
                    self.sibling(i, key, value, &edge, plan, out, any)?
                } else {
                    self.member(key, value, &edge, plan, out, any, of)?
                };
                self.settle(wrote, base, before, had, out, any);
            }
            self.path.pop();
        }
        Ok(())
    }
}
