//! What a caller is to whom, by care teams, encounters and general practitioners that the server tells of. Only what is
//! plainly so counts: nothing is believed of an answer that its records do not say themselves.

use std::collections::BTreeSet;

use bytes::Bytes;
use drape_fhir::reference::Reference;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::source::Failure;
use crate::config::facts::RelationKind;

/// Whose relations are looked for, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// `Practitioner/x`.
    pub(super) user: &'a str,
    /// The server's base URL.
    pub(super) base: &'a str,
    /// Milliseconds since the epoch.
    pub(super) now_ms: u64,
    /// The tenant's; a day ends in it.
    pub(super) zone: &'a TimeZone,
}

const HOUR_MS: i64 = 3_600_000;

/// What is asked of the server; `today` is the local civil date.
pub(super) fn paths(kind: &RelationKind, user: &str, today: jiff::civil::Date) -> Vec<String> {
    match kind {
        RelationKind::CareTeam => vec![format!("/CareTeam?participant={user}&status=active&_count=200")],
        RelationKind::GeneralPractitioner => vec![format!("/Patient?general-practitioner={user}&_count=200")],
        RelationKind::Encounter { status, ended_within_h } => {
            let status = status.join(",");
            let mut all = vec![format!("/Encounter?participant={user}&status={status}&_count=200")];
            if *ended_within_h > 0 {
                // A day more, so that no difference of time zones leaves one out; each is held to the hour below.
                let days = i64::try_from(ended_within_h.div_ceil(24) + 1).unwrap_or(i64::MAX);
                let since = today.checked_sub(jiff::SignedDuration::from_hours(days.saturating_mul(24)));
                if let Ok(since) = since {
                    all.push(format!(
                        "/Encounter?participant={user}&status=finished&date=ge{since}&_count=200"
                    ));
                }
            }
            all
        }
    }
}

/// Adds the patients of one page, and gives the link to the next.
pub(super) fn read(
    kind: &RelationKind,
    seen: Seen<'_>,
    body: &Bytes,
    patients: &mut BTreeSet<String>,
) -> Result<Option<String>, Failure> {
    let bundle = Value::Object(drape_caller::strict::object(body).map_err(|_| Failure::Body)?);
    if bundle["resourceType"] != "Bundle" || bundle["type"] != "searchset" {
        return Err(Failure::Body);
    }
    for entry in list(&bundle["entry"]) {
        // What lives on another server speaks of other patients by the same ids.
        let here = match entry["fullUrl"].as_str() {
            None => true,
            Some(url) => {
                matches!(Reference::parse(url, &[seen.base]), Reference::Local { .. } | Reference::Urn(_))
            }
        };
        if let Some(patient) = related(kind, seen, &entry["resource"]).filter(|_| here) {
            patients.insert(patient);
        }
    }
    let next = list(&bundle["link"]).find(|link| link["relation"] == "next");
    Ok(next.and_then(|link| link["url"].as_str()).map(str::to_owned))
}

fn related(kind: &RelationKind, seen: Seen<'_>, record: &Value) -> Option<String> {
    let takes_part = |member: &str| {
        list(&record["participant"]).any(|p| seen.names_user(&p[member]) && (seen.during(&p["period"], 0)))
    };
    match kind {
        RelationKind::CareTeam => {
            let active = record["resourceType"] == "CareTeam" && record["status"] == "active";
            let now = active && seen.during(&record["period"], 0) && takes_part("member");
            seen.patient(&record["subject"]).filter(|_| now)
        }
        RelationKind::Encounter { status, ended_within_h } => {
            let said = record["status"].as_str()?;
            let grace_ms = i64::try_from(*ended_within_h).unwrap_or(0).saturating_mul(HOUR_MS);
            let running = status.iter().any(|s| s == said);
            // Of one that has ended somebody must have said when.
            let ended = said == "finished" && grace_ms > 0 && record["period"]["end"].is_string();
            let now = (running || ended) && seen.during(&record["period"], grace_ms);
            let part = list(&record["participant"])
                .any(|p| seen.names_user(&p["individual"]) && seen.during(&p["period"], grace_ms));
            let now = now && part && record["resourceType"] == "Encounter";
            seen.patient(&record["subject"]).filter(|_| now)
        }
        RelationKind::GeneralPractitioner => {
            let named = list(&record["generalPractitioner"]).any(|r| seen.names_user(r));
            let now = named && record["resourceType"] == "Patient" && record["active"] != false;
            let id = record["id"].as_str().filter(|id| drape_fhir::reference::is_id(id));
            id.filter(|_| now).map(str::to_owned)
        }
    }
}

