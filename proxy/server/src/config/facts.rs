//! `facts.yaml`: where each fact comes from, with which identity it is looked up, how old it may be, what its absence means.

use std::time::Duration;

use drape_view::fault::Fault;

use super::read::{Faults, Table};

/// The rules of one tenant.
#[derive(Clone, Debug)]
pub struct FactRules {
    /// Whether the token's relations are believed.
    pub relations_by_claim: bool,
    /// Relations that are looked up for each caller.
    pub relations: Vec<RelationLookup>,
    /// Whether the token's dates of birth are believed.
    pub ages_by_claim: bool,
    /// Dates of birth from Patient records.
    pub ages: Option<Lookup>,
    /// What is looked up of records that others name; `None`: every reference stays.
    pub references: Option<References>,
}

/// One kind of record that says what a caller is to whom.
#[derive(Clone, Debug)]
pub struct RelationLookup {
    /// Which.
    pub kind: RelationKind,
    /// What the caller then is: `treating`, `careTeam`, …
    pub is: String,
    /// How.
    pub lookup: Lookup,
}

/// What is searched for, and what of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelationKind {
    /// Active care teams in which the caller takes part now.
    CareTeam,
    /// Encounters in which the caller takes part.
    Encounter {
        /// Statuses of an encounter that goes on.
        status: Vec<String>,
        /// How long the relation outlives the encounter's end, in hours.
        ended_within_h: u64,
    },
    /// Patients who name the caller as their general practitioner.
    GeneralPractitioner,
}

impl RelationKind {
    /// The word in logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CareTeam => "care-team",
            Self::Encounter { .. } => "encounter",
            Self::GeneralPractitioner => "general-practitioner",
        }
    }
}

/// How something is looked up.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// A name under `upstream.identities`; `None`: the credential of `upstream.auth`.
    pub identity: Option<String>,
    /// How long an answer holds, in milliseconds.
    pub max_age_ms: u64,
    /// For all pages together.
    pub deadline: Duration,
    /// Requests at one time.
    pub concurrency_max: usize,
    /// All pages together.
    pub response_bytes_max: usize,
    /// Pages of one answer.
    pub pages_max: usize,
    /// Whether a failure refuses the request; else nothing is known.
    pub refuse: bool,
}

/// How it is found out whether a record that is named would be received.
#[derive(Clone, Debug)]
pub struct References {
    /// How.
    pub lookup: Lookup,
    /// Records looked up for one window of an answer.
    pub targets_max: usize,
}

const STATUSES: [&str; 9] = [
    "planned",
    "arrived",
    "triaged",
    "in-progress",
    "onleave",
    "finished",
    "cancelled",
    "entered-in-error",
    "unknown",
];

impl FactRules {
    /// Reads the file; every fault at once.
    pub fn parse(yaml: &str) -> Result<Self, Vec<Fault>> {
        let value: serde_json::Value = drape_view::yaml::read("facts.yaml", yaml)?;
        let serde_json::Value::Object(members) = value else {
            return Err(vec![
                Fault::new("facts.yaml", "must be a mapping").help("start from policies/facts.yaml"),
            ]);
        };
        let mut faults = Faults::default();
        let rules = Self::read(Table::root(members), &mut faults);
        let named = |f: Fault| Fault { path: format!("facts.yaml {}", f.path), ..f };
        if faults.0.is_empty() { Ok(rules) } else { Err(faults.0.into_iter().map(named).collect()) }
    }

    fn read(mut root: Table, faults: &mut Faults) -> Self {
        if root.whole("version", 0, 0..=u64::MAX, faults) != 1 {
            faults.add("version", "is not known", "write 1".to_owned());
        }
        let mut rules = Self {
            relations_by_claim: true,
            relations: Vec::new(),
            ages_by_claim: true,
            ages: None,
            references: None,
        };
        let help = "`{claim: true}` where only the token's are believed";
        if let Some(mut t) = root.required_table("relations", help, faults) {
            rules.relations_by_claim = t.flag("claim", true, faults);
            if let Some(t) = t.table("care_team", faults) {
                rules.relations.push(relation(RelationKind::CareTeam, t, faults));
            }
            if let Some(mut t) = t.table("encounter", faults) {
                let kind = encounter(&mut t, faults);
                rules.relations.push(relation(kind, t, faults));
            }
            if let Some(t) = t.table("general_practitioner", faults) {
                rules.relations.push(relation(RelationKind::GeneralPractitioner, t, faults));
            }
            t.finish(faults);
        }
        if let Some(mut t) = root.required_table("ages", help, faults) {
            rules.ages_by_claim = t.flag("claim", true, faults);
            rules.ages = t.table("patient", faults).map(|mut t| {
                let found = lookup(&mut t, 86_400, faults);
                t.finish(faults);
                found
            });
            t.finish(faults);
        }
        let help = "`{mode: check}`, or `{mode: keep}` where references may tell of withheld records";
        if let Some(mut t) = root.required_table("references", help, faults) {
            let mode = t.required("mode", "check or keep", faults);
            let references = References {
                lookup: lookup(&mut t, 60, faults),
                targets_max: size(t.whole("targets_max", 500, 1..=10_000, faults)),
            };
            match mode.as_str() {
                "check" => rules.references = Some(references),
                "keep" | "" => {}
                other => {
                    faults.add(&t.at("mode"), format!("`{other}` is not known"), "check or keep".to_owned())
                }
            }
            t.finish(faults);
        }
        root.finish(faults);
        rules
    }

