//! Whether such a request may be made at all, settled on what is known before anything is fetched; no I/O but a
//! look into the embedded pseudonym map.

use std::collections::BTreeMap;
use std::sync::Arc;

use drape_caller::{Need, ScopeRuling, scopes};
use drape_fhir::interaction::{self, History, Interaction, Misunderstood};
use drape_fhir::query::Search;
use drape_policy::{Action, Criterion, RecordJudge, Standing};
use drape_shield::{BundleKind, Expect, Paging};
use drape_view::view::is_open;
use drape_view::{Bounds, Caller, Category, View};
use http::StatusCode;

mod counts;
pub(super) mod export;
mod offers;
pub(super) mod operations;
mod reach;
mod searches;
mod writes;

use super::admit::Admitted;
use super::classify::{Asked, Classified, Unless};
use crate::page::Page;
use crate::parts::Tenant;
use crate::refusal::{Lacks, Refusal};
use crate::trace::Witness;
use crate::upstream::UpstreamRequest;
use crate::watch::Watch;
pub use offers::offered;
pub(super) use writes::{Act, At, Finding, Write};

/// Leave to make one rewritten request. Its fields are private and only [`decide`] makes one.
///
/// ```compile_fail
/// use drape_server::stages::Grant;
/// fn forge() -> Grant {
///     Grant { way: todo!(), view: todo!(), standing: todo!(), policies: vec![], names: vec![], unless: todo!(), token: todo!() }
/// }
/// ```
#[derive(Debug)]
pub struct Grant {
    pub(super) way: Way,
    pub(super) view: View,
    pub(super) standing: Arc<Standing>,
    policies: Vec<String>,
    names: Vec<String>,
    pub(super) unless: Unless,
    pub(super) token: zeroize::Zeroizing<String>,
    /// The request's id, and who hears what is done for it.
    pub(super) witness: (String, Witness),
}

/// What the grant is for.
#[derive(Debug)]
pub(super) enum Way {
    /// Records, judged as they stream by.
    Records(Records),
    /// A create, update, patch or delete.
    Write(Write),
    /// A noisy count.
    Aggregate(Aggregate),
    /// To be decided once more, when it is known what the caller is to whom.
    Later(Box<Later>),
    /// All about a record, which must not be withheld itself.
    Everything {
        /// What comes.
        records: Records,
        /// Patient or Encounter.
        resource_type: String,
        /// Its logical id.
        id: String,
    },
    /// A bulk export, or a part of one.
    Export(Box<export::Step>),
    /// An operation whose answer is rebuilt.
    Words(operations::Words),
    /// A Binary, by the record it belongs to.
    Binary(operations::Binary),
    /// Nothing can match: a pseudonym that nobody was given.
    Nothing {
        /// The caller's own request, for the self link.
        address: String,
    },
}

/// A request that may be made as far as could be told before anything was looked up.
#[derive(Debug)]
pub(super) struct Later {
    classified: Classified,
    asked: Asked,
    writes: bool,
}

#[derive(Debug)]
pub(super) struct Records {
    pub(super) request: UpstreamRequest,
    pub(super) expect: Expect,
    /// The record whose history is read.
    pub(super) names_one: bool,
    /// What the caller asked, as a page of it is asked again; empty for what has no pages.
    pub(super) address: String,
    /// Where the caller's page begins, and how long it is.
    pub(super) paging: Paging,
    /// The caller's own address of the answer, below the public base.
    pub(super) own_link: String,
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
        match &self.way {
            Way::Write(_) => true,
            Way::Later(later) => later.writes,
            _ => false,
        }
    }

    /// The records that the request itself names, as the upstream calls them.
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

/// Said of a projection that is not sent on.
const WHOLE: &str = "what would cut records down is not sent on: they are judged by all that stands in them";

const EXACT_COUNT: &str = "an exact count is given only to callers whose view does not depend on the record";

