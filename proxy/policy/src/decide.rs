//! Decisions about requests, made on what is known before anything is fetched; and the caller's own slice of the set.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet as CedarSet, PrincipalConstraint,
    Request,
};
use drape_view::catalogue::Fact;
use drape_view::{Caller, Category, CategorySet, Profile, Profiler, Treatment, Verdict};
use parking_lot::Mutex;

use crate::cache::Cache;
use crate::entities::{self, CedarError, name_of, uid};
use crate::known::{self, Attributes};
use crate::overheard::{Inquiry, Listener};
use crate::set::PolicySet;

/// What may be asked of a type before any record is in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Action {
    Read,
    Vread,
    Search,
    History,
    Create,
    Update,
    Patch,
    Delete,
    Transaction,
    Export,
    Operation,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Vread,
        Self::Search,
        Self::History,
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Delete,
        Self::Transaction,
        Self::Export,
        Self::Operation,
    ];

    /// The action's name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Vread => "vread",
            Self::Search => "search",
            Self::History => "history",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::Transaction => "transaction",
            Self::Export => "export",
            Self::Operation => "operation",
        }
    }
}

/// Yes or no, and which policies say so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// Whether it is permitted. An error in any policy is a no.
    pub allowed: bool,
    /// Ids of the determining policies, sorted.
    pub policies: Vec<String>,
    /// Whether a policy erred.
    pub erred: bool,
}

/// What was asked about a request, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The Cedar action.
    pub action: &'static str,
    /// The type, category or budget that it was asked about.
    pub about: String,
    /// The answer.
    pub ruling: Ruling,
}

/// Whether something may be a criterion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Criterion {
    /// Whatever the record.
    Open,
    /// Where the record searched is shown or withheld whole, and pages are filled: every record that is received at all
    /// shows it, so that whoever uses it learns nothing that the records themselves do not say. Not through another
    /// record, which may be withheld.
    Shown,
    /// By pseudonym only.
    ByPseudonym,
    /// Only among records of patients to whom the caller's relation is proved.
    Narrowed,
    /// Not at all.
    Refused,
}

impl Criterion {
    /// All of them, from the freest to none.
    pub const ALL: [Self; 5] = [Self::Open, Self::Shown, Self::ByPseudonym, Self::Narrowed, Self::Refused];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Shown => "open where it is shown",
            Self::ByPseudonym => "by pseudonym",
            Self::Narrowed => "among related patients",
            Self::Refused => "refused",
        }
    }
}

/// Decides for one tenant.
#[derive(Debug)]
pub struct Decider {
    pub(crate) set: Arc<PolicySet>,
    fixed: Entities,
    slices: Mutex<HashMap<Vec<usize>, Arc<CedarSet>>>,
    footings: Mutex<HashMap<Who, Arc<Footing>>>,
    footings_made: AtomicU64,
    pub(crate) cache: Cache,
}

/// Who somebody is to Cedar: all that the entities of a caller and the choice of policies are made from. Callers who
/// are equal in it stand on the same footing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Who {
    issuer: String,
    subject: String,
    roles: BTreeSet<String>,
    organization: Option<String>,
    departments: BTreeSet<String>,
    title: Option<String>,
    client: Option<String>,
    shift: Option<(i64, i64)>,
}

impl Who {
    fn of(caller: &Caller) -> Self {
        Self {
            issuer: caller.issuer.clone(),
            subject: caller.subject.clone(),
            roles: caller.roles.clone(),
            organization: caller.organization.clone(),
            departments: caller.departments.clone(),
            title: caller.title.clone(),
            client: caller.client.clone(),
            shift: entities::turned_shift(caller),
        }
    }
}

/// What does not change between the requests of one caller; made once, because it costs more than all else about a
/// request.
#[derive(Debug)]
pub(crate) struct Footing {
    /// Never given twice by one decider.
    pub(crate) id: u64,
    principal: EntityUid,
    entities: Entities,
    pub(crate) applicable: Vec<usize>,
    /// Whether any applicable policy reads what changes between requests.
    pub(crate) moment: bool,
    /// What of a record any applicable policy reads.
    pub(crate) attributes: Attributes,
    uniform: OnceLock<bool>,
}

/// Footings that are kept, each some twenty kilobytes.
const FOOTINGS_MAX: usize = 512;