    /// The identities that are named, each with where.
    pub fn identities(&self) -> impl Iterator<Item = (&'static str, Option<&str>)> {
        let relations = self.relations.iter().map(|r| (r.kind.name(), r.lookup.identity.as_deref()));
        let ages = self.ages.iter().map(|l| ("ages.patient", l.identity.as_deref()));
        let references = self.references.iter().map(|r| ("references", r.lookup.identity.as_deref()));
        relations.chain(ages).chain(references)
    }
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn encounter(t: &mut Table, faults: &mut Faults) -> RelationKind {
    let usual = || ["arrived", "triaged", "in-progress", "onleave"].map(str::to_owned).to_vec();
    let status = t.strings("status", faults).unwrap_or_else(usual);
    if status.is_empty() {
        faults.add(&t.at("status"), "is empty", "leave it out for the usual ones".to_owned());
    }
    for word in status.iter().filter(|s| !STATUSES.contains(&s.as_str())) {
        let help = format!("known: {}", STATUSES.join(", "));
        faults.add(&t.at("status"), format!("`{word}` is no status of an encounter"), help);
    }
    RelationKind::Encounter { status, ended_within_h: t.whole("ended_within_h", 0, 0..=8_760, faults) }
}

fn relation(kind: RelationKind, mut t: Table, faults: &mut Faults) -> RelationLookup {
    let is = t.required("is", "what the caller then is to the patient, e.g. `treating`", faults);
    let lookup = lookup(&mut t, 300, faults);
    t.finish(faults);
    RelationLookup { kind, is, lookup }
}

fn lookup(t: &mut Table, max_age_s: u64, faults: &mut Faults) -> Lookup {
    let refuse = match t.string("on_failure", faults).as_deref() {
        None | Some("unknown") => false,
        Some("refuse") => true,
        Some(other) => {
            faults.add(
                &t.at("on_failure"),
                format!("`{other}` is not known"),
                "unknown or refuse".to_owned(),
            );
            false
        }
    };
    Lookup {
        identity: t.string("identity", faults),
        max_age_ms: t.whole("max_age_s", max_age_s, 1..=86_400, faults) * 1_000,
        deadline: t.millis("deadline_ms", 2_000, 1..=60_000, faults),
        concurrency_max: size(t.whole("concurrency_max", 8, 1..=1_000, faults)),
        response_bytes_max: size(t.whole("response_bytes_max", 4 << 20, 1..=256 << 20, faults)),
        pages_max: size(t.whole("pages_max", 5, 1..=1_000, faults)),
        refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_looks_up_nothing_but_what_records_name() {
        let rules = FactRules::parse(drape_view::shipped::FACTS).unwrap();
        assert!(rules.relations.is_empty() && rules.ages.is_none());
        assert!(rules.relations_by_claim && rules.ages_by_claim && rules.references.is_some());
        assert!(rules.identities().all(|(_, identity)| identity.is_none()));
    }

    #[test]
    fn the_shipped_file_without_its_marks_is_sound_too() {
        // The examples in it are made of keys alone; a line of words has two spaces or none.
        let open: String = drape_view::shipped::FACTS
            .lines()
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.strip_prefix("  # ").map_or(l.to_owned(), |rest| format!("  {rest}")))
            .filter(|l| l.trim() != "#" && (l.contains(':') || l.trim().is_empty()))
            .filter(|l| !l.trim_start().starts_with(|c: char| c.is_ascii_uppercase()))
            .fold(String::new(), |all, line| all + &line + "\n");
        let rules = FactRules::parse(&open).unwrap_or_else(|f| panic!("{f:?}\n{open}"));
        assert_eq!(rules.relations.len(), 3);
        assert!(rules.ages.is_some());
        let of = |name| rules.identities().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!((of("care-team"), of("references")), (Some("facts"), Some("facts")));
        let encounter = RelationKind::Encounter {
            status: ["arrived", "triaged", "in-progress", "onleave"].map(str::to_owned).to_vec(),
            ended_within_h: 24,
        };
        assert_eq!(rules.relations[1].kind, encounter);
        // Written out, the values are the defaults.
        let bare = FactRules::parse(
            "{version: 1, relations: {care_team: {is: careTeam, identity: facts}}, ages: {}, references: {mode: keep}}",
        );
        assert_eq!(format!("{:?}", bare.unwrap().relations[0]), format!("{:?}", rules.relations[0]));
    }

    #[test]
    fn every_fault_of_the_file_is_found_at_once() {
        let yaml = "{version: 2, relations: {care_team: {max_age: 3}, encounter: {is: x, status: [running]}}, ages: {patient: {on_failure: guess}}, references: {mode: perhaps}, extra: 1}";
        let all: Vec<String> = FactRules::parse(yaml).unwrap_err().iter().map(Fault::to_string).collect();
        let all = all.join("\n");
        for part in [
            "facts.yaml version: is not known",
            "relations.care_team.is: is required",
            "relations.care_team.max_age: is not a known key",
            "did you mean `max_age_s`?",
            "`running` is no status",
            "ages.patient.on_failure: `guess`",
            "references.mode: `perhaps`",
            "extra: is not a known key",
        ] {
            assert!(all.contains(part), "{part} not in {all}");
        }
        assert!(FactRules::parse("").is_err() && FactRules::parse("[]").is_err());
    }
}
