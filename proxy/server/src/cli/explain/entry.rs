//! A decision of the past, told from what the log holds of it.

use std::path::Path;

use drape_audit::trace::Trace as Asked;
use drape_audit::{Class, Decision, Event, EventSecret, Query, Reader};
use drape_policy::PolicySet;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Format;
use crate::cli::Failure;
use crate::cli::source::{Source, pick};
use crate::config::Config;
use crate::logs;
use crate::officer::when;
use crate::parts::{load_policies, root_key};
use crate::workbench::story::Story;

/// Entries of one request; a long answer has a segment every quarter of a megabyte.
const ENTRIES_MAX: usize = 10_000;

/// Tells what the log holds of the request of that id.
pub(super) fn explain(source: &Source, id: &str, reveal: bool, format: Format) -> Result<String, Failure> {
    let path = source.config.as_deref().unwrap_or(Path::new("drape.yaml"));
    let config = Config::load(path)?;
    let root = root_key(&config)?;
    let query = Query { request: Some(id.to_owned()), limit: ENTRIES_MAX, ..Query::default() };
    let mut found = Vec::new();
    // All entries of a request stand in one log.
    for (of, audit) in logs::all(&config) {
        let secret = EventSecret::new(logs::secret(&config, of, &root)?);
        found.extend(Reader::new(&audit.directory, secret).search(&query)?);
    }
    found.sort_by_key(|opened| opened.index);
    let events: Vec<&Event> = found.iter().filter_map(|opened| opened.event()).collect();
    let Some(first) = events.first().copied() else {
        let help = "an id stands in `x-request-id` and in the OperationOutcome (`decision …`); the log must be that of \
                    the Drape that answered, and a caller who was not admitted has no entry of her own";
        return Err(Failure::new(format!("the log holds no entry of `{id}`\n  help: {help}")));
    };
    let tenant = pick(config.tenants, Some(&first.tenant))?;
    let zone = TimeZone::get(&tenant.time_zone)?;
    // Policies that have changed since stand elsewhere, or are others.
    let set = load_policies(&tenant.policies, Some(&tenant.upstream)).ok().map(|loaded| loaded.set);
    let set = set.filter(|set| first.policy_digest.as_deref() == Some(set.digest()));
    let entry = Entry { id, events: &events, first, set: set.as_deref(), zone: &zone, reveal };
    Ok(match format {
        Format::Text => entry.text(),
        Format::Json => format!("{:#}", entry.json()),
    })
}

struct Entry<'a> {
    id: &'a str,
    events: &'a [&'a Event],
    first: &'a Event,
    /// The policies, where they are still those that decided.
    set: Option<&'a PolicySet>,
    zone: &'a TimeZone,
    reveal: bool,
}

