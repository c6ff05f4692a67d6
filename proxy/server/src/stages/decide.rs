//! Whether such a request may be made at all, settled on what is known before anything is fetched; no I/O but a
//! look into the embedded pseudonym map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use drape_caller::{Need, ScopeRuling, scopes};
use drape_fhir::interaction::{self, Interaction};
use drape_fhir::query::{Criterion as Asked_, Revealed, Search, Summary, split_or};
use drape_fhir::search::{Kind, patient_parameter};
use drape_policy::{Action, Criterion, RecordJudge, Standing};
use drape_shield::{BundleKind, Expect};
use drape_view::view::is_open;
use drape_view::{Caller, Category, CategorySet, View};
use http::{Method, StatusCode};

mod reach;

use super::admit::Admitted;
use super::classify::{Asked, Classified};
use crate::page::Page;
use crate::parts::Tenant;
use crate::refusal::Refusal;
use crate::upstream::UpstreamRequest;

/// Leave to make one rewritten request. Its fields are private and only [`decide`] makes one.
///
/// ```compile_fail
/// use drape_server::stages::Grant;
/// fn forge() -> Grant {
///     Grant { way: todo!(), view: todo!(), standing: todo!(), policies: vec![], names: vec![], token: todo!() }
/// }
/// ```
#[derive(Debug)]
pub struct Grant {
    pub(super) way: Way,
    pub(super) view: View,
    pub(super) standing: Arc<Standing>,
    policies: Vec<String>,
    names: Vec<String>,
    pub(super) token: zeroize::Zeroizing<String>,
}

/// What the grant is for.
#[derive(Debug)]
pub(super) enum Way {
    /// Records, judged as they stream by.
    Records(Records),
    /// A create or update.
    Write(Write),
    /// A noisy count.
    Aggregate(Aggregate),
    /// Nothing can match: a pseudonym that nobody was given.
    Nothing {
        /// The caller's own request, for the self link.
        query: String,
    },
}

#[derive(Debug)]
pub(super) struct Records {
    pub(super) request: UpstreamRequest,
    pub(super) expect: Expect,
    pub(super) resource_type: String,
    /// The record whose history is read.
    pub(super) id: Option<String>,
    /// Whether it is the first page.
    pub(super) first: bool,
    /// The caller's own query; each page is judged by it afresh.
    pub(super) query: String,
    /// The caller's own address of the answer, below the public base.
    pub(super) own_link: String,
}

#[derive(Debug)]
pub(super) struct Write {
    pub(super) resource_type: String,
    /// `None` creates.
    pub(super) id: Option<String>,
    pub(super) body: Bytes,
    pub(super) if_match: Option<String>,
    pub(super) minimal: bool,
}

#[derive(Debug)]
pub(super) struct Aggregate {
    pub(super) search: Search,
    pub(super) caller_name: String,
}

impl Grant {
    /// The ids of the policies that determined it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Whether it changes the upstream.
    pub fn writes(&self) -> bool {
        matches!(self.way, Way::Write(_))
    }

    /// The records that the request itself names, as the upstream calls them.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

const EXACT_COUNT: &str = "an exact count is given only to callers whose view does not depend on the record";

/// More patients than this are not put into one search.
const NARROWED_MAX: usize = 200;

/// Settles whether the request may be made.
pub fn decide(
    tenant: &Tenant,
    admitted: &Admitted,
    classified: Classified,
    asked: &Asked,
) -> Result<Grant, Refusal> {
    let caller = &admitted.caller;
    let standing = tenant
        .decider
        .standing(caller)
        .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
    let desk = Desk { tenant, caller, standing: Arc::new(standing), own: readable(&asked.target) };
    let mut decided = match classified.interaction {
        Interaction::Read { resource_type, id, shape } => desk.read(&resource_type, &id, &shape.query)?,
        Interaction::Vread { resource_type, id, version } => desk.vread(&resource_type, &id, &version)?,
        Interaction::History { resource_type, id, count } => {
            desk.history(&resource_type, &id, count, None)?
        }
        Interaction::Search(search) => desk.search(search, None)?,
        Interaction::Page { handle } => desk.page(&handle)?,
        Interaction::Create { resource_type } => desk.write(&resource_type, None, classified.body.clone())?,
        Interaction::Update { resource_type, id } => {
            desk.write(&resource_type, Some(&id), classified.body.clone())?
        }
    };
    if let Way::Write(write) = &mut decided.way {
        write.if_match = classified.if_match;
        write.minimal = classified.prefer_minimal;
    }
    let judge = Arc::new(RecordJudge::new(Arc::clone(&desk.standing)));
    let mut view = View::new(judge, Arc::clone(caller), Arc::clone(&tenant.profiler), decided.patient_only);
    if let Some(reach) = decided.reach {
        view = view.only(reach);
    }
    Ok(Grant {
        way: decided.way,
        view,
        standing: desk.standing,
        policies: decided.policies,
        names: decided.names,
        token: admitted.token.clone(),
    })
}

/// The target as it can be read by GET: the form of a `_search` stands in its query already.
fn readable(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{}?{query}", path.strip_suffix("/_search").unwrap_or(path)),
        None => target.strip_suffix("/_search").unwrap_or(target).to_owned(),
    }
}