/// One caller against one set: the policies whose scope and known conditions can reach this caller at all.
#[derive(Debug)]
pub struct Standing {
    pub(crate) decider: Arc<Decider>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) footing: Arc<Footing>,
    pub(crate) listener: Option<Arc<dyn Listener>>,
    asked: Mutex<Vec<Question>>,
}

/// Questions that are remembered; a request that asks more asks the same of one type after another.
const ASKED_MAX: usize = 1_000;

impl Decider {
    /// For a loaded set.
    pub fn new(set: Arc<PolicySet>) -> Result<Self, String> {
        let fixed = entities::fixed(&set.schema).map_err(|e| e.to_string())?;
        let (slices, footings, cache) = Default::default();
        Ok(Self { set, fixed, slices, footings, footings_made: AtomicU64::new(0), cache })
    }

    /// The caller's standing. Everything below is asked of it.
    pub fn standing(self: &Arc<Self>, caller: &Arc<Caller>) -> Result<Standing, String> {
        let who = Who::of(caller);
        let found = self.footings.lock().get(&who).map(Arc::clone);
        let footing = match found {
            Some(footing) => footing,
            None => {
                let footing = Arc::new(self.footing(caller).map_err(|e| e.to_string())?);
                let mut footings = self.footings.lock();
                if footings.len() >= FOOTINGS_MAX {
                    footings.clear();
                }
                footings.insert(who, Arc::clone(&footing));
                footing
            }
        };
        let asked = Mutex::default();
        let (decider, caller) = (Arc::clone(self), Arc::clone(caller));
        Ok(Standing { decider, caller, footing, asked, listener: None })
    }

    /// Reads nothing of the caller but what [`Who`] holds.
    fn footing(&self, caller: &Caller) -> Result<Footing, CedarError> {
        let is_in = |kind: &str, id: &str| match kind {
            "Role" => caller.roles.contains(id),
            _ => caller.organization.as_deref() == Some(id),
        };
        let policies = &self.set.policies;
        let applicable: Vec<usize> = policies
            .iter()
            .enumerate()
            .filter(|(_, p)| {
                let by_scope = match p.policy.principal_constraint() {
                    PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                        match uid.type_name().to_string().as_str() {
                            kind @ ("Role" | "Organization") => is_in(kind, name_of(&uid)),
                            _ => true,
                        }
                    }
                    _ => true,
                };
                by_scope && known::can_hold(&p.json, &is_in)
            })
            .map(|(place, _)| place)
            .collect();
        Ok(Footing {
            id: self.footings_made.fetch_add(1, Ordering::Relaxed),
            principal: entities::principal(caller)?,
            entities: entities::with_caller(&self.fixed, &self.set.schema, caller)?,
            attributes: applicable
                .iter()
                .fold(Attributes::default(), |all, place| all.or(policies[*place].reads.attributes)),
            moment: applicable.iter().any(|place| policies[*place].reads.moment),
            applicable,
            uniform: OnceLock::new(),
        })
    }

    /// How many policies are in force.
    pub fn policies(&self) -> usize {
        self.set.policies.len()
    }

    pub(crate) fn slice(&self, places: &[usize]) -> Arc<CedarSet> {
        let mut slices = self.slices.lock();
        if let Some(found) = slices.get(places) {
            return Arc::clone(found);
        }
        let mut set = CedarSet::new();
        for place in places {
            // Ids are unique within the loaded set, so adding cannot fail; a policy that were left out would be
            // missing as a forbid too, so a failure empties the slice, and an empty slice permits nothing.
            if set.add(self.set.policies[*place].policy.clone()).is_err() {
                set = CedarSet::new();
                break;
            }
        }
        let set = Arc::new(set);
        if slices.len() < 10_000 {
            slices.insert(places.to_vec(), Arc::clone(&set));
        }
        set
    }
}

impl Standing {
    /// The applicable policies that reach `action`, and `category` where one is given.
    pub(crate) fn places(&self, action: &str, category: Option<Category>) -> Vec<usize> {
        let policies = &self.decider.set.policies;
        self.footing
            .applicable
            .iter()
            .copied()
            .filter(|place| policies[*place].reach.covers(action, category))
            .collect()
    }

