//! Log entries as a reader wants them: one row a request, from its intent, its segments and its outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use drape_audit::reader::Content;
use drape_audit::{Class, Event, Opened, OutcomeCode};
use jiff::tz::TimeZone;

use super::page::Row;
use crate::parts::Tenant;
use crate::workbench::story::counted;

/// Rows on a page.
const ROWS_MAX: usize = 100;
/// Patients named in one row.
const PATIENTS_MAX: usize = 6;

/// What the page shows of the entries it read.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
    /// Those of them that were made in an emergency.
    pub(crate) emergencies: Vec<Row>,
    pub(crate) purposes: Vec<(String, u64)>,
    pub(crate) refusals: Vec<(String, u64)>,
}

/// A request's entries put together.
#[derive(Default)]
struct Request<'a> {
    first: u64,
    entries: Vec<&'a Event>,
}

impl Table {
    /// Takes in what another log holds; its rows stand behind those that are there.
    pub(crate) fn add(&mut self, other: Self) {
        self.emergencies.extend(other.emergencies);
        self.rows.extend(other.rows);
        for (ours, theirs) in [(&mut self.purposes, other.purposes), (&mut self.refusals, other.refusals)] {
            for (name, count) in theirs {
                match ours.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum += count,
                    None => ours.push((name, count)),
                }
            }
        }
    }

    /// From entries, newest first; those of other tenants are left out, heartbeats too.
    pub(crate) fn of(entries: &[Opened], tenants: &[Arc<Tenant>]) -> Self {
        let zone = |name: &str| tenants.iter().find(|t| t.name == name).map(|t| t.time_zone.clone());
        let mut requests: BTreeMap<(String, String), Request<'_>> = BTreeMap::new();
        let mut rows = Vec::new();
        for opened in entries {
            match &opened.content {
                Content::Event(event) => {
                    let own = zone(&event.tenant).is_some() || event.tenant.is_empty();
                    if own && event.class != Class::Heartbeat {
                        let name = match event.class {
                            // What stands alone has no request that it could be put to.
                            Class::Strangers | Class::Config | Class::Tombstone | Class::Approval => {
                                format!("#{}", opened.index)
                            }
                            _ => event.request.clone(),
                        };
                        let request = requests.entry((event.tenant.clone(), name)).or_default();
                        request.first = opened.index;
                        request.entries.insert(0, event);
                    }
                }
                Content::Erased => {
                    rows.push(Row { index: opened.index, what: "erased".into(), ..Row::default() });
                }
                Content::Unreadable(why) => rows.push(Row {
                    index: opened.index,
                    what: "cannot be opened".into(),
                    outcome: why.clone(),
                    refused: true,
                    ..Row::default()
                }),
            }
        }
        let mut purposes: BTreeMap<String, u64> = BTreeMap::new();
        let mut refusals: BTreeMap<String, u64> = BTreeMap::new();
        for request in requests.values() {
            let Some(event) = request.entries.first() else { continue };
            if event.class == Class::Intent {
                *purposes
                    .entry(event.purpose.clone().unwrap_or_else(|| "(none stated)".into()))
                    .or_default() += 1;
            }
            if let Some(why) = request.refusal() {
                *refusals.entry(why).or_default() += 1;
            }
            rows.push(request.row(&zone(&event.tenant).unwrap_or(TimeZone::UTC)));
        }
        rows.sort_by_key(|r| std::cmp::Reverse(r.index));
        let emergencies = rows.iter().filter(|r| r.emergency.is_some()).take(ROWS_MAX).cloned().collect();
        rows.truncate(ROWS_MAX);
        Self { rows, emergencies, purposes: most_first(purposes), refusals: most_first(refusals) }
    }
}

