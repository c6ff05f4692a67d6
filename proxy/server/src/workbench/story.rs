//! What the stages found, told to people: one line after the other, in the order of the request.

use std::fmt::Write as _;

use drape_audit::trace::{Determined, Question, Trace as Asked};
use drape_policy::PolicySet;
use drape_view::{Basis, Caller, Category, CategorySet, Profile, Treatment, Verdict, Why};

use crate::trace::{Judged, Part};

/// A text that grows.
pub struct Story<'a> {
    out: String,
    set: Option<&'a PolicySet>,
}

/// Categories of which the same is to be said.
struct Group<'a> {
    treatment: Treatment,
    why: Option<&'a Why>,
    categories: Vec<&'static str>,
}

/// Where the text of a line begins.
const INDENT: usize = 10;

impl<'a> Story<'a> {
    /// Nothing yet. The policies say where each of them stands; without them only their ids are told.
    pub fn new(set: Option<&'a PolicySet>) -> Self {
        Self { out: String::new(), set }
    }

    /// The whole text.
    pub fn text(self) -> String {
        self.out
    }

    /// A line under a heading; an empty heading goes on under the last one.
    pub fn line(&mut self, head: &str, text: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{head:<INDENT$}{text}");
    }

    /// A line as it is.
    pub fn plain(&mut self, text: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{text}");
    }

    /// A policy with the place where it stands.
    pub fn named(&self, id: &str) -> String {
        match self.set.and_then(|set| set.place(id)) {
            Some(place) => format!("{id} ({place})"),
            None => id.to_owned(),
        }
    }

    fn policies(&self, ids: &[String]) -> String {
        ids.iter().map(|id| self.named(id)).collect::<Vec<_>>().join(", ")
    }

    /// Who asks. `ids`: whether patients may be named.
    pub fn who(&mut self, caller: &Caller, ids: bool) {
        let name = caller.name.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
        self.line("Who", format!("`{}` of {}{name}", caller.subject, caller.issuer));
        let list = |items: &mut dyn Iterator<Item = &String>| {
            let items: Vec<&str> = items.map(String::as_str).collect();
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        };
        let purpose = match caller.purpose.as_str() {
            "" => "no purpose of use is stated".to_owned(),
            purpose => format!("purpose of use {purpose}"),
        };
        let idle: Vec<&String> = caller.held_roles.difference(&caller.roles).collect();
        let mut roles = format!("{purpose}; acts as: {}", list(&mut caller.roles.iter()));
        if !idle.is_empty() {
            roles.push_str(&format!("; holds and does not act as: {}", list(&mut idle.into_iter())));
        }
        self.line("", roles);
        if !caller.relations.is_empty() {
            let told: Vec<String> = caller
                .relations
                .iter()
                .filter(|(_, relation)| !relation.is.is_empty())
                .map(|(patient, relation)| {
                    let is = relation.is.iter().map(String::as_str).collect::<Vec<_>>().join(" and ");
                    format!("{is} to {}", if ids { patient } else { "a patient" })
                })
                .collect();
            self.line("", format!("relations: {}", told.join(", ")));
        }
        if let Some(patient) = &caller.patient {
            self.line("", format!("patient in context: {}", if ids { patient } else { "one" }));
        }
        if let Some(user) = &caller.fhir_user {
            self.line("", format!("own record: {user}"));
        }
        let env = &caller.environment;
        let from = env.network.map(|n| format!(", from {n}")).unwrap_or_default();
        let minute = env.minute_of_day % 60;
        let glass = if env.break_glass { "; emergency access is declared" } else { "" };
        self.line("", format!("{} {:02}:{minute:02}{from}{glass}", env.today, env.hour));
    }