/// Settles whether the request may be made.
pub fn decide(
    tenant: &Tenant,
    admitted: &Admitted,
    classified: Classified,
    asked: &Asked,
) -> Result<Grant, Refusal> {
    match tenant.facts.known(&admitted.caller, tenant.clock.now_ms()) {
        Some(caller) => settle(tenant, &caller, &admitted.token, classified, asked, false),
        // Whom the caller is related to must be asked of the server, and nothing is asked before the request is entered.
        // What does not rest on that is refused here; the rest waits.
        None => {
            let (kept, own) = (classified.clone(), asked.clone());
            let mut grant = settle(tenant, &admitted.caller, &admitted.token, classified, asked, true)?;
            // All of it is asked again when that is known.
            grant.standing.forget();
            let writes = grant.writes();
            grant.way = Way::Later(Box::new(Later { classified: kept, asked: own, writes }));
            Ok(grant)
        }
    }
}

/// Decides for good what had to wait, now that it is known who the caller is to whom.
pub(super) fn decide_later(
    tenant: &Tenant,
    caller: &Arc<Caller>,
    token: &zeroize::Zeroizing<String>,
    later: Later,
) -> Result<Grant, Refusal> {
    settle(tenant, caller, token, later.classified, &later.asked, false)
}

/// `waits`: relations are not known yet, and no search is narrowed by them.
fn settle(
    tenant: &Tenant,
    caller: &Arc<Caller>,
    token: &zeroize::Zeroizing<String>,
    classified: Classified,
    asked: &Asked,
    waits: bool,
) -> Result<Grant, Refusal> {
    let standing = tenant
        .decider
        .standing(caller)
        .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
    let standing = Watch::attend(tenant, standing, asked.route);
    let standing = Arc::new(standing);
    let (own, witness) = (readable(&asked.target), &asked.witness);
    let desk = Desk { tenant, caller, standing: Arc::clone(&standing), own, waits, witness };
    let granted = grant(desk, token, classified, asked);
    asked.witness.questions(standing.take_asked());
    granted
}

fn grant(
    desk: Desk<'_>,
    token: &zeroize::Zeroizing<String>,
    classified: Classified,
    asked: &Asked,
) -> Result<Grant, Refusal> {
    let (tenant, caller) = (desk.tenant, desk.caller);
    let mut decided = match classified.interaction {
        Interaction::Read { resource_type, id, shape } if resource_type == "Binary" => {
            desk.binary(&id, shape.raw)?
        }
        Interaction::Read { resource_type, id, shape } => desk.read(&resource_type, &id, &shape.query)?,
        Interaction::Vread { resource_type, id, version } => desk.vread(&resource_type, &id, &version)?,
        Interaction::History(history) => desk.history(history, None)?,
        Interaction::Search(search) => desk.search(search, None)?,
        Interaction::Page { handle } => desk.page(&handle)?,
        Interaction::Create { resource_type, unless } => {
            desk.create(&resource_type, unless, classified.body.clone())?
        }
        Interaction::Update { resource_type, target } => {
            desk.update(&resource_type, target, classified.body.clone())?
        }
        Interaction::Patch { resource_type, target, form } => {
            desk.patch(&resource_type, target, form, classified.body.clone())?
        }
        Interaction::Delete { resource_type, target } => desk.delete(&resource_type, target)?,
        // Each entry of it comes here by itself.
        Interaction::Bundle => {
            return Err(Refusal::new(
                "decide",
                StatusCode::FORBIDDEN,
                "not-supported",
                "a batch within a batch is not offered",
            ));
        }
        Interaction::Operation(operation) => desk.operation(operation, classified.body.clone(), None)?,
        Interaction::Export { handle, cancels } => desk.export_status(&handle, cancels)?,
        Interaction::ExportFile { handle } => desk.export_file(&handle)?,
    };
    if let Way::Write(write) = &mut decided.way {
        write.if_match = classified.if_match;
        write.prefer = classified.prefer;
    }
    let judge = Arc::new(RecordJudge::new(Arc::clone(&desk.standing)));
    let mut view = View::new(judge, Arc::clone(caller), Arc::clone(&tenant.profiler), decided.bounds);
    if caller.scopes.iter().any(|s| !s.conditions.is_empty()) {
        view = view.naming(desk.parts());
    }
    if let Some(reach) = decided.reach {
        view = view.only(reach);
    }
    Ok(Grant {
        way: decided.way,
        view,
        standing: desk.standing,
        policies: decided.policies,
        names: decided.names,
        unless: classified.unless,
        token: token.clone(),
        witness: (asked.id.clone(), asked.witness.clone()),
    })
}

