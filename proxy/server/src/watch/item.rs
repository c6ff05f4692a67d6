//! One request as it is watched and recorded: who, what was asked of policy and answered, and the kinds of records. No
//! value of a record, no id of a patient, no name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drape_keys::secret::{Secret, blind_index};
use drape_policy::compare::{Difference, answer_difference, treatment, verdict_differences};
use drape_policy::{Action, Inquiry, Standing};
use drape_view::{
    Caller, Category, Coarsening, Environment, Plan, Profile, Proof, Reason, Subject, Treatment, Verdict,
};
use serde::{Deserialize, Serialize};

/// What was heard of one request.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The policies in force.
    pub digest: String,
    /// FHIR's word for what was asked.
    pub route: String,
    /// Who asked; of a recording, under a pseudonym.
    pub caller: Arc<Caller>,
    /// Whether records were reduced silently.
    pub silent: bool,
    /// What was asked of policy.
    pub answers: Vec<Answered>,
    /// The kinds of records that streamed by.
    pub records: Vec<Judged>,
    /// Records of further kinds.
    pub more: u64,
}

/// A question with its answer.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What was asked.
    pub question: Inquiry,
    /// In one word.
    pub answer: String,
    /// By these policies.
    pub policies: Vec<String>,
}

/// Records of one profile.
#[derive(Clone, Debug)]
pub struct Judged {
    /// All that policies can read of them.
    pub profile: Profile,
    /// What became of them.
    pub verdict: Verdict,
    /// How many there were.
    pub count: u64,
}

impl Heard {
    /// What a candidate would have decided otherwise, each with how often.
    pub fn against(&self, candidate: &Standing, candidate_silent: bool) -> Vec<(Difference, u64)> {
        let mut found = Vec::new();
        let difference =
            |what, resource_type: &str, from: &str, to: &str, kind, old: Vec<String>, new| Difference {
                what,
                types: Some(resource_type.to_owned()).filter(|t| !t.is_empty()).into_iter().collect(),
                from: from.to_owned(),
                to: to.to_owned(),
                kind,
                given: Vec::new(),
                unless: Vec::new(),
                more: false,
                old_policies: old,
                new_policies: new,
            };
        for Answered { question, answer, policies } in &self.answers {
            let (other, others) = candidate.answer(question);
            if let Some((what, kind)) = answer_difference(question, answer, other) {
                let one = difference(what, of_type(question), answer, other, kind, policies.clone(), others);
                found.push((one, 1));
            }
        }
        for Judged { profile, verdict, count } in &self.records {
            let was = as_seen(verdict.clone(), profile, self.silent);
            let is = as_seen(candidate.verdict(profile), profile, candidate_silent);
            let old = || match verdict {
                Verdict::Keep(plan) => plan.policies().to_vec(),
                Verdict::Withhold(_) => Vec::new(),
            };
            for (what, from, to, kind) in verdict_differences(&was, &is) {
                let category = match what {
                    drape_policy::compare::What::Category(category) => Some(category),
                    _ => None,
                };
                let new = candidate.deciding(profile, category);
                found.push((difference(what, &profile.resource_type, &from, &to, kind, old(), new), *count));
            }
        }
        found
    }
}

/// What reaches the caller by such a verdict.
fn as_seen(verdict: Verdict, profile: &Profile, silent: bool) -> Verdict {
    match verdict {
        Verdict::Keep(plan) if !plan.shows_all() && !drape_view::view::is_open(&profile.resource_type) => {
            Verdict::Withhold(Reason::ClosedType)
        }
        Verdict::Keep(plan) if silent => Verdict::Keep(plan.unsealed().map(Arc::new).unwrap_or(plan)),
        verdict => verdict,
    }
}

fn of_type(question: &Inquiry) -> &str {
    match question {
        Inquiry::Request { resource_type, .. }
        | Inquiry::SearchBy { resource_type, .. }
        | Inquiry::Aggregate { resource_type, .. } => resource_type,
        Inquiry::CountBy { .. } => "",
        Inquiry::Change { profile, .. } | Inquiry::Relate { profile, .. } => &profile.resource_type,
    }
}