    /// Scopes, criteria, questions to policy and what was rewritten.
    pub fn asked(&mut self, asked: &Asked) {
        let mut head = "Scopes";
        for scoped in &asked.scopes {
            let needs = short(&scoped.needs);
            let text = match (scoped.granted, scoped.by.is_empty()) {
                (true, true) => format!("{needs}: the issuer's tokens need none"),
                (true, false) => format!("{needs}: covered by {}", scoped.by.join(" ")),
                (false, true) => format!("{needs}: NOT covered by any"),
                (false, false) => format!("{needs}: NOT covered; {} do not reach it", scoped.by.join(" ")),
            };
            let only = if scoped.patient_only { ", for the patient in context only" } else { "" };
            self.line(std::mem::take(&mut head), format!("{text}{only}"));
        }
        let mut head = "Criteria";
        for criterion in &asked.criteria {
            let ruling = match criterion.ruling.as_str() {
                "open" => "open: the caller is shown it whatever the record",
                "shown" => "allowed: every record that is received shows it",
                "by-pseudonym" => "by pseudonym",
                "narrowed" => "only among patients whose relation to the caller is proved",
                "counted" => "may be counted by",
                "refused" => "REFUSED",
                other => other,
            };
            let text = format!("`{}` reads {}: {ruling}", criterion.name, criterion.category);
            self.line(std::mem::take(&mut head), text);
        }
        let mut head = "Policy";
        for question in &asked.questions {
            let text = self.question(question);
            self.line(std::mem::take(&mut head), text);
        }
        let mut head = "Rewritten";
        for what in &asked.rewritten {
            self.line(std::mem::take(&mut head), what);
        }
        if asked.more > 0 {
            self.line("", format!("({} more are not listed)", asked.more));
        }
    }

    fn question(&self, question: &Question) -> String {
        let Question { action, about, allowed, erred, policies } = question;
        let what = format!("{action} {}", short(about));
        match (allowed, erred, policies.is_empty()) {
            (true, ..) => format!("{what}: permitted by {}", self.policies(policies)),
            (false, true, true) => format!("{what}: REFUSED, a policy erred"),
            (false, true, false) => {
                format!("{what}: REFUSED, a policy erred beside {}", self.policies(policies))
            }
            (false, false, true) => format!("{what}: REFUSED, nothing permits it"),
            (false, false, false) => format!("{what}: REFUSED by {}", self.policies(policies)),
        }
    }

    /// A record: what policies read of it, whether it is received, and what becomes of each category in it.
    pub fn record(&mut self, judged: &Judged, present: Option<CategorySet>, values: bool) {
        let part = match judged.part {
            Part::Answer => "",
            Part::Stored => ", as it is stored",
            Part::Owner => ", to which it belongs",
        };
        self.plain(format!("  {}{part}: {}", judged.name, profile(&judged.profile, values)));
        let by = self.policies(&judged.received_by);
        match &judged.verdict {
            Verdict::Withhold(reason) => {
                let by = match judged.received_by.is_empty() {
                    true => "nothing permits it to be received".to_owned(),
                    false => by,
                };
                self.plain(format!("    WITHHELD ({}): {by}", reason.name()));
            }
            Verdict::Keep(plan) => {
                self.plain(format!("    received by {by}"));
                if judged.hides_references {
                    self.plain("    references to records that are withheld are left out");
                }
                let mut groups: Vec<Group<'_>> = Vec::new();
                let stands = |c: &Category| present.is_none_or(|present| present.contains(*c));
                for category in Category::ALL.into_iter().filter(stands) {
                    let (treatment, why) = (plan.treatment(category), plan.why(category).map(|why| &**why));
                    match groups.iter_mut().find(|g| g.treatment == treatment && g.why == why) {
                        Some(group) => group.categories.push(category.name()),
                        None => groups.push(Group { treatment, why, categories: vec![category.name()] }),
                    }
                }
                groups.sort_by_key(|group| group.treatment.rank());
                for Group { treatment, why, categories } in groups {
                    let why = why.map(|why| self.why(why)).unwrap_or_default();
                    self.plain(format!("    {:<13}{}", treatment.name(), categories.join(", ")));
                    self.plain(format!("    {:<13}{why}", ""));
                }
            }
        }
    }