/// Whether a record of that type may be written within a transaction; that it may be written at all is settled apart.
pub fn may_transact(tenant: &Tenant, caller: &Arc<Caller>, resource_type: &str) -> Result<(), Refusal> {
    let standing = tenant
        .decider
        .standing(caller)
        .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
    if standing.request(Action::Transaction, resource_type).allowed {
        return Ok(());
    }
    let public = format!("policy does not let you {} {resource_type}", word(Action::Transaction));
    Err(Refusal::forbidden("decide", public).because("no policy permits `transaction` on the type"))
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
    /// Whether relations are still to be looked up.
    waits: bool,
    witness: &'a Witness,
}

struct Decided {
    way: Way,
    /// What the token's scopes leave of it.
    bounds: Bounds,
    /// Of a search: the types that may come, each with what scopes leave of it.
    reach: Option<BTreeMap<String, Bounds>>,
    policies: Vec<String>,
    names: Vec<String>,
}

/// A request as far as type, scope and policy go.
struct Cleared {
    bounds: Bounds,
    policies: Vec<String>,
}

impl Desk<'_> {
    fn clear(&self, need: Need, action: Action, resource_type: &str) -> Result<Cleared, Refusal> {
        if resource_type == "Subscription"
            && matches!(action, Action::Create | Action::Update | Action::Patch | Action::Transaction)
        {
            // The server would push records to the subscriber itself, past every verdict (LV-49).
            let public =
                "subscriptions are not offered: the server would send records past what you are shown";
            return Err(Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public));
        }
        let bounds = self.scope(need, resource_type)?;
        let ruling = self.standing.request(action, resource_type);
        if ruling.erred {
            return Err(Refusal::forbidden("decide", "a policy that should have decided could not")
                .lacking(Lacks::Policy)
                .because(format!("a policy erred; determining: {}", ruling.policies.join(", "))));
        }
        if !ruling.allowed {
            let roles: Vec<&str> = self.caller.roles.iter().map(String::as_str).collect();
            let mut public = format!("policy does not let you {} {resource_type}", word(action));
            let idle = self.caller.roles.is_empty() && !self.caller.held_roles.is_empty();
            if idle {
                public.push_str("; no purpose of use that activates one of your roles was stated");
            }
            let reason = format!(
                "no policy permits {} on {resource_type} (roles: {}; purpose: `{}`)",
                word(action),
                if roles.is_empty() { "none active".to_owned() } else { roles.join(", ") },
                self.caller.purpose
            );
            let lacks = if idle { Lacks::Purpose } else { Lacks::Request };
            return Err(Refusal::forbidden("decide", public).lacking(lacks).because(reason));
        }
        if !is_open(resource_type) && !self.standing.shows_all() {
            let public = format!("{resource_type} is open only to callers who are shown everything");
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::WholeView));
        }
        Ok(Cleared { bounds, policies: ruling.policies })
    }

    /// What the token's scopes leave of records of a type.
    fn scope(&self, need: Need, resource_type: &str) -> Result<Bounds, Refusal> {
        let wants = self.tenant.wants_scopes(self.caller);
        if !wants && self.caller.scopes.is_empty() {
            return Ok(Bounds::free());
        }
        let ruling = scopes::check(self.caller, need, resource_type);
        let (granted, patient_only) = match &ruling {
            ScopeRuling::Granted { bounds } => (true, bounds.patient_only()),
            ScopeRuling::Refused(_) => (false, false),
        };
        let needs = format!("{resource_type}.{}", scopes::letter(need));
        let by = scopes::covering(self.caller, need, resource_type);
        self.witness.scoped(&needs, by, (granted, patient_only));
        match ruling {
            ScopeRuling::Granted { bounds } => Ok(bounds),
            ScopeRuling::Refused(text) => Err(Refusal::forbidden("decide", text).lacking(Lacks::Scope)),
        }
    }

    /// The types of which scopes leave a part, for records that are only named.
    fn parts(&self) -> BTreeMap<String, Bounds> {
        let types = drape_fhir::definitions::r4().resource_types();
        let bounds = types.filter_map(|t| Some((t.to_owned(), self.scope(Need::Read, t).ok()?)));
        bounds.filter(|(_, bounds)| !bounds.is_free()).collect()
    }

    /// Whether something may be a criterion, told to the witness under the name of what reads it.
    fn search_by(&self, name: &str, category: Category, resource_type: &str) -> Criterion {
        let answer = self.standing.search_by(category, resource_type);
        let word = match answer {
            Criterion::Open => "open",
            Criterion::Shown => "shown",
            Criterion::ByPseudonym => "by-pseudonym",
            Criterion::Narrowed => "narrowed",
            Criterion::Refused => "refused",
        };
        self.witness.ruled(name, category.name(), word);
        answer
    }

    /// Whether records must come whole because verdicts depend on what stands in them: `_elements=text` would bring the
    /// narrative of a diagnosis without the code that labels it (LV-23).
    fn whole_records(&self, cleared: &Cleared) -> bool {
        !cleared.bounds.is_free() || !self.standing.uniform()
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

    fn records(&self, cleared: Cleared, path_and_query: String, expect: Expect) -> Decided {
        Decided {
            way: Way::Records(Records {
                request: UpstreamRequest::get(path_and_query),
                expect,
                names_one: false,
                address: String::new(),
                paging: Paging::default(),
                own_link: self.own.clone(),
            }),
            bounds: cleared.bounds,
            reach: None,
            policies: cleared.policies,
            names: Vec::new(),
        }
    }

    /// The same of one record, which the log names.
    fn record(
        &self,
        cleared: Cleared,
        path_and_query: String,
        expect: Expect,
        resource_type: &str,
        id: &str,
    ) -> Decided {
        let mut decided = self.records(cleared, path_and_query, expect);
        decided.names.push(format!("{resource_type}/{id}"));
        decided
    }

    fn read(&self, resource_type: &str, id: &str, shape: &str) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::Read, resource_type)?;
        let id = self.id(resource_type, id)?;
        let whole = self.whole_records(&cleared);
        if whole && !shape.is_empty() {
            self.witness.rewrote(WHOLE);
        }
        let shape = if whole { "" } else { shape };
        let mark = if shape.is_empty() { "" } else { "?" };
        let path = format!("/{resource_type}/{id}{mark}{shape}");
        let expect =
            Expect::Record { resource_type: resource_type.to_owned(), id: Some(id.clone()), version: None };
        Ok(self.record(cleared, path, expect, resource_type, &id))
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
        Ok(self.record(cleared, path, expect, resource_type, &id))
    }

    fn history(&self, history: History, page: Option<Page>) -> Result<Decided, Refusal> {
        let (Some(resource_type), Some(id)) = (&history.resource_type, &history.id) else {
            return self.history_of_many(&history, page);
        };
        let cleared = self.clear(Need::Read, Action::History, resource_type)?;
        let depends = self.whole_records(&cleared);
        if history.count == Some(0) && depends {
            return Err(Refusal::forbidden("decide", EXACT_COUNT).lacking(Lacks::WholeView));
        }
        let dated = history.since.is_some()
            && self.search_by("_since", Category::RecordedDate, resource_type) == Criterion::Open;
        if history.since.is_some() && (depends || !dated) {
            // Which versions come then tells when a record changed of which the caller may not be shown the time.
            let public = "`_since` is offered to callers who are shown of every record when it changed";
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::Criterion));
        }
        let opened = self.id(resource_type, id)?;
        let upstream = format!("/{resource_type}/{opened}/_history");
        let path = history_path(&upstream, &history, page.as_ref());
        let expect = Expect::Bundle(BundleKind::History);
        let mut decided = self.record(cleared, path, expect, resource_type, &opened);
        if let Way::Records(records) = &mut decided.way {
            // Later pages of a history are reached only by who was shown something of it.
            records.names_one = page.is_none();
            records.paging = paging(page.as_ref(), false);
            records.address = format!("/{resource_type}/{id}/_history");
        }
        Ok(decided)
    }

    /// The history of a type or of the whole server: everything that happened to anybody. Open to callers who are
    /// shown everything, whom it can tell nothing that a record withheld would hide.
    fn history_of_many(&self, history: &History, page: Option<Page>) -> Result<Decided, Refusal> {
        let what = history.resource_type.as_deref().unwrap_or("the whole server");
        let mut cleared = Cleared { bounds: Bounds::free(), policies: Vec::new() };
        let types: Vec<&str> = match &history.resource_type {
            Some(one) => vec![one],
            None => drape_fhir::definitions::r4().resource_types().collect(),
        };
        for resource_type in types {
            // SMART counts the history of a type to searching it.
            let one = self.clear(Need::Search, Action::History, resource_type)?;
            cleared.bounds = cleared.bounds.and(&one.bounds);
            cleared.policies.extend(one.policies);
        }
        cleared.policies.sort();
        cleared.policies.dedup();
        if !cleared.bounds.is_free() || !self.standing.shows_all() {
            let public = format!(
                "the history of {what} is open only to callers who are shown everything; read that of a record"
            );
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::WholeView));
        }
        let own = history.resource_type.as_ref().map(|t| format!("/{t}")).unwrap_or_default();
        let own = format!("{own}/_history");
        let path = history_path(&own, history, page.as_ref());
        let mut decided = self.records(cleared, path, Expect::Bundle(BundleKind::History));
        if let Way::Records(records) = &mut decided.way {
            records.address = own;
        }
        Ok(decided)
    }

    fn page(&self, handle: &str) -> Result<Decided, Refusal> {
        let now = self.tenant.clock.now_ms();
        let page = self.tenant.pages.open(handle, self.caller, now).map_err(|e| {
            let public = "this page link is not valid, not yours, or has expired; search again";
            Refusal::new("decide", StatusCode::GONE, "expired", public).because(e.to_string())
        })?;
        // What was asked is read and judged again: what was permitted a page ago may not be any more.
        let (path, query) =
            page.address.split_once('?').map_or((&*page.address, None), |(p, q)| (p, Some(q)));
        let parts = interaction::Parts { method: "GET", path, query, headers: &[], body: None };
        match interaction::parse(&parts) {
            Ok(Interaction::Search(search)) => self.search(search, Some(page)),
            Ok(Interaction::History(history)) => self.history(history, Some(page)),
            Ok(Interaction::Operation(operation)) => self.operation(operation, None, Some(page)),
            _ => Err(Refusal::unknown("decide", "a page whose request cannot be read any more")),
        }
    }
}