    pub(crate) fn ask(
        &self,
        places: &[usize],
        action: &str,
        resource: EntityUid,
        context: Context,
        entities: Option<&Entities>,
    ) -> Ruling {
        let refused = Ruling { allowed: false, policies: Vec::new(), erred: true };
        let Ok(action) = uid("Action", action) else { return refused };
        let Ok(request) = Request::new(self.footing.principal.clone(), action, resource, context, None)
        else {
            return refused;
        };
        let slice = self.decider.slice(places);
        let response =
            Authorizer::new().is_authorized(&request, &slice, entities.unwrap_or(&self.footing.entities));
        let erred = response.diagnostics().errors().next().is_some();
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        Ruling { allowed: response.decision() == Decision::Allow && !erred, policies, erred }
    }

    /// What was asked about the request since this was last called, with the answers.
    pub fn take_asked(&self) -> Vec<Question> {
        std::mem::take(&mut *self.asked.lock())
    }

    fn note(&self, action: &'static str, about: &str, ruling: Ruling) -> Ruling {
        let mut asked = self.asked.lock();
        if asked.len() < ASKED_MAX {
            asked.push(Question { action, about: about.to_owned(), ruling: ruling.clone() });
        }
        ruling
    }

    /// Whether the caller may make such a request of that type at all.
    pub fn request(&self, action: Action, resource_type: &str) -> Ruling {
        let inquiry = || Inquiry::Request { action, resource_type: resource_type.to_owned() };
        self.told(inquiry, self.request_unheard(action, resource_type))
    }

    pub(crate) fn request_unheard(&self, action: Action, resource_type: &str) -> Ruling {
        let ruling = self.decider.cache.request(self, action.name(), resource_type, || {
            let places = self.places(action.name(), None);
            match (uid("ResourceType", resource_type), entities::request_context(&self.caller)) {
                (Ok(resource), Ok(context)) => self.ask(&places, action.name(), resource, context, None),
                _ => Ruling { erred: true, ..Ruling::default() },
            }
        });
        self.note(action.name(), resource_type, ruling)
    }

    /// Whether the caller may be given a noisy answer that costs so much, in 10⁻⁹ ε.
    pub fn aggregate(
        &self,
        budget: &str,
        organization: &str,
        epsilon_nano: u64,
        resource_type: &str,
    ) -> Ruling {
        let inquiry = || Inquiry::Aggregate {
            budget: budget.to_owned(),
            organization: organization.to_owned(),
            epsilon_nano,
            resource_type: resource_type.to_owned(),
        };
        self.told(inquiry, self.aggregate_unheard(budget, organization, epsilon_nano, resource_type))
    }

    pub(crate) fn aggregate_unheard(
        &self,
        budget: &str,
        organization: &str,
        epsilon_nano: u64,
        resource_type: &str,
    ) -> Ruling {
        let ask = || -> Result<Ruling, CedarError> {
            let resource = uid("Budget", budget)?;
            let owner = uid("Organization", organization)?;
            let mut added = vec![Entity::new_no_attrs(resource.clone(), HashSet::from([owner.clone()]))];
            if self.caller.organization.as_deref() != Some(organization) {
                added.push(Entity::new_no_attrs(owner, HashSet::new()));
            }
            let entities = self.footing.entities.clone().add_entities(added, None)?;
            let context = entities::aggregate_context(&self.caller, epsilon_nano, resource_type)?;
            Ok(self.ask(&self.places("aggregate", None), "aggregate", resource, context, Some(&entities)))
        };
        let ruling = ask().unwrap_or(Ruling { erred: true, ..Ruling::default() });
        self.note("aggregate", resource_type, ruling)
    }

    pub(crate) fn of_category(&self, action: &'static str, category: Category) -> Ruling {
        let ruling = self.decider.cache.request(self, action, category.name(), || {
            let places = self.places(action, Some(category));
            match (uid("Category", category.name()), entities::request_context(&self.caller)) {
                (Ok(resource), Ok(context)) => self.ask(&places, action, resource, context, None),
                _ => Ruling { erred: true, ..Ruling::default() },
            }
        });
        self.note(action, category.name(), ruling)
    }

    /// Whether elements of the category may be counted by in an aggregate.
    pub fn count_by(&self, category: Category) -> Ruling {
        self.told(|| Inquiry::CountBy { category }, self.count_by_unheard(category))
    }

    pub(crate) fn count_by_unheard(&self, category: Category) -> Ruling {
        self.of_category("countBy", category)
    }

    /// What `searchBy` says of the category, whether it is shown or not.
    pub(crate) fn searched(&self, category: Category) -> Ruling {
        self.of_category("searchBy", category)
    }