    fn why(&self, why: &Why) -> String {
        let mut parts = vec![match why.basis {
            Basis::Permitted => format!("permitted by {}", self.policies(&why.policies)),
            Basis::Refused => "nothing that would show it is permitted".to_owned(),
            basis => rule(basis.name()).to_owned(),
        }];
        let nothing: Vec<&str> = why
            .refused
            .iter()
            .filter(|rung| rung.policies.is_empty() && !rung.erred)
            .map(|rung| rung.rung.name())
            .collect();
        for rung in &why.refused {
            if rung.erred {
                parts.push(format!("{}: a policy erred", rung.rung.name()));
            } else if !rung.policies.is_empty() {
                parts.push(format!("{} is forbidden by {}", rung.rung.name(), self.policies(&rung.policies)));
            }
        }
        if !nothing.is_empty() && why.basis != Basis::Carrier {
            parts.push(format!("no policy permits {}", nothing.join(", ")));
        }
        parts.join("; ")
    }

    /// By which policies what was seen, over all records.
    pub fn determined(&mut self, determined: &[Determined]) {
        let mut head = "Elements";
        for one in determined {
            let text = counted(one, &self.policies(&one.policies));
            self.line(std::mem::take(&mut head), text);
        }
    }
}

/// How many elements of which categories were treated so, and why. `policies`: how the determining ones are named.
pub fn counted(one: &Determined, policies: &str) -> String {
    let count = |(category, n): (&String, &u64)| match category.as_str() {
        "all" => format!("{n} whole record(s)"),
        category => format!("{category} {n}"),
    };
    let counts: Vec<String> = one.categories.iter().map(count).collect();
    format!("{}: {}; {}", one.treatment, counts.join(", "), reason(one, policies))
}

/// Why they were treated so.
pub fn reason(one: &Determined, policies: &str) -> String {
    match (one.basis.as_str(), one.policies.is_empty()) {
        ("permitted", _) => format!("by {policies}"),
        ("refused", true) => "as no policy permits more".to_owned(),
        ("refused", false) => format!("as {policies} forbids more"),
        (basis, _) => rule(basis).to_owned(),
    }
}

/// What decides where policy does not.
fn rule(basis: &str) -> &'static str {
    match basis {
        "erred" => "a policy erred, and an error is a no",
        "carrier" => "could repeat what else is hidden of the record",
        "unfit" => "cannot bear what policy permits",
        "container" => "as strictly as the record around it",
        "silent" => "would be sealed, which may not show here",
        _ => "for a reason that is not known here",
    }
}

/// The first few of a long list.
fn short(list: &[String]) -> String {
    const SHOWN: usize = 6;
    let first = list.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match list.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// What policies read of a record. Values stay out, but for those who want them.
fn profile(profile: &Profile, values: bool) -> String {
    let set = |items: &std::collections::BTreeSet<String>| {
        items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut parts = Vec::new();
    if !profile.labels.is_empty() {
        parts.push(format!("labelled {}", set(&profile.labels)));
    }
    if !profile.classified {
        parts.push("no code list can judge its content".to_owned());
    }
    let patient = &profile.patient;
    parts.push(match (patient.known, patient.is_caller, patient.relations.is_empty()) {
        (false, ..) => "about no patient that is known".to_owned(),
        (true, true, _) => "about the caller".to_owned(),
        (true, false, true) => "its patient is nothing to the caller".to_owned(),
        (true, false, false) => format!("the caller is {} to its patient", set(&patient.relations)),
    });
    if !patient.labels.is_empty() {
        parts.push(format!("patient labelled {}", set(&patient.labels)));
    }
    for (name, codes) in
        [("consent releases", &patient.consent_releases), ("consent denies", &patient.consent_denies)]
    {
        if !codes.is_empty() {
            parts.push(format!("{name} {}", set(codes)));
        }
    }
    if profile.authored_by_caller {
        parts.push("written by the caller".to_owned());
    }
    if values {
        parts.extend(profile.age_days.map(|days| format!("{days} days old")));
        parts.extend(patient.age_years.map(|years| format!("patient of {years} years")));
        parts.extend(profile.status.as_ref().map(|status| format!("status {status}")));
    }
    parts.join("; ")
}