/// Where a page begins; the first one at the beginning.
fn paging(page: Option<&Page>, includes: bool) -> Paging {
    Paging { skip: page.map_or(0, |p| p.skip), count: page.and_then(|p| p.count), includes }
}

/// Where a history is read: its own address, or the upstream's link to a page of it.
fn history_path(own: &str, history: &History, page: Option<&Page>) -> String {
    if let Some(page) = page {
        return page.upstream.clone();
    }
    let count = history.count.map(|c| format!("_count={c}"));
    let since = history.since.as_ref().map(|s| format!("_since={}", drape_fhir::query::encode(s)));
    let query: Vec<String> = count.into_iter().chain(since).collect();
    if query.is_empty() { own.to_owned() } else { format!("{own}?{}", query.join("&")) }
}

/// What was not understood of a request, as a refusal.
fn misread(misunderstood: Misunderstood) -> Refusal {
    let status = StatusCode::from_u16(misunderstood.status).unwrap_or(StatusCode::FORBIDDEN);
    Refusal::new("decide", status, misunderstood.code, misunderstood.text())
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Read => "read",
        Action::Vread => "read versions of",
        Action::Search => "search",
        Action::History => "read the history of",
        Action::Create => "create",
        Action::Update => "update",
        Action::Patch => "patch",
        Action::Delete => "delete",
        Action::Transaction => "send transactions of",
        Action::Export => "export",
        Action::Operation => "call operations on",
    }
}

#[cfg(test)]
mod tests;
