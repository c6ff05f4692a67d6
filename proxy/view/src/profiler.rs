//! From a record's facts to what policies can read of it: labels, relations, ages, merged conservatively.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::caller::Caller;
use crate::facts::{Facts, RecordFacts};
use crate::labels::Labels;
use crate::overrides::Overrides;
use crate::profile::{Profile, Subject};

/// Makes profiles for one tenant.
#[derive(Debug)]
pub struct Profiler {
    labels: Arc<Labels>,
    overrides: Arc<Overrides>,
}

/// What was looked up of patients, by bare logical id: dates of birth (`YYYY-MM-DD` or partial).
pub type Known = BTreeMap<String, String>;

/// What all records of one entry share.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    labels: BTreeSet<String>,
    classified: bool,
    patient: Subject,
}

impl Profiler {
    /// With the tenant's code lists and the officer's list.
    pub fn new(labels: Arc<Labels>, overrides: Arc<Overrides>) -> Self {
        Self { labels, overrides }
    }

    /// What all records of an entry share. Everything in it carries the labels of the whole entry, since what is
    /// contained speaks of what contains it.
    pub fn shared(&self, facts: &Facts, caller: &Caller, known: &Known) -> Shared {
        let mut labels = BTreeSet::new();
        let mut classified = true;
        // A department as such is no record of anybody's care.
        let directory = facts.main().is_some_and(|m| DIRECTORY.contains(&m.resource_type.as_str()));
        for record in &facts.records {
            let found = self.labels.judge(record, &self.overrides, !directory);
            labels.extend(found.labels);
            classified &= found.classified;
        }
        let patient = facts.main().map(|main| {
            let patients: BTreeSet<&str> = main.patients.iter().map(String::as_str).collect();
            self.about(main, &patients, main.patients_complete, caller, known)
        });
        Shared { labels, classified, patient: patient.unwrap_or_default() }
    }

    /// The profile of the record at `index` of an entry: 0 is the record itself. A contained record is about its
    /// container's patients as well as its own.
    pub fn profile(&self, facts: &Facts, index: usize, caller: &Caller) -> Profile {
        let known = Known::new();
        self.profile_in(&self.shared(facts, caller, &known), facts, index, caller, &known)
    }

    /// The same, where what the records share was already found: an entry may contain thousands.
    pub fn profile_in(
        &self,
        shared: &Shared,
        facts: &Facts,
        index: usize,
        caller: &Caller,
        known: &Known,
    ) -> Profile {
        let nothing = RecordFacts::default();
        let own = facts.records.get(index).unwrap_or(&nothing);
        let main = facts.main().unwrap_or(&nothing);
        let patient = if index == 0 || own.patients.is_empty() {
            shared.patient.clone()
        } else {
            let patients = main.patients.iter().chain(&own.patients).map(String::as_str).collect();
            self.about(main, &patients, main.patients_complete && own.patients_complete, caller, known)
        };
        let today = Date::parse(&caller.environment.today);
        Profile {
            resource_type: own.resource_type.clone(),
            labels: shared.labels.clone(),
            classified: shared.classified,
            category_codes: own.category_codes.iter().cloned().collect(),
            status: own.status.clone(),
            age_days: own
                .date
                .as_deref()
                .and_then(Date::parse_latest)
                .zip(today)
                .map(|(d, t)| t.days() - d.days()),
            departments: own.departments.iter().cloned().collect(),
            insurers: own.insurers.iter().map(|i| self.insurer(i, caller)).collect(),
            authored_by_caller: caller.fhir_user.as_ref().is_some_and(|user| own.authors.contains(user)),
            patient,
        }
    }

    fn about(
        &self,
        main: &RecordFacts,
        patients: &BTreeSet<&str>,
        complete: bool,
        caller: &Caller,
        known: &Known,
    ) -> Subject {
        let patients: Vec<&str> = patients.iter().copied().collect();
        let birth_date = (main.resource_type == "Patient").then_some(main.birth_date.as_deref()).flatten();
        self.subject(&patients, complete, birth_date, caller, known)
    }

    /// The profile of a patient before any record of it is seen: nothing sensitive, everything classified. Judges use
    /// it to narrow searches; each record is still judged by its own.
    pub fn expected(&self, resource_type: &str, patient_id: &str, caller: &Caller) -> Profile {
        Profile {
            resource_type: resource_type.to_owned(),
            labels: BTreeSet::new(),
            classified: true,
            category_codes: BTreeSet::new(),
            status: None,
            age_days: Some(0),
            departments: BTreeSet::new(),
            insurers: BTreeSet::new(),
            authored_by_caller: false,
            patient: self.subject(&[patient_id], true, None, caller, &Known::new()),
        }
    }

    fn insurer(&self, insurer: &str, caller: &Caller) -> String {
        let own = caller
            .organization
            .as_deref()
            .is_some_and(|o| insurer == o || insurer == format!("Organization/{o}"));
        if own { "own".to_owned() } else { insurer.to_owned() }
    }