    /// Whether the caller may search by elements of the category: `searchBy` must permit it, and the caller must be
    /// shown them (or their pseudonyms, for links) whatever the record; else only among patients that are proved.
    pub fn search_by(&self, category: Category, resource_type: &str) -> Criterion {
        let answer = self.search_by_unheard(category, resource_type);
        let inquiry = || Inquiry::SearchBy { category, resource_type: resource_type.to_owned() };
        self.tell(inquiry, answer.name(), &[]);
        answer
    }

    pub(crate) fn search_by_unheard(&self, category: Category, resource_type: &str) -> Criterion {
        if !self.searched(category).allowed {
            return Criterion::Refused;
        }
        match self.whatever_the_record(category) {
            Some(Treatment::Show) => Criterion::Open,
            Some(Treatment::Pseudonymize) if category.is_link() => Criterion::ByPseudonym,
            _ if self.pseudonyms_only(category) => Criterion::ByPseudonym,
            _ => self.by_what_is_received(category, resource_type),
        }
    }

    /// Of a caller whose access rests on no relation to the patient there is nobody to narrow a search to. Such a
    /// caller may search by what every received record shows; through other records only by what says how records hang
    /// together and what they cost, nothing clinical and nothing that identifies by itself.
    fn by_what_is_received(&self, category: Category, resource_type: &str) -> Criterion {
        let Some(asker) = Asker::new(self, resource_type) else { return Criterion::Narrowed };
        let by_relation = !self.permits("receive", None).any(|p| asker.always(p, "receive", &asker.kind))
            && self.permits("receive", None).any(|p| self.decider.set.policies[p].reads.patient);
        if by_relation || !self.shown_wherever_received(category, &asker) {
            return Criterion::Narrowed;
        }
        let frame = category.is_link()
            || matches!(category, Category::Structure | Category::Financial | Category::Staff);
        if frame { Criterion::Open } else { Criterion::Shown }
    }

    /// Whether each record of that type that is received shows the category, told from the policies alone.
    pub fn shows_where_received(&self, category: Category, resource_type: &str) -> bool {
        Asker::new(self, resource_type).is_some_and(|asker| self.shown_wherever_received(category, &asker))
    }

    fn permits(&self, action: &str, category: Option<Category>) -> impl Iterator<Item = usize> {
        let permit =
            |p: &usize| self.decider.set.policies[*p].policy.effect() == cedar_policy::Effect::Permit;
        self.places(action, category).into_iter().filter(permit)
    }

    /// Whether the category is shown in every record that is received at all, told from the policies alone: wherever a
    /// permit to receive holds one to show does too, and wherever a forbid to show holds one to receive does too. A
    /// search by it then tells nothing of a record that the record itself does not.
    fn shown_wherever_received(&self, category: Category, asker: &Asker<'_>) -> bool {
        let policies = &self.decider.set.policies;
        let Ok(this) = uid("Category", category.name()) else { return false };
        let caller = &self.caller;
        let is_in = |kind: &str, id: &str| match kind {
            "Role" => caller.roles.contains(id),
            _ => caller.organization.as_deref() == Some(id),
        };
        let follows = |p: usize, from: usize, category| {
            known::follows(&policies[p].json, &policies[from].json, category, &is_in)
        };
        let (permits, forbids): (Vec<usize>, Vec<usize>) = self
            .places("show", Some(category))
            .into_iter()
            .partition(|p| policies[*p].policy.effect() == cedar_policy::Effect::Permit);
        let permitted = permits.iter().any(|p| asker.always(*p, "show", &this))
            || self.permits("receive", None).all(|receive| {
                asker.never(receive, "receive", &asker.kind)
                    || permits.iter().any(|show| follows(*show, receive, category))
            });
        // What forbids to receive must do so for every type: one that names types in its scope is not counted on.
        let withholds: Vec<usize> = self
            .places("receive", None)
            .into_iter()
            .filter(|p| policies[*p].policy.effect() == cedar_policy::Effect::Forbid)
            .filter(|p| {
                covers_all_types(&policies[*p]) && known::is_blind_to_its_question(&policies[*p].json)
            })
            .collect();
        permitted
            && forbids.iter().all(|show| {
                asker.never(*show, "show", &this)
                    || withholds.iter().any(|receive| follows(*receive, *show, category))
            })
    }

    /// Whether this caller knows records by pseudonym only: raw ids are then never taken.
    pub fn ids_by_pseudonym(&self) -> bool {
        self.pseudonyms_only(Category::RecordId)
    }