impl Entry<'_> {
    fn last(&self) -> &Event {
        self.events.last().copied().unwrap_or(self.first)
    }

    /// What was asked of policy before and after the intent.
    fn asked(&self) -> Asked {
        let mut all = Asked::default();
        self.events.iter().for_each(|event| all.extend(&event.trace));
        all
    }

    fn target(&self) -> String {
        let target = self.first.query.as_deref().unwrap_or_default();
        if self.reveal { target.to_owned() } else { hidden(target) }
    }

    fn withheld(&self) -> Option<&str> {
        self.last().reason.as_deref()
    }

    fn text(&self) -> String {
        let (first, last) = (self.first, self.last());
        let mut story = Story::new(self.set);
        let time = when(first.time_ms, self.zone);
        story.plain(format!("Decision {} of {time}, tenant `{}`, as the log has it", self.id, first.tenant));
        let digest = first.policy_digest.as_deref().unwrap_or("unknown");
        let now = match self.set {
            Some(_) => "still in force",
            None => "NOT the ones in force now, so their places are not told",
        };
        story.plain(format!("Policies {digest}: {now}"));
        story.plain("");
        if let Some(subject) = &first.subject {
            let name = subject.name.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
            story.line("Who", format!("`{}` of {}{name}", subject.id, subject.issuer));
            let purpose = first.purpose.as_deref().unwrap_or("none stated");
            let roles = if subject.roles.is_empty() { "none".to_owned() } else { subject.roles.join(", ") };
            story.line("", format!("purpose of use: {purpose}; acts as: {roles}"));
        }
        let what = [first.interaction.as_deref(), first.resource_type.as_deref()];
        let what: Vec<&str> = what.into_iter().flatten().collect();
        let what = if what.is_empty() { "not understood".to_owned() } else { what.join(" ") };
        let method = first.method.as_deref().unwrap_or_default();
        story.line("Asked", format!("{what}: {method} {}", self.target()));
        story.asked(&self.asked());
        if first.class == Class::Intent {
            let by = first.policies.iter().map(|id| story.named(id)).collect::<Vec<_>>().join(", ");
            story.line("Permitted", format!("by {by}"));
        }
        if self.reveal {
            for (head, names) in [
                ("Records", self.events.iter().flat_map(|e| &e.records).collect::<Vec<_>>()),
                ("Patients", self.events.iter().flat_map(|e| &e.patients).collect()),
            ] {
                let mut names: Vec<&str> = names.into_iter().map(String::as_str).collect();
                names.dedup();
                if !names.is_empty() {
                    story.line(head, names.join(", "));
                }
            }
        }
        story.determined(&last.determined);
        let status = last.status.map(|status| status.to_string()).unwrap_or_default();
        let lacks = last.trace.lacks.as_deref();
        match (last.class, last.decision, lacks) {
            (Class::Intent | Class::Segment, ..) => {
                story.line("Ended", "no outcome was entered: it counts as disclosed");
            }
            (_, Decision::Deny, _) | (_, _, Some(_)) => {
                let reason = last.reason.as_deref().unwrap_or("no reason is given");
                story.line("Refused", format!("{status} by {reason}"));
                story.line("", format!("the caller heard `{}`", lacks.unwrap_or("a refusal")));
            }
            _ => {
                let withheld = self.withheld().map(|w| format!("; {w}")).unwrap_or_default();
                story.line("Answered", format!("{status}{withheld}"));
            }
        }
        story.text()
    }

    fn json(&self) -> Value {
        let (first, last) = (self.first, self.last());
        json!({
            "id": self.id,
            "tenant": first.tenant,
            "recorded": first.time_ms,
            "policies": { "digest": first.policy_digest, "inForce": self.set.is_some() },
            "caller": first.subject.as_ref().map(|s| json!({
                "subject": s.id, "issuer": s.issuer, "roles": s.roles, "purpose": first.purpose,
            })),
            "interaction": first.interaction,
            "type": first.resource_type,
            "request": { "method": first.method, "target": self.target(), "masked": !self.reveal },
            "asked": self.asked(),
            "permittedBy": first.policies,
            "determined": last.determined,
            "status": last.status,
            "reason": last.reason,
        })
    }
}

/// A request target without what it names: types, operations and parameters stay.
fn hidden(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let stays = |part: &&str| {
        part.is_empty()
            || part.starts_with(['_', '$'])
            || *part == "metadata"
            || drape_fhir::definitions::r4().is_resource(part)
    };
    let path: Vec<&str> = path.split('/').map(|part| if stays(&part) { part } else { "‹id›" }).collect();
    let query = query.map(|query| {
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| format!("{}=‹…›", pair.split('=').next().unwrap_or_default()))
            .collect();
        format!("?{}", pairs.join("&"))
    });
    format!("{}{}", path.join("/"), query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::hidden;

    #[test]
    fn what_a_request_names_is_hidden_and_what_it_asks_is_not() {
        for (target, told) in [
            ("/Patient/p1", "/Patient/‹id›"),
            ("/Observation?patient=p1&code=http://loinc.org|1-1", "/Observation?patient=‹…›&code=‹…›"),
            ("/Patient/p1/_history/2", "/Patient/‹id›/_history/‹id›"),
            ("/Patient/p1/$everything?_since=2020", "/Patient/‹id›/$everything?_since=‹…›"),
            ("/_page/abc", "/_page/‹id›"),
        ] {
            assert_eq!(hidden(target), told);
        }
    }
}