struct Desk<'a> {
    tenant: &'a Tenant,
    caller: &'a Arc<Caller>,
    standing: Arc<Standing>,
    own: String,
}

struct Decided {
    way: Way,
    patient_only: bool,
    /// Of a search: the types that may come, each with whether only about the patient in context.
    reach: Option<BTreeMap<String, bool>>,
    policies: Vec<String>,
    names: Vec<String>,
}

/// A request as far as type, scope and policy go.
struct Cleared {
    patient_only: bool,
    policies: Vec<String>,
}

impl Desk<'_> {
    fn clear(&self, need: Need, action: Action, resource_type: &str) -> Result<Cleared, Refusal> {
        let patient_only = self.scope(need, resource_type)?;
        let ruling = self.standing.request(action, resource_type);
        if ruling.erred {
            return Err(Refusal::forbidden("decide", "a policy that should have decided could not")
                .because(format!("a policy erred; determining: {}", ruling.policies.join(", "))));
        }
        if !ruling.allowed {
            let roles: Vec<&str> = self.caller.roles.iter().map(String::as_str).collect();
            let public = format!("policy does not let you {} {resource_type}", word(action));
            let reason = format!(
                "no policy permits {} on {resource_type} (roles: {}; purpose: `{}`)",
                word(action),
                if roles.is_empty() { "none active".to_owned() } else { roles.join(", ") },
                self.caller.purpose
            );
            return Err(Refusal::forbidden("decide", public).because(reason));
        }
        if !is_open(resource_type) && !self.standing.shows_all() {
            let public = format!("{resource_type} is open only to callers who are shown everything");
            return Err(Refusal::forbidden("decide", public));
        }
        Ok(Cleared { patient_only, policies: ruling.policies })
    }

    fn scope(&self, need: Need, resource_type: &str) -> Result<bool, Refusal> {
        let wants = self.tenant.issuers.find(&self.caller.issuer).is_none_or(|i| i.config().smart_scopes);
        if !wants && self.caller.scopes.is_empty() {
            return Ok(false);
        }
        match scopes::check(self.caller, need, resource_type) {
            ScopeRuling::Granted { patient_only } => Ok(patient_only),
            ScopeRuling::Refused(text) => Err(Refusal::forbidden("decide", text)),
        }
    }

    /// Whether records must come whole because verdicts depend on what stands in them: `_elements=text` would bring the
    /// narrative of a diagnosis without the code that labels it (LV-23).
    fn whole_records(&self, cleared: &Cleared) -> bool {
        cleared.patient_only || !self.standing.uniform()
    }

    /// The upstream's id for the one that the caller knows. Callers who are shown pseudonyms may send nothing else.
    fn id(&self, resource_type: &str, id: &str) -> Result<String, Refusal> {
        if !self.standing.ids_by_pseudonym() {
            return Ok(id.to_owned());
        }
        match self.open(id)? {
            Some((kind, id)) if kind == resource_type => Ok(id),
            _ => Err(Refusal::unknown("decide", "not a pseudonym that was given out for that type")),
        }
    }

    fn open(&self, pseudonym: &str) -> Result<Option<(String, String)>, Refusal> {
        self.tenant.pseudonyms.lookup(pseudonym).map_err(|e| {
            Refusal::unavailable("decide", "pseudonyms cannot be opened at this time", e.to_string())
        })
    }

    fn records(
        &self,
        cleared: Cleared,
        path_and_query: String,
        expect: Expect,
        resource_type: &str,
        id: Option<String>,
    ) -> Decided {
        let names = id.iter().map(|id| format!("{resource_type}/{id}")).collect();
        Decided {
            way: Way::Records(Records {
                request: UpstreamRequest { method: Method::GET, path_and_query, body: None, if_match: None },
                expect,
                resource_type: resource_type.to_owned(),
                id,
                first: true,
                query: String::new(),
                own_link: self.own.clone(),
            }),
            patient_only: cleared.patient_only,
            reach: None,
            policies: cleared.policies,
            names,
        }
    }

    fn read(&self, resource_type: &str, id: &str, shape: &str) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::Read, resource_type)?;
        let id = self.id(resource_type, id)?;
        let shape = if self.whole_records(&cleared) { "" } else { shape };
        let mark = if shape.is_empty() { "" } else { "?" };
        let path = format!("/{resource_type}/{id}{mark}{shape}");
        let expect =
            Expect::Record { resource_type: resource_type.to_owned(), id: Some(id.clone()), version: None };
        Ok(self.records(cleared, path, expect, resource_type, Some(id)))
    }

    fn vread(&self, resource_type: &str, id: &str, version: &str) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::Vread, resource_type)?;
        let id = self.id(resource_type, id)?;
        let path = format!("/{resource_type}/{id}/_history/{version}");
        let expect = Expect::Record {
            resource_type: resource_type.to_owned(),
            id: Some(id.clone()),
            version: Some(version.to_owned()),
        };
        Ok(self.records(cleared, path, expect, resource_type, Some(id)))
    }

    fn history(
        &self,
        resource_type: &str,
        id: &str,
        count: Option<u32>,
        next: Option<String>,
    ) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::History, resource_type)?;
        if count == Some(0) && self.whole_records(&cleared) {
            return Err(Refusal::forbidden("decide", EXACT_COUNT));
        }
        // A page names the record as the upstream does.
        let id = if next.is_some() { id.to_owned() } else { self.id(resource_type, id)? };
        let query = count.map(|c| format!("?_count={c}")).unwrap_or_default();
        let first = next.is_none();
        let path = next.unwrap_or_else(|| format!("/{resource_type}/{id}/_history{query}"));
        let expect = Expect::Bundle(BundleKind::History);
        let mut decided = self.records(cleared, path, expect, resource_type, Some(id));
        if let Way::Records(records) = &mut decided.way {
            records.first = first;
        }
        Ok(decided)
    }

    fn page(&self, handle: &str) -> Result<Decided, Refusal> {
        let now = self.tenant.clock.now_ms();
        let page = self.tenant.pages.open(handle, self.caller, now).map_err(|e| {
            let public = "this page link is not valid, not yours, or has expired; search again";
            Refusal::new("decide", StatusCode::GONE, "expired", public).because(e.to_string())
        })?;
        if let Some(id) = &page.id {
            return self.history(&page.resource_type, id, None, Some(page.upstream));
        }
        // The search is read and judged again: what was permitted a page ago may not be any more.
        let path = format!("/{}", page.resource_type);
        let parts = interaction::Parts {
            method: "GET",
            path: &path,
            query: Some(&page.query),
            headers: &[],
            body: None,
        };
        match interaction::parse(&parts) {
            Ok(Interaction::Search(search)) => self.search(search, Some(page)),
            _ => Err(Refusal::unknown("decide", "a page whose search cannot be read any more")),
        }
    }

    fn write(&self, resource_type: &str, id: Option<&str>, body: Option<Bytes>) -> Result<Decided, Refusal> {
        let (need, action) =
            if id.is_some() { (Need::Update, Action::Update) } else { (Need::Create, Action::Create) };
        let cleared = self.clear(need, action, resource_type)?;
        if self.standing.ids_by_pseudonym() {
            return Err(Refusal::forbidden("decide", "who is shown pseudonyms cannot write"));
        }
        let body = body.filter(|b| !b.is_empty()).ok_or_else(|| {
            Refusal::new("decide", StatusCode::BAD_REQUEST, "required", "the body is missing")
        })?;
        Ok(Decided {
            way: Way::Write(Write {
                resource_type: resource_type.to_owned(),
                id: id.map(str::to_owned),
                body,
                if_match: None,
                minimal: false,
            }),
            patient_only: cleared.patient_only,
            reach: None,
            policies: cleared.policies,
            names: id.map(|id| format!("{resource_type}/{id}")).into_iter().collect(),
        })
    }

    fn search(&self, mut search: Search, page: Option<Page>) -> Result<Decided, Refusal> {
        let resource_type = search.resource_type.clone();
        let counts = search.summary == Some(Summary::Count) || search.count == Some(0);
        if counts && page.is_none() && self.tenant.budget.is_some() && !self.reads_exactly()? {
            return self.aggregate(search);
        }
        let cleared = self.clear(Need::Search, Action::Search, &resource_type)?;
        if self.whole_records(&cleared) {
            if page.is_some() && search.is_projected() {
                // The policies have changed since the first page, and the upstream's cursor brings cut records.
                return Err(Refusal::new("decide", StatusCode::GONE, "expired", "search again"));
            }
            search.without_projection();
        }
        let query = search.to_query();
        let standing = &self.standing;
        if counts && (cleared.patient_only || !standing.uniform()) {
            return Err(Refusal::forbidden("decide", EXACT_COUNT));
        }
        let needed = match self.criteria(&mut search)? {
            Some(needed) => needed,
            None => {
                let query = format!("{resource_type}?{query}");
                return Ok(Decided {
                    way: Way::Nothing { query },
                    patient_only: cleared.patient_only,
                    reach: None,
                    policies: cleared.policies,
                    names: Vec::new(),
                });
            }
        };
        self.hops(&search)?;
        let reach = self.reach(&search, &cleared)?;
        self.narrow(&mut search, &needed, cleared.patient_only)?;
        let path = match &page {
            Some(page) => page.upstream.clone(),
            None => {
                let query = search.to_query();
                let mark = if query.is_empty() { "" } else { "?" };
                format!("/{resource_type}{mark}{query}")
            }
        };
        let mut decided =
            self.records(cleared, path, Expect::Bundle(BundleKind::Searchset), &resource_type, None);
        if let Way::Records(records) = &mut decided.way {
            records.query = page.map_or(query, |p| p.query);
        }
        decided.reach = Some(reach);
        Ok(decided)
    }

    /// Whether each criterion and sort key may be used. Gives the categories that hold only for patients who are
    /// proved, or `None` when a pseudonym names nothing.
    fn criteria(&self, search: &mut Search) -> Result<Option<BTreeSet<Category>>, Refusal> {
        let mut narrowed = BTreeSet::new();
        let mut matched = true;
        for criterion in &mut search.criteria {
            let mut by_pseudonym = false;
            for revealed in &criterion.reveals {
                for category in self.categories(criterion, revealed).iter() {
                    match self.standing.search_by(category, &revealed.resource_type) {
                        Criterion::Open => {}
                        Criterion::ByPseudonym if !criterion.hops => by_pseudonym = true,
                        Criterion::Narrowed if !revealed.elsewhere => {
                            narrowed.insert(category);
                        }
                        answer => {
                            return Err(self.refused(&criterion.name, category, answer, revealed.elsewhere));
                        }
                    }
                }
            }
            if by_pseudonym {
                matched &= self.translate(criterion)?;
            }
        }
        for key in &search.sort {
            for revealed in &key.reveals {
                for category in
                    self.tenant.catalogue.categories_at(&revealed.resource_type, revealed.path).iter()
                {
                    match self.standing.search_by(category, &revealed.resource_type) {
                        Criterion::Open => {}
                        Criterion::Narrowed => {
                            narrowed.insert(category);
                        }
                        answer => {
                            return Err(self.refused(
                                &format!("_sort={}", key.text),
                                category,
                                answer,
                                false,
                            ));
                        }
                    }
                }
            }
        }
        Ok(matched.then_some(narrowed))
    }

    fn refused(&self, name: &str, category: Category, answer: Criterion, elsewhere: bool) -> Refusal {
        let public = if elsewhere && answer != Criterion::Refused {
            format!("`{name}` reads records of patients whose relation to you is not proved")
        } else {
            format!("you may not search by `{name}`")
        };
        let why = match answer {
            Criterion::Refused => "which policy does not let the caller search by",
            Criterion::Narrowed => "which the caller is shown of some records only",
            Criterion::ByPseudonym => "which the caller knows by pseudonym only",
            Criterion::Open => "which is open",
        };
        Refusal::forbidden("decide", public).because(format!("`{name}` reveals {category}, {why}"))
    }

    /// What a criterion reads. Codes, dates, numbers and links are compared by themselves; strings are searched
    /// through everything in the element, and `:text` and `:identifier` read more than the element's own value.
    fn categories(&self, criterion: &Asked_, revealed: &Revealed) -> CategorySet {
        let catalogue = &self.tenant.catalogue;
        let (kind, path) = (&revealed.resource_type, revealed.path);
        let deep = matches!(criterion.kind, Kind::String | Kind::Special)
            || matches!(criterion.modifier.as_deref(), Some("text" | "contains" | "of-type" | "ofType"));
        let mut found = if revealed.link {
            catalogue.category_at(kind, path)
        } else if deep {
            catalogue.categories_at(kind, path)
        } else {
            catalogue.category_at(kind, path)
        };
        if criterion.kind == Kind::Reference {
            match criterion.modifier.as_deref() {
                Some("identifier") => found.insert(Category::Identifier),
                Some("text") => found.insert(Category::Note),
                // The parameter leads to fewer types than the element may.
                _ if !criterion.hops && !criterion.targets.is_empty() => {
                    found =
                        criterion.targets.iter().map(|t| drape_view::Catalogue::link_category(t)).collect();
                }
                _ => {}
            }
        }
        found
    }

    /// Puts what pseudonyms stand for in their place. False when one of them stands for nothing.
    fn translate(&self, criterion: &mut Asked_) -> Result<bool, Refusal> {
        if criterion.modifier.as_deref() == Some("missing") {
            return Ok(true);
        }
        let mut translated = Vec::new();
        for value in split_or(&criterion.value) {
            let name = value.rsplit('/').next().unwrap_or(value);
            let stated = value.rsplit('/').nth(1);
            match self.open(name)? {
                Some((kind, id)) if stated.is_none_or(|s| s == kind) => {
                    translated.push(if criterion.kind == Kind::Reference {
                        format!("{kind}/{id}")
                    } else {
                        id
                    });
                }
                _ => {}
            }
        }
        criterion.value = translated.join(",");
        Ok(!translated.is_empty())
    }

    /// Holds a search to patients whose relation to the caller is proved, where it needs that.
    fn narrow(
        &self,
        search: &mut Search,
        needed: &BTreeSet<Category>,
        patient_only: bool,
    ) -> Result<(), Refusal> {
        let resource_type = search.resource_type.clone();
        let parameter = patient_parameter(&resource_type);
        let named = parameter.and_then(|p| named_patients(search, p));
        if patient_only {
            let own = self.caller.patient.as_deref().unwrap_or_default();
            match (&named, parameter) {
                (Some(named), _) if named.iter().all(|n| n == own) => {}
                (Some(_), _) | (None, None) => {
                    let public = "the token's scopes cover only the patient in context";
                    return Err(Refusal::forbidden("decide", public));
                }
                (None, Some(parameter)) => {
                    search.criteria.push(patient_criterion(&resource_type, parameter, &[own.to_owned()]))
                }
            }
        }
        if needed.is_empty() && self.standing.receives_unrelated(&self.tenant.profiler, &resource_type) {
            return Ok(());
        }
        let categories: Vec<Category> = needed.iter().copied().collect();
        let patients = self.standing.patients(&self.tenant.profiler, &resource_type, &categories);
        match (named_patients(search, parameter.unwrap_or_default()), parameter) {
            (Some(named), _) => {
                if needed.is_empty() || named.iter().all(|n| patients.contains(n)) {
                    return Ok(());
                }
                let public = "you may search like this only among patients whose relation to you is proved";
                Err(Refusal::forbidden("decide", public)
                    .because("a named patient is not related to the caller"))
            }
            (None, Some(parameter)) if !patients.is_empty() && patients.len() <= NARROWED_MAX => {
                let ids: Vec<String> = patients.into_iter().collect();
                search.criteria.push(patient_criterion(&resource_type, parameter, &ids));
                Ok(())
            }
            _ if needed.is_empty() => Ok(()),
            _ => {
                let public = "name a patient whose relation to you is proved; such a search is not made over everybody";
                Err(Refusal::forbidden("decide", public))
            }
        }
    }

    /// Whether the caller may look at patients or what is about them record by record, in any role that the token
    /// holds, under any purpose that activates it. Who may gets no noisy answers about the same population: exact and
    /// noisy answers side by side would take the noise off.
    fn reads_exactly(&self) -> Result<bool, Refusal> {
        let issuer = self.tenant.issuers.find(&self.caller.issuer);
        let purposes = issuer.map(|i| i.config().purposes.as_slice()).unwrap_or_default();
        for (purpose, activated) in purposes {
            let mut caller = Caller::clone(self.caller);
            caller.roles = caller.held_roles.iter().filter(|r| activated.contains(r)).cloned().collect();
            caller.purpose.clone_from(purpose);
            let standing = self
                .tenant
                .decider
                .standing(&Arc::new(caller))
                .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
            let about_patients =
                drape_fhir::definitions::r4().resource_types().filter(|t| patient_parameter(t).is_some());
            for resource_type in about_patients {
                for action in [Action::Search, Action::Read, Action::History] {
                    if standing.request(action, resource_type).allowed {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// A noisy count: for callers who may aggregate and may not search the same population.
    fn aggregate(&self, search: Search) -> Result<Decided, Refusal> {
        let Some(budget) = &self.tenant.budget else {
            return Err(Refusal::forbidden("decide", "no budget is kept for counts"));
        };
        if self.scope(Need::Search, &search.resource_type)? {
            let public = "the token's scopes cover only the patient in context";
            return Err(Refusal::forbidden("decide", public));
        }
        self.hops(&search)?;
        let cost = budget.config.per_query_nano;
        let config = &budget.config;
        let ruling = self.standing.aggregate(&config.name, &config.organization, cost, &search.resource_type);
        if !ruling.allowed {
            let public = format!("policy does not let you search {}", search.resource_type);
            return Err(
                Refusal::forbidden("decide", public).because("neither search nor aggregate is permitted")
            );
        }
        if search.resource_type != "Patient" {
            let public =
                "only patients are counted; ask e.g. `Patient?_has:Condition:patient:code=…&_summary=count`";
            return Err(Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public));
        }
        if !search.includes.is_empty() || !search.sort.is_empty() {
            return Err(Refusal::new(
                "decide",
                StatusCode::FORBIDDEN,
                "not-supported",
                "a count takes neither includes nor sorting",
            ));
        }
        let mut policies = ruling.policies;
        for criterion in &search.criteria {
            for revealed in criterion.reveals.iter().filter(|r| !r.link) {
                for category in self.categories(criterion, revealed).iter() {
                    let ruling = self.standing.count_by(category);
                    if !ruling.allowed {
                        let public = format!("you may not count by `{}`", criterion.name);
                        let reason =
                            format!("`{}` reveals {category}, which may not be counted by", criterion.name);
                        return Err(Refusal::forbidden("decide", public).because(reason));
                    }
                    policies.extend(ruling.policies);
                }
            }
        }
        policies.sort();
        policies.dedup();
        let caller_name = format!("{}#{}", self.caller.issuer, self.caller.subject);
        Ok(Decided {
            way: Way::Aggregate(Aggregate { search, caller_name }),
            patient_only: false,
            reach: None,
            policies,
            names: Vec::new(),
        })
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Vread => "read versions of",
        Action::Search => "search",
        Action::History => "read the history of",
        Action::Create => "create",
        Action::Update => "update",
    }
}

/// The patients that a search names itself, by every criterion that says whom the records are about.
fn named_patients(search: &Search, parameter: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut any = false;
    for criterion in &search.criteria {
        let says = !criterion.hops
            && (criterion.code == parameter
                || criterion.kind == Kind::Reference
                    && ["patient", "subject"].contains(&criterion.code.as_str()));
        let plain = criterion.modifier.as_deref().is_none_or(|m| m == "Patient");
        if !says || !plain {
            continue;
        }
        any = true;
        for value in split_or(&criterion.value) {
            let mut parts = value.rsplit('/');
            let id = parts.next().unwrap_or_default();
            // `subject=Group/1` names no patient.
            let of_patient = parts.next().is_none_or(|t| t == "Patient");
            all.push(if of_patient { id.to_owned() } else { String::new() });
        }
    }
    any.then_some(all)
}

fn patient_criterion(resource_type: &str, parameter: &str, ids: &[String]) -> Asked_ {
    let value = if parameter == "_id" {
        ids.join(",")
    } else {
        ids.iter().map(|id| format!("Patient/{id}")).collect::<Vec<_>>().join(",")
    };
    Asked_ {
        name: parameter.to_owned(),
        value,
        kind: if parameter == "_id" { Kind::Token } else { Kind::Reference },
        code: parameter.to_owned(),
        modifier: None,
        hops: false,
        targets: if resource_type == "Patient" { Vec::new() } else { vec!["Patient"] },
        reveals: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