    /// Whether records of that type about somebody who is nothing to the caller may be received.
    pub fn receives_unrelated(&self, profiler: &Profiler, resource_type: &str) -> bool {
        let profile = profiler.expected(resource_type, "~", &self.caller);
        matches!(self.judge_cached(&profile), Verdict::Keep(_))
    }

    /// Whether policy may keep a record of that type from this caller, told from the policies alone: `false` only where
    /// every one of them is received, whatever it says.
    pub fn may_withhold(&self, resource_type: &str) -> bool {
        let always_received = self.decider.cache.request(self, "receive-always", resource_type, || {
            let Some(asker) = Asker::new(self, resource_type) else { return Ruling::default() };
            let permitted = self.permits("receive", None).any(|p| asker.always(p, "receive", &asker.kind));
            let forbid =
                |p: &usize| self.decider.set.policies[*p].policy.effect() == cedar_policy::Effect::Forbid;
            let mut forbids = self.places("receive", None).into_iter().filter(forbid);
            let allowed = permitted && forbids.all(|p| asker.never(p, "receive", &asker.kind));
            Ruling { allowed, ..Ruling::default() }
        });
        !always_received.allowed
    }

    /// Whether any policy that applies to this caller asks how old the patient is.
    pub fn reads_age(&self) -> bool {
        self.footing.attributes.has("patient", "ageYears")
    }

    /// Whether links are at best shown as pseudonyms to this caller: raw ids are then never taken.
    fn pseudonyms_only(&self, category: Category) -> bool {
        if !category.is_link() {
            return false;
        }
        let (Some(asker), Ok(this)) = (Asker::new(self, "Patient"), uid("Category", category.name())) else {
            return true;
        };
        let reads = |place: usize| self.decider.set.policies[place].reads;
        // A condition on the record may hold of one record and not of another, on which the caller then gets a
        // pseudonym: unless the true id is always shown, the way back from a pseudonym must not lead over it.
        let may = |p: usize, action: &str| reads(p).record || !asker.never(p, action, &this);
        let must = |p: usize, action: &str| !reads(p).record && asker.always(p, action, &this);
        let shown = self.permits("show", Some(category)).any(|p| must(p, "show"))
            && !self.forbids("show", category).any(|p| may(p, "show"));
        let pseudonymized = self.permits("pseudonymize", Some(category)).any(|p| may(p, "pseudonymize"))
            && !self.forbids("pseudonymize", category).any(|p| must(p, "pseudonymize"));
        pseudonymized && !shown
    }

    fn forbids(&self, action: &str, category: Category) -> impl Iterator<Item = usize> {
        let forbid =
            |p: &usize| self.decider.set.policies[*p].policy.effect() == cedar_policy::Effect::Forbid;
        self.places(action, Some(category)).into_iter().filter(forbid)
    }

    /// The treatment that every record's elements of the category get, where that does not depend on the record.
    fn whatever_the_record(&self, category: Category) -> Option<Treatment> {
        let independent = ["receive", "show", "pseudonymize"].iter().all(|action| {
            let category = (*action != "receive").then_some(category);
            self.places(action, category).iter().all(|p| !self.decider.set.policies[*p].reads.record)
        });
        if !independent {
            return None;
        }
        // No applicable policy reads the record, so any record stands for all.
        match self.judge_cached(&Profile::plain("Observation")) {
            Verdict::Keep(plan) => Some(plan.treatment(category)),
            Verdict::Withhold(_) => None,
        }
    }

    /// Whether any policy that applies to this caller reads the time or the network: what it says may then change from
    /// one minute to the next.
    pub fn changes_with_time(&self) -> bool {
        self.footing.moment
    }

    /// Whether every record of any kind is judged alike.
    pub fn uniform(&self) -> bool {
        let reads = |action: &str| {
            self.places(action, None).iter().any(|p| {
                let policy = &self.decider.set.policies[*p];
                policy.reads.record
                    || action == "receive" && (policy.reads.resource || !covers_all_types(policy))
            })
        };
        let rungs = ["receive", "show", "generalize", "pseudonymize", "encrypt"];
        *self.footing.uniform.get_or_init(|| !rungs.iter().any(|a| reads(a)))
    }

    /// Whether this caller is shown everything of every record.
    pub fn shows_all(&self) -> bool {
        self.uniform()
            && matches!(self.judge_cached(&Profile::plain("Observation")), Verdict::Keep(plan) if plan.shows_all())
    }