/// The recorded form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// When, in whole minutes: seconds since the epoch.
    pub at_s: u64,
    /// The policies in force.
    pub digest: String,
    /// FHIR's word for what was asked.
    pub route: String,
    silent: bool,
    caller: CallerFacts,
    asked: Vec<AskedFacts>,
    records: Vec<RecordFacts>,
    more: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerFacts {
    /// A pseudonym of issuer and subject together.
    subject: String,
    roles: BTreeSet<String>,
    organization: Option<String>,
    departments: BTreeSet<String>,
    title: Option<String>,
    client: Option<String>,
    shift: Option<(u16, u16)>,
    purpose: String,
    minute_of_day: u16,
    weekday: u8,
    /// Only the network's first 24 bits, or 48.
    network: Option<std::net::IpAddr>,
    break_glass: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedFacts {
    action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    resource_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<(String, String, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileFacts>,
    answer: String,
    policies: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFacts {
    #[serde(rename = "type")]
    resource_type: String,
    labels: BTreeSet<String>,
    classified: bool,
    category_codes: BTreeSet<String>,
    status: Option<String>,
    age_days: Option<i64>,
    departments: BTreeSet<String>,
    insurers: BTreeSet<String>,
    authored_by_caller: bool,
    known: bool,
    is_caller: bool,
    relations: BTreeSet<String>,
    age_years: Option<i64>,
    patient_labels: BTreeSet<String>,
    consent_releases: BTreeSet<String>,
    consent_denies: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFacts {
    profile: ProfileFacts,
    /// Why it was withheld; else it was received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    withheld: Option<String>,
    /// What was done to the categories that were not shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    treated: BTreeMap<String, String>,
    policies: Vec<String>,
    count: u64,
}

impl Captured {
    pub(super) fn of(heard: &Heard, tenant: &str, secret: &Secret) -> Self {
        let caller = &heard.caller;
        let name = format!("{}#{}", caller.issuer, caller.subject);
        let mark = blind_index(secret, tenant, "capture.subject", &name);
        let env = &caller.environment;
        Self {
            at_s: env.now_ms / 60_000 * 60,
            digest: heard.digest.clone(),
            route: heard.route.clone(),
            silent: heard.silent,
            caller: CallerFacts {
                subject: mark[..10].iter().map(|b| format!("{b:02x}")).collect(),
                roles: caller.roles.clone(),
                organization: caller.organization.clone(),
                departments: caller.departments.clone(),
                title: caller.title.clone(),
                client: caller.client.clone(),
                shift: caller.shift,
                purpose: caller.purpose.clone(),
                minute_of_day: env.minute_of_day,
                weekday: env.weekday,
                network: env.network.map(coarse),
                break_glass: env.break_glass,
            },
            asked: heard.answers.iter().map(AskedFacts::of).collect(),
            records: heard.records.iter().map(RecordFacts::of).collect(),
            more: heard.more,
        }
    }

    /// How the caller is called.
    pub fn subject(&self) -> &str {
        &self.caller.subject
    }

    /// Who, for whom differences are told: roles and purpose.
    pub fn who(&self) -> String {
        who(&self.caller.roles, &self.caller.purpose)
    }

    /// How many records it tells of.
    pub fn records(&self) -> u64 {
        self.records.iter().map(|r| r.count).sum::<u64>() + self.more
    }

    /// As it was heard, but for the names. `None`: written by another version, whose words are not known here.
    pub fn heard(&self) -> Option<Heard> {
        let answers: Option<Vec<Answered>> = self.asked.iter().map(AskedFacts::heard).collect();
        let records: Option<Vec<Judged>> = self.records.iter().map(RecordFacts::heard).collect();
        let CallerFacts { subject, roles, organization, departments, title, client, shift, .. } =
            &self.caller;
        let caller = Caller {
            issuer: "recorded".to_owned(),
            subject: subject.clone(),
            name: None,
            roles: roles.clone(),
            held_roles: roles.clone(),
            organization: organization.clone(),
            departments: departments.clone(),
            title: title.clone(),
            client: client.clone(),
            shift: *shift,
            fhir_user: None,
            patient: None,
            scopes: Vec::new(),
            relations: BTreeMap::new(),
            purpose: self.caller.purpose.clone(),
            statement: Default::default(),
            proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 0 },
            environment: Environment {
                now_ms: self.at_s * 1_000,
                today: String::new(),
                hour: u8::try_from(self.caller.minute_of_day / 60).ok()?,
                minute_of_day: self.caller.minute_of_day,
                weekday: self.caller.weekday,
                network: self.caller.network,
                break_glass: self.caller.break_glass,
            },
        };
        Some(Heard {
            digest: self.digest.clone(),
            route: self.route.clone(),
            caller: Arc::new(caller),
            silent: self.silent,
            answers: answers?,
            records: records?,
            more: self.more,
        })
    }
}

/// Roles and purpose in a few words.
pub(super) fn who(roles: &BTreeSet<String>, purpose: &str) -> String {
    let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
    let roles = if roles.is_empty() { "no role".to_owned() } else { roles.join("+") };
    if purpose.is_empty() { roles } else { format!("{roles} for {purpose}") }
}

fn coarse(address: std::net::IpAddr) -> std::net::IpAddr {
    match address {
        std::net::IpAddr::V4(v4) => (u32::from(v4) & 0xffff_ff00).to_be_bytes().into(),
        std::net::IpAddr::V6(v6) => (u128::from(v6) & (u128::MAX << 80)).to_be_bytes().into(),
    }
}

impl AskedFacts {
    fn of(one: &Answered) -> Self {
        let mut facts = Self {
            action: String::new(),
            category: None,
            resource_type: None,
            budget: None,
            profile: None,
            answer: one.answer.clone(),
            policies: one.policies.clone(),
        };
        let named = |category: &Category| Some(category.name().to_owned());
        match &one.question {
            Inquiry::Request { action, resource_type } => {
                facts.action = action.name().to_owned();
                facts.resource_type = Some(resource_type.clone());
            }
            Inquiry::SearchBy { category, resource_type } => {
                facts.action = "searchBy".to_owned();
                facts.category = named(category);
                facts.resource_type = Some(resource_type.clone());
            }
            Inquiry::CountBy { category } => {
                facts.action = "countBy".to_owned();
                facts.category = named(category);
            }
            Inquiry::Aggregate { budget, organization, epsilon_nano, resource_type } => {
                facts.action = "aggregate".to_owned();
                facts.budget = Some((budget.clone(), organization.clone(), *epsilon_nano));
                facts.resource_type = Some(resource_type.clone());
            }
            Inquiry::Change { profile, category } => {
                facts.action = "change".to_owned();
                facts.category = named(category);
                facts.profile = Some(ProfileFacts::of(profile));
            }
            Inquiry::Relate { profile, category } => {
                facts.action = "relate".to_owned();
                facts.category = named(category);
                facts.profile = Some(ProfileFacts::of(profile));
            }
        }
        facts
    }

    fn heard(&self) -> Option<Answered> {
        let category = || Category::parse(self.category.as_deref()?);
        let resource_type = self.resource_type.clone();
        let profile = || Some(self.profile.as_ref()?.profile());
        let question = match self.action.as_str() {
            "searchBy" => Inquiry::SearchBy { category: category()?, resource_type: resource_type? },
            "countBy" => Inquiry::CountBy { category: category()? },
            "aggregate" => {
                let (budget, organization, epsilon_nano) = self.budget.clone()?;
                Inquiry::Aggregate { budget, organization, epsilon_nano, resource_type: resource_type? }
            }
            "change" => Inquiry::Change { profile: profile()?, category: category()? },
            "relate" => Inquiry::Relate { profile: profile()?, category: category()? },
            action => Inquiry::Request {
                action: Action::ALL.into_iter().find(|a| a.name() == action)?,
                resource_type: resource_type?,
            },
        };
        Some(Answered { question, answer: self.answer.clone(), policies: self.policies.clone() })
    }
}

impl ProfileFacts {
    fn of(profile: &Profile) -> Self {
        let Profile {
            resource_type,
            labels,
            classified,
            category_codes,
            status,
            age_days,
            departments,
            insurers,
            authored_by_caller,
            patient,
        } = profile.clone();
        let Subject {
            known,
            is_caller,
            relations,
            age_years,
            labels: patient_labels,
            consent_releases,
            consent_denies,
        } = patient;
        Self {
            resource_type,
            labels,
            classified,
            category_codes,
            status,
            age_days,
            departments,
            insurers,
            authored_by_caller,
            known,
            is_caller,
            relations,
            age_years,
            patient_labels,
            consent_releases,
            consent_denies,
        }
    }

    fn profile(&self) -> Profile {
        let own = self.clone();
        Profile {
            resource_type: own.resource_type,
            labels: own.labels,
            classified: own.classified,
            category_codes: own.category_codes,
            status: own.status,
            age_days: own.age_days,
            departments: own.departments,
            insurers: own.insurers,
            authored_by_caller: own.authored_by_caller,
            patient: Subject {
                known: own.known,
                is_caller: own.is_caller,
                relations: own.relations,
                age_years: own.age_years,
                labels: own.patient_labels,
                consent_releases: own.consent_releases,
                consent_denies: own.consent_denies,
            },
        }
    }
}

/// Every treatment that there is.
const TREATMENTS: [Treatment; 7] = [
    Treatment::Show,
    Treatment::Generalize(Coarsening::Year),
    Treatment::Generalize(Coarsening::Zip3),
    Treatment::Generalize(Coarsening::Flag),
    Treatment::Pseudonymize,
    Treatment::Encrypt,
    Treatment::Redact,
];

impl RecordFacts {
    fn of(judged: &Judged) -> Self {
        let mut facts = Self {
            profile: ProfileFacts::of(&judged.profile),
            withheld: None,
            treated: BTreeMap::new(),
            policies: Vec::new(),
            count: judged.count,
        };
        match &judged.verdict {
            Verdict::Withhold(reason) => facts.withheld = Some(reason.name().to_owned()),
            Verdict::Keep(plan) => {
                facts.policies = plan.policies().to_vec();
                for category in Category::ALL {
                    let treated = plan.treatment(category);
                    if treated != Treatment::Show {
                        facts.treated.insert(category.name().to_owned(), treatment(treated));
                    }
                }
            }
        }
        facts
    }

    fn heard(&self) -> Option<Judged> {
        let mut treatments = [Treatment::Show; Category::COUNT];
        for (category, word) in &self.treated {
            let treated = TREATMENTS.into_iter().find(|t| treatment(*t) == *word)?;
            treatments[Category::parse(category)?.index()] = treated;
        }
        let verdict = match &self.withheld {
            // Which reason it was makes no difference to what was withheld.
            Some(_) => Verdict::Withhold(Reason::NotReceived),
            None => Verdict::Keep(Arc::new(Plan::new(treatments, self.policies.clone()))),
        };
        Some(Judged { profile: self.profile.profile(), verdict, count: self.count })
    }
}
