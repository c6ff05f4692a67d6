//! The way of a request that was tried on the bench, as a story and as JSON.

use std::collections::BTreeMap;

use drape_fhir::interaction::{self, Interaction};
use drape_policy::PolicySet;
use drape_view::{Caller, Catalogue, Category, CategorySet, Treatment, Verdict};
use http::Method;
use serde_json::{Value, json};

use crate::trace::{Judged, Part, Refused, Trace};
use crate::workbench::mask;
use crate::workbench::story::Story;
use crate::workbench::walk::Walk;

/// Everything that is told.
pub(super) struct Told<'a> {
    pub(super) policies: &'a str,
    pub(super) set: &'a PolicySet,
    pub(super) catalogue: &'a Catalogue,
    pub(super) method: &'a Method,
    pub(super) target: &'a str,
    pub(super) caller: &'a Caller,
    /// Whether nobody has verified who that is.
    pub(super) unverified: bool,
    pub(super) walk: &'a Walk,
    pub(super) records: &'a [Value],
    pub(super) records_of: &'a str,
    pub(super) reveal: bool,
}

impl Told<'_> {
    /// As a story.
    pub(super) fn text(&self) -> String {
        let mut story = Story::new(Some(self.set));
        story.plain(format!("{} {}, under {}", self.method, self.target, self.policies));
        if self.unverified {
            story.plain("The token's signature was NOT verified; its claims are taken as they stand.");
        }
        story.plain("");
        story.who(self.caller, self.reveal || !self.unverified);
        self.way(&mut story, &self.walk.trace);
        for entry in &self.walk.entries {
            story.plain(format!("\nEntry {}", entry.id.rsplit('.').next().unwrap_or_default()));
            self.way(&mut story, entry);
            if let Some(refusal) = &entry.refusal {
                refused(&mut story, refusal);
            }
        }
        let present = self.present();
        for trace in std::iter::once(&self.walk.trace).chain(&self.walk.entries) {
            if !trace.records.is_empty() {
                story.plain(format!("\nRecords, of {}", self.records_of));
            }
            for judged in &trace.records {
                story.record(judged, present.get(&judged.name).copied(), self.reveal);
            }
        }
        story.plain("");
        for trace in std::iter::once(&self.walk.trace).chain(&self.walk.entries) {
            story.determined(&trace.determined);
            for (reason, count) in &trace.withheld {
                story.line("Withheld", format!("{count} ({reason})"));
            }
        }
        match &self.walk.trace.refusal {
            Some(refusal) => refused(&mut story, refusal),
            None => story.line("Answered", self.walk.status),
        }
        if self.walk.cut {
            story.line("", "and then cut off: see `Refused`, or the answer is too long to be shown");
        }
        let how = match (self.answer(), self.reveal) {
            (None, _) => "nothing more".to_owned(),
            (Some(answer), true) => format!("\n{answer:#}"),
            (Some(answer), false) => format!("with values masked (`--reveal` shows them)\n{answer:#}"),
        };
        story.line("Leaves", how);
        story.text()
    }

    /// What was asked, and what is sent on.
    fn way(&self, story: &mut Story<'_>, trace: &Trace) {
        if trace.interaction.is_none() && trace.refusal.is_none() && !self.walk.entries.is_empty() {
            let count = self.walk.entries.len();
            return story.line("Asked", format!("a Bundle of requests; {count} of them were looked at"));
        }
        let what = [
            trace.interaction.unwrap_or("not understood"),
            trace.resource_type.as_deref().unwrap_or_default(),
        ];
        story.line("Asked", what.join(" ").trim_end());
        for line in self.elements(trace) {
            story.line("", line);
        }
        story.asked(&trace.asked);
        let mut head = "Sent";
        for sent in &trace.sent {
            story.line(std::mem::take(&mut head), format!("{} {}", sent.method, sent.target));
        }
        if trace.sent.is_empty() {
            story.line("Sent", "nothing");
        }
    }

    /// Which elements each parameter of a search reads.
    fn elements(&self, trace: &Trace) -> Vec<String> {
        if trace.id != self.walk.id {
            return Vec::new();
        }
        let target = self
            .target
            .split_once("/fhir")
            .filter(|_| self.target.contains("://"))
            .map_or(self.target, |(_, t)| t);
        let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
        let slash = if path.starts_with('/') { "" } else { "/" };
        let path = format!("{slash}{path}");
        let parts =
            interaction::Parts { method: self.method.as_str(), path: &path, query, headers: &[], body: None };
        let Ok(Interaction::Search(search)) = interaction::parse(&parts) else { return Vec::new() };
        let criteria = search.criteria.iter().map(|c| (c.name.clone(), &c.reveals));
        let sorts = search.sort.iter().map(|key| (format!("_sort={}", key.text), &key.reveals));
        criteria
            .chain(sorts)
            .filter(|(_, reveals)| !reveals.is_empty())
            .map(|(name, reveals)| {
                let paths: Vec<&str> = reveals.iter().map(|r| r.path).collect();
                format!("`{name}` compares {}", paths.join(", "))
            })
            .collect()
    }

    /// The categories that stand in each record that was handed in.
    fn present(&self) -> BTreeMap<String, CategorySet> {
        let name = |r: &Value| Some(format!("{}/{}", r["resourceType"].as_str()?, r["id"].as_str()?));
        self.records
            .iter()
            .filter_map(|record| Some((name(record)?, mask::categories(self.catalogue, record))))
            .collect()
    }

    /// The body of the answer, masked where values are not wanted.
    fn answer(&self) -> Option<Value> {
        if self.walk.body.is_empty() {
            return None;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&self.walk.body) else {
            let text = String::from_utf8_lossy(&self.walk.body);
            return Some(if self.reveal {
                text.into()
            } else {
                format!("‹{} bytes›", text.len()).into()
            });
        };
        if self.reveal {
            return Some(body);
        }
        let kept: Vec<_> = self
            .walk
            .trace
            .records
            .iter()
            .filter(|judged| judged.part == Part::Answer)
            .filter_map(|judged| match &judged.verdict {
                Verdict::Keep(plan) => Some(plan),
                Verdict::Withhold(_) => None,
            })
            .collect();
        let treatment = |category: Category| -> Option<Treatment> {
            let first = kept.first()?.treatment(category);
            kept.iter().all(|plan| plan.treatment(category) == first).then_some(first)
        };
        Some(mask::masked(self.catalogue, &body, treatment))
    }

    /// As one JSON document.
    pub(super) fn json(&self) -> Value {
        let present = self.present();
        let caller = self.caller;
        json!({
            "request": { "method": self.method.as_str(), "target": self.target },
            "policies": { "name": self.policies, "digest": self.set.digest() },
            "caller": {
                "subject": caller.subject, "issuer": caller.issuer, "verified": !self.unverified,
                "purpose": caller.purpose, "roles": caller.roles, "heldRoles": caller.held_roles,
            },
            "way": self.trace_json(&self.walk.trace, &present),
            "entries": self.walk.entries.iter().map(|t| self.trace_json(t, &present)).collect::<Vec<_>>(),
            "answer": {
                "status": self.walk.status.as_u16(), "cut": self.walk.cut, "masked": !self.reveal,
                "body": self.answer(),
            },
        })
    }

    fn trace_json(&self, trace: &Trace, present: &BTreeMap<String, CategorySet>) -> Value {
        let sent: Vec<Value> =
            trace.sent.iter().map(|s| json!({ "method": s.method, "target": s.target })).collect();
        let records: Vec<Value> =
            trace.records.iter().map(|r| record_json(r, present.get(&r.name).copied())).collect();
        json!({
            "id": trace.id,
            "interaction": trace.interaction,
            "type": trace.resource_type,
            "policies": trace.policies,
            "asked": trace.asked,
            "places": self.places(trace),
            "sent": sent,
            "records": records,
            "determined": trace.determined,
            "withheld": trace.withheld,
            "refusal": trace.refusal.as_ref().map(|r| json!({
                "stage": r.stage, "status": r.status, "lacks": r.lacks, "public": r.public, "reason": r.reason,
            })),
        })
    }

    /// Where each policy that is named stands.
    fn places(&self, trace: &Trace) -> BTreeMap<String, String> {
        let mut ids: Vec<&String> = trace.policies.iter().collect();
        ids.extend(trace.asked.questions.iter().flat_map(|q| &q.policies));
        ids.extend(trace.determined.iter().flat_map(|d| &d.policies));
        for judged in &trace.records {
            ids.extend(&judged.received_by);
            if let Verdict::Keep(plan) = &judged.verdict {
                for why in Category::ALL.into_iter().filter_map(|c| plan.why(c)) {
                    ids.extend(why.policies.iter().chain(why.refused.iter().flat_map(|rung| &rung.policies)));
                }
            }
        }
        ids.into_iter().filter_map(|id| Some((id.clone(), self.set.place(id)?.to_owned()))).collect()
    }
}