    /// Of the patients to whom the caller's relation is proved: those of whose records of that type at least some can
    /// be shown with these categories. Used to narrow searches; each record is still judged by its own.
    pub fn patients(
        &self,
        profiler: &Profiler,
        resource_type: &str,
        categories: &[Category],
    ) -> BTreeSet<String> {
        let own = self.caller.fhir_user.as_deref().and_then(|u| u.strip_prefix("Patient/"));
        let launch = self.caller.patient.as_deref().filter(|_| self.caller.roles.contains("patient"));
        let candidates: BTreeSet<&str> = self.caller.related_patients().chain(own).chain(launch).collect();
        candidates
            .into_iter()
            .filter(|patient| {
                let profile = profiler.expected(resource_type, patient, &self.caller);
                match self.judge_cached(&profile) {
                    Verdict::Keep(plan) => categories.iter().all(|c| plan.treatment(*c) == Treatment::Show),
                    Verdict::Withhold(_) => false,
                }
            })
            .map(str::to_owned)
            .collect()
    }

    /// Yes if each category is permitted; else the first no.
    pub(crate) fn about(&self, categories: CategorySet, ask: impl Fn(Category) -> Ruling) -> Ruling {
        let mut policies = BTreeSet::new();
        for category in categories.iter() {
            let ruling = ask(category);
            if !ruling.allowed {
                return ruling;
            }
            policies.extend(ruling.policies);
        }
        Ruling { allowed: true, policies: policies.into_iter().collect(), erred: false }
    }

    pub(crate) fn about_one(&self, action: &'static str, profile: &Profile, category: Category) -> Ruling {
        let places = self.places(action, Some(category));
        let ruling = match (uid("Category", category.name()), entities::record_context(&self.caller, profile))
        {
            (Ok(resource), Ok(context)) => self.ask(&places, action, resource, context, None),
            _ => Ruling { erred: true, ..Ruling::default() },
        };
        self.note(action, category.name(), ruling)
    }

    /// Whether any policy of the set, whomever it is about, reads what a record's `fact` tells.
    pub fn is_read(&self, fact: Fact) -> bool {
        let (of, name) = match fact {
            Fact::Status => ("record", "status"),
            Fact::Date(_) => ("record", "ageDays"),
            Fact::CategoryCode => ("record", "categoryCodes"),
            Fact::Department => ("record", "departments"),
            Fact::Insurer => ("record", "insurers"),
            Fact::Author => ("record", "authoredByCaller"),
            Fact::BirthDate => ("patient", "ageYears"),
            // Labels and the subject are read whatever the policies.
            Fact::Security | Fact::Tag | Fact::Subject | Fact::Id | Fact::Version | Fact::FreeText => {
                return true;
            }
        };
        self.decider.set.policies.iter().any(|policy| policy.reads.attributes.has(of, name))
    }

    pub(crate) fn entities(&self) -> &Entities {
        &self.footing.entities
    }
}

/// Asks single policies about records of one type of which nothing else is known.
struct Asker<'a> {
    standing: &'a Standing,
    context: Context,
    kind: EntityUid,
}

impl<'a> Asker<'a> {
    fn new(standing: &'a Standing, resource_type: &str) -> Option<Self> {
        let profile = Profile::plain(resource_type);
        let context = entities::record_context(&standing.caller, &profile).ok()?;
        Some(Self { standing, context, kind: uid("ResourceType", resource_type).ok()? })
    }

    /// Whether the policy holds, where that does not depend on more of the record than its type. An error holds.
    fn holds(&self, place: usize, action: &str, resource: &EntityUid) -> Option<bool> {
        if self.standing.decider.set.policies[place].reads.attributes != Attributes::default() {
            return None;
        }
        let ruling = self.standing.ask(&[place], action, resource.clone(), self.context.clone(), None);
        Some(ruling.erred || !ruling.policies.is_empty())
    }

    fn always(&self, place: usize, action: &str, resource: &EntityUid) -> bool {
        self.holds(place, action, resource) == Some(true)
    }

    fn never(&self, place: usize, action: &str, resource: &EntityUid) -> bool {
        self.holds(place, action, resource) == Some(false)
    }
}

/// A policy on `receive` that names no type reaches all of them alike.
fn covers_all_types(loaded: &crate::set::Loaded) -> bool {
    use cedar_policy::ResourceConstraint as R;
    matches!(loaded.policy.resource_constraint(), R::Any | R::Is(_))
}