impl Request<'_> {
    fn refusal(&self) -> Option<String> {
        let event = self.entries.iter().find(|e| {
            e.class == Class::Refusal
                || e.class == Class::Outcome && e.outcome.is_some_and(|o| o != OutcomeCode::Success)
        })?;
        // `stage: what (roles, purpose)`: what is counted alike is the middle. It may name a parameter or a type,
        // never a value.
        let reason = event.reason.as_deref().unwrap_or("refused");
        let what = reason.split_once(": ").map_or(reason, |(_, what)| what);
        Some(what.split(" (").next().unwrap_or(what).to_owned())
    }

    fn row(&self, zone: &TimeZone) -> Row {
        let Some(event) = self.entries.first() else { return Row::default() };
        let mut patients: Vec<&str> = Vec::new();
        let mut policies: Vec<&str> = Vec::new();
        let mut treated: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in &self.entries {
            for patient in &entry.patients {
                if !patients.contains(&patient.as_str()) {
                    patients.push(patient);
                }
            }
            for policy in &entry.policies {
                if !policies.contains(&policy.as_str()) {
                    policies.push(policy);
                }
            }
            for t in &entry.treatments {
                *treated.entry(&t.treatment).or_default() += t.count;
            }
        }
        let more = patients.len().saturating_sub(PATIENTS_MAX);
        let mut named = patients.into_iter().take(PATIENTS_MAX).collect::<Vec<_>>().join(", ");
        if more > 0 {
            named = format!("{named} and {more} more");
        }
        let last = self.entries.last().copied().unwrap_or(event);
        let refusal = self.refusal();
        let outcome = match (last.class, &refusal) {
            (_, Some(why)) => {
                let status = last.status.map(|s| format!("{s}: ")).unwrap_or_default();
                format!("{status}{why}")
            }
            (Class::Outcome, None) => {
                let status = last.status.map_or_else(|| "done".to_owned(), |s| s.to_string());
                let hidden: Vec<String> = treated.iter().map(|(t, n)| format!("{n} {}", done(t))).collect();
                let withheld = last.reason.clone().unwrap_or_default();
                [vec![status], hidden, Some(withheld).filter(|w| !w.is_empty()).into_iter().collect()]
                    .concat()
                    .join(" · ")
            }
            (Class::Intent | Class::Segment, None) => "no outcome: counts as disclosed".into(),
            _ => last.reason.clone().unwrap_or_default(),
        };
        Row {
            index: self.first,
            time: when(event.time_ms, zone),
            who: event
                .subject
                .as_ref()
                .map(|s| s.name.clone().unwrap_or_else(|| s.id.clone()))
                .unwrap_or_default(),
            roles: event.subject.as_ref().map(|s| s.roles.join(", ")).unwrap_or_default(),
            purpose: event.purpose.clone().unwrap_or_default(),
            what: what(event),
            patients: named,
            policies: policies.join(", "),
            determined: last.determined.iter().map(|d| counted(d, &d.policies.join(", "))).collect(),
            decision: if event.subject.is_some() { event.request.clone() } else { String::new() },
            outcome,
            refused: refusal.is_some(),
            emergency: event.emergency.clone(),
        }
    }
}

fn done(treatment: &str) -> &str {
    match treatment {
        "redact" => "redacted",
        "generalize" => "generalised",
        "pseudonymize" => "pseudonymised",
        "encrypt" => "encrypted",
        other => other,
    }
}

fn what(event: &Event) -> String {
    match event.class {
        Class::Strangers => {
            let kinds: Vec<String> =
                event.strangers.iter().map(|(kind, n)| format!("{n} {}", kind.word())).collect();
            format!("requests without a proved caller: {}", kinds.join(", "))
        }
        Class::Officer if event.route.as_deref() == Some("/officer/sheet") => "read a policy sheet".into(),
        Class::Officer => "looked at this page".into(),
        Class::Config | Class::Approval => event.reason.clone().unwrap_or_else(|| "configuration".into()),
        Class::Tombstone => format!("erased: {}", event.reason.clone().unwrap_or_default()),
        _ => {
            let verb = event.interaction.as_deref().unwrap_or("not understood");
            match &event.resource_type {
                Some(kind) => format!("{verb} {kind}"),
                None => verb.to_owned(),
            }
        }
    }
}

fn most_first(counts: BTreeMap<String, u64>) -> Vec<(String, u64)> {
    let mut list: Vec<(String, u64)> = counts.into_iter().collect();
    list.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.truncate(12);
    list
}

/// Local time to the second.
pub(crate) fn when(ms: u64, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(i64::try_from(ms).unwrap_or(i64::MAX)) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
        Err(_) => String::new(),
    }
}