/// What the officer reads, and what the caller hears.
fn refused(story: &mut Story<'_>, refusal: &Refused) {
    let status = http::StatusCode::from_u16(refusal.status).map_or_else(|_| String::new(), |s| s.to_string());
    story.line("Refused", format!("{status} by {}: {}", refusal.stage, refusal.reason));
    story.line("", format!("the caller hears `{}`: {}", refusal.lacks, refusal.public));
}

fn record_json(judged: &Judged, present: Option<CategorySet>) -> Value {
    let verdict = match &judged.verdict {
        Verdict::Withhold(reason) => json!({ "withheld": reason.name() }),
        Verdict::Keep(plan) => {
            let mut categories = serde_json::Map::new();
            for category in Category::ALL.into_iter().filter(|c| present.is_none_or(|p| p.contains(*c))) {
                let why = plan.why(category);
                let refused: Vec<Value> = why
                    .map(|why| why.refused.iter())
                    .into_iter()
                    .flatten()
                    .map(|rung| json!({ "rung": rung.rung.name(), "policies": rung.policies, "erred": rung.erred }))
                    .collect();
                categories.insert(
                    category.name().to_owned(),
                    json!({
                        "treatment": plan.treatment(category).name(),
                        "basis": why.map(|why| why.basis.name()),
                        "policies": why.map(|why| why.policies.clone()).unwrap_or_default(),
                        "refused": refused,
                    }),
                );
            }
            json!({ "categories": categories })
        }
    };
    json!({
        "record": judged.name,
        "part": match judged.part { Part::Answer => "answer", Part::Stored => "stored", Part::Owner => "owner" },
        "labels": judged.profile.labels,
        "classified": judged.profile.classified,
        "patientKnown": judged.profile.patient.known,
        "relations": judged.profile.patient.relations,
        "receivedBy": judged.received_by,
        "verdict": verdict,
    })
}