impl Seen<'_> {
    fn names_user(&self, reference: &Value) -> bool {
        match reference["reference"].as_str().map(|r| Reference::parse(r, &[self.base])) {
            Some(Reference::Local { resource_type, id, .. }) => {
                self.user.split_once('/') == Some((resource_type, id))
            }
            _ => false,
        }
    }

    fn patient(&self, subject: &Value) -> Option<String> {
        match Reference::parse(subject["reference"].as_str()?, &[self.base]) {
            Reference::Local { resource_type: "Patient", id, .. } => Some(id.to_owned()),
            _ => None,
        }
    }

    /// Whether a Period has begun and, with so much more, not ended. One that is not there bounds nothing; one that is
    /// not understood has ended.
    fn during(&self, period: &Value, grace_ms: i64) -> bool {
        if period.is_null() {
            return true;
        }
        let now_ms = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        let bound = |name: &str| match &period[name] {
            Value::Null => Some(None),
            Value::String(text) => self.instant(text, name == "end").map(Some),
            _ => None,
        };
        let (Some(start), Some(end)) = (bound("start"), bound("end")) else { return false };
        period.is_object()
            && start.is_none_or(|start| start <= now_ms)
            && end.is_none_or(|end| now_ms <= end.saturating_add(grace_ms))
    }

    /// A dateTime; of a date its first or last moment.
    fn instant(&self, text: &str, last: bool) -> Option<i64> {
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(instant.as_millisecond());
        }
        let date = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10)?;
        let date = if last { date.tomorrow().ok()? } else { date };
        Some(date.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond() - i64::from(last))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Noon of 2026-11-25 in New York.
    fn found(kind: &RelationKind, record: Value) -> Vec<String> {
        let zone = TimeZone::get("America/New_York").unwrap();
        let noon: jiff::Timestamp = "2026-11-25T17:00:00Z".parse().unwrap();
        let now_ms = u64::try_from(noon.as_millisecond()).unwrap();
        let seen = Seen { user: "Practitioner/d1", base: "http://up/fhir", now_ms, zone: &zone };
        let bundle = json!({"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": record}]});
        let mut patients = BTreeSet::new();
        let next = read(kind, seen, &Bytes::from(bundle.to_string()), &mut patients).unwrap();
        assert_eq!(next, None);
        patients.into_iter().collect()
    }

    fn with(mut record: Value, path: &str, value: Value) -> Value {
        *record.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        record
    }

    #[test]
    fn a_care_team_relates_those_who_take_part_in_it_now() {
        let team = json!({
            "resourceType": "CareTeam", "status": "active", "subject": {"reference": "http://up/fhir/Patient/p1"},
            "period": {"start": "2026-11-01", "end": "2026-11-25"},
            "participant": [{"member": {"reference": "Practitioner/d2"}}, {"member": {"reference": "Practitioner/d1"}, "period": {"start": "2026"}}],
        });
        let of = |record| found(&RelationKind::CareTeam, record);
        // A period that is not understood has ended, so the participant's year alone proves nothing.
        assert!(of(team.clone()).is_empty());
        let team = with(team, "/participant/1/period", json!({"end": "2026-11-25"}));
        assert_eq!(of(team.clone()), ["p1"]);
        for (path, value) in [
            ("/status", json!("inactive")),
            ("/period/end", json!("2026-11-24")),
            ("/period/start", json!("2026-11-26")),
            ("/participant/1/period/end", json!("2026-11-24")),
            ("/participant/1/member/reference", json!("Practitioner/d3")),
            ("/participant/1/member/reference", json!("http://other/fhir/Practitioner/d1")),
            ("/subject/reference", json!("Group/p1")),
            ("/resourceType", json!("CarePlan")),
        ] {
            assert!(of(with(team.clone(), path, value.clone())).is_empty(), "{path} {value}");
        }
    }

    #[test]
    fn an_encounter_relates_while_it_runs_and_as_long_after_as_is_said() {
        let visit = json!({
            "resourceType": "Encounter", "status": "in-progress", "subject": {"reference": "Patient/p1"},
            "period": {"start": "2026-11-25T08:00:00-05:00"},
            "participant": [{"individual": {"reference": "Practitioner/d1"}}],
        });
        let kind =
            |ended_within_h| RelationKind::Encounter { status: vec!["in-progress".into()], ended_within_h };
        assert_eq!(found(&kind(0), visit.clone()), ["p1"]);
        let over = with(visit.clone(), "/status", json!("finished"));
        assert!(found(&kind(24), over.clone()).is_empty(), "nobody says when it ended");
        let over =
            with(over, "/period", json!({"start": "2026-11-24T08:00:00Z", "end": "2026-11-25T05:00:00Z"}));
        // Twelve hours ago.
        assert!(found(&kind(0), over.clone()).is_empty());
        assert!(found(&kind(11), over.clone()).is_empty());
        assert_eq!(found(&kind(12), over.clone()), ["p1"]);
        assert!(found(&kind(24), with(over, "/status", json!("cancelled"))).is_empty());
        assert!(
            found(&kind(0), with(visit, "/participant/0/individual/reference", json!("Practitioner/x")))
                .is_empty()
        );
        let today = "2026-11-25".parse().unwrap();
        let paths = paths(&kind(24), "Practitioner/d1", today);
        assert_eq!(paths[0], "/Encounter?participant=Practitioner/d1&status=in-progress&_count=200");
        assert_eq!(
            paths[1],
            "/Encounter?participant=Practitioner/d1&status=finished&date=ge2026-11-23&_count=200"
        );
    }

    #[test]
    fn a_general_practitioner_is_who_the_patients_own_record_names() {
        let patient = json!({"resourceType": "Patient", "id": "p1", "generalPractitioner": [{"reference": "Practitioner/d1"}]});
        let of = |record| found(&RelationKind::GeneralPractitioner, record);
        assert_eq!(of(patient.clone()), ["p1"]);
        assert!(of(with(patient.clone(), "/generalPractitioner", json!([]))).is_empty());
        assert!(of(with(patient, "/id", json!("p 1"))).is_empty());
    }

    #[test]
    fn an_answer_that_could_be_read_two_ways_is_none() {
        let zone = TimeZone::UTC;
        let seen = Seen { user: "Practitioner/d1", base: "http://up/fhir", now_ms: 0, zone: &zone };
        let of = |text: &'static str| {
            let mut patients = BTreeSet::new();
            read(
                &RelationKind::GeneralPractitioner,
                seen,
                &Bytes::from_static(text.as_bytes()),
                &mut patients,
            )
        };
        for text in [
            "{\"resourceType\":\"Bundle\",\"type\":\"history\"}",
            "{\"resourceType\":\"OperationOutcome\"}",
            "{\"resourceType\":\"Bundle\",\"type\":\"searchset\",\"type\":\"searchset\"}",
            "[]",
            "{\"resourceType\":\"Bundle\",\"type\":\"sear",
        ] {
            assert_eq!(of(text), Err(Failure::Body), "{text}");
        }
    }
}