    fn subject(
        &self,
        patients: &[&str],
        complete: bool,
        birth_date: Option<&str>,
        caller: &Caller,
        known: &Known,
    ) -> Subject {
        let today = Date::parse(&caller.environment.today);
        if patients.is_empty() || !complete {
            // Labels of the patients that were found still count: they only ever forbid.
            let labels =
                patients.iter().filter_map(|p| self.overrides.of(p)).flat_map(|o| o.labels.clone()).collect();
            let consent_denies =
                patients.iter().filter_map(|p| self.overrides.of(p)).flat_map(|o| o.denies.clone()).collect();
            return Subject { labels, consent_denies, ..Subject::default() };
        }
        let mut subject = Subject { known: true, is_caller: true, ..Subject::default() };
        let mut youngest: Option<Option<i64>> = None;
        for (place, patient) in patients.iter().enumerate() {
            let relation = caller.relation(patient);
            let is = relation.map(|r| r.is.clone()).unwrap_or_default();
            let listed = self.overrides.of(patient).cloned().unwrap_or_default();
            if place == 0 {
                subject.relations = is;
                subject.consent_releases = listed.releases;
            } else {
                subject.relations = subject.relations.intersection(&is).cloned().collect();
                subject.consent_releases =
                    subject.consent_releases.intersection(&listed.releases).cloned().collect();
            }
            subject.labels.extend(listed.labels);
            subject.consent_denies.extend(listed.denies);
            subject.is_caller &= caller.patient.as_deref() == Some(patient) && is_patient(caller)
                || caller.fhir_user.as_deref() == Some(&format!("Patient/{patient}"));
            // The record's own birth date, else the issuer's word, else what was looked up; one unknown age makes the
            // youngest unknown.
            let said = relation.and_then(|r| r.birth_date.as_deref());
            let born = birth_date.or(said).or_else(|| known.get(*patient).map(String::as_str));
            let age = born.and_then(Date::parse_latest).zip(today).map(|(b, t)| b.years_until(t));
            youngest = Some(match youngest {
                None => age,
                Some(known) => known.zip(age).map(|(a, b)| a.min(b)),
            });
        }
        subject.age_years = youngest.flatten();
        subject
    }
}

/// Types that describe places and people who work there.
const DIRECTORY: [&str; 6] = [
    "HealthcareService",
    "Location",
    "Organization",
    "OrganizationAffiliation",
    "Practitioner",
    "PractitionerRole",
];

/// A launch context names a patient for clinicians too; it makes only somebody in the role of a patient that patient.
fn is_patient(caller: &Caller) -> bool {
    caller.fhir_user.is_none() && caller.roles.contains("patient")
}

/// A civil date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// `YYYY-MM-DD`, with whatever follows.
    pub fn parse(text: &str) -> Option<Self> {
        let date = Self::parse_latest(text)?;
        (text.len() >= 10).then_some(date)
    }

    /// A FHIR date or dateTime; of a partial one the latest day it can mean, so that nobody is taken for older and
    /// no record for longer past than it may be.
    pub fn parse_latest(text: &str) -> Option<Self> {
        let date = text.split('T').next()?;
        let mut parts = date.split('-');
        let number = |part: Option<&str>, width: usize| -> Option<Option<i64>> {
            match part {
                None => Some(None),
                Some(p) if p.len() == width && p.bytes().all(|b| b.is_ascii_digit()) => Some(p.parse().ok()),
                Some(_) => None,
            }
        };
        let year = number(parts.next(), 4)??;
        let month = number(parts.next(), 2)?;
        let day = number(parts.next(), 2)?;
        if parts.next().is_some() {
            return None;
        }
        let month = month.unwrap_or(12);
        let last = Self::days_in(year, month)?;
        let day = day.unwrap_or(last);
        (1..=last).contains(&day).then_some(Self { year, month, day })
    }

    fn days_in(year: i64, month: i64) -> Option<i64> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        Some(match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        })
    }

    /// Days since a fixed day; only differences mean anything.
    pub fn days(self) -> i64 {
        // Years counted from March, so that the leap day is the last of its year.
        let (year, month) =
            if self.month > 2 { (self.year, self.month - 3) } else { (self.year - 1, self.month + 9) };
        year * 365 + year.div_euclid(4) - year.div_euclid(100)
            + year.div_euclid(400)
            + (month * 153 + 2) / 5
            + self.day
    }

    /// Whole years from this date to `then`.
    pub fn years_until(self, then: Self) -> i64 {
        let had_birthday = (then.month, then.day) >= (self.month, self.day);
        then.year - self.year - i64::from(!had_birthday)
    }

    /// The year.
    pub fn year(self) -> i64 {
        self.year
    }
}

#[cfg(test)]
mod tests;
