//! The one place from which anything goes upstream: it takes a grant and a durable entry, and sends what was judged.

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::reference::Reference;
use drape_noise::ledger::Caps;
use drape_noise::{Question, Release, Reserve, SystemRandom};
use drape_shield::{Expect, Links, Setup, Shield};
use drape_view::{Facts, Redaction};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::decide::{Aggregate, Grant, Records, Way, Write};
use super::enter::Entered;
use super::protect::Stream;
use super::seal::Totals;
use super::{Guard, Own};
use crate::client::{ClientError, read_bounded};
use crate::page::{Page, relative};
use crate::parts::{Budget, Tenant};
use crate::refusal::Refusal;
use crate::upstream::{UpstreamRequest, error_status, is_fhir_json};

/// What came of the grant.
pub enum Upstream {
    /// Records, still to be judged.
    Records(Box<Stream>),
    /// Drape's own words.
    Own(Own),
    /// Drape's own words about a record that was written, and its name and patients for the log.
    Written(Own, Totals),
}

/// Sends the granted request. Without an entry it cannot be called, so nothing goes upstream that is not in the log.
pub async fn forward(tenant: &Arc<Tenant>, grant: Grant, entered: &mut Entered) -> Result<Upstream, Refusal> {
    entered.at("forward");
    let Grant { way, view, standing, token, .. } = grant;
    let desk = Arc::new(Desk {
        tenant: Arc::clone(tenant),
        view,
        shows_all: standing.shows_all(),
        changes_with_time: standing.changes_with_time(),
        token,
    });
    match way {
        Way::Nothing { query } => Ok(Upstream::Own(desk.nothing(&query))),
        Way::Records(records) => {
            desk.records(records).await.map(|stream| Upstream::Records(Box::new(stream)))
        }
        Way::Write(write) => desk.write(write, &standing).await,
        Way::Aggregate(aggregate) => desk.aggregate(aggregate).await.map(Upstream::Own),
    }
}

/// What asks the upstream on behalf of one grant.
pub(super) struct Desk {
    tenant: Arc<Tenant>,
    view: drape_view::View,
    shows_all: bool,
    changes_with_time: bool,
    token: zeroize::Zeroizing<String>,
}

const OUTCOME_BYTES_MAX: usize = 64 << 10;

impl Desk {
    async fn send(&self, request: &UpstreamRequest) -> Result<Response<Incoming>, Refusal> {
        self.tenant.upstream.send(request, &self.token, self.tenant.limits.upstream_timeout).await.map_err(
            |e| {
                let (kind, refusal) = match &e {
                    ClientError::TimedOut(_) => (
                        "timeout",
                        Refusal::new(
                            "forward",
                            StatusCode::GATEWAY_TIMEOUT,
                            "timeout",
                            "the FHIR server behind did not answer in time",
                        ),
                    ),
                    _ => ("unreachable", Refusal::upstream("")),
                };
                self.tenant.metrics.upstream_error(kind);
                refusal.because(e.to_string())
            },
        )
    }

    /// An upstream error becomes one of Drape's: the status, the issue code and `Retry-After` stay, nothing else.
    async fn check(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
        let status = response.status();
        let Some(ours) = error_status(status) else {
            if !is_fhir_json(&response) && !is_empty(&response) {
                self.tenant.metrics.upstream_error("body");
                return Err(Refusal::upstream("the answer is not FHIR JSON"));
            }
            return Ok(response);
        };
        self.tenant.metrics.upstream_error("status");
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            if status == StatusCode::GONE && self.shows_all {
                return Err(Refusal::new("forward", StatusCode::GONE, "deleted", "the record was deleted"));
            }
            return Err(Refusal::unknown("forward", format!("the upstream answers {status}")));
        }
        let retry =
            response.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = read_bounded(response.into_body(), OUTCOME_BYTES_MAX).await.unwrap_or_default();
        let code = drape_fhir::outcome::issue_code(&body).unwrap_or("processing");
        let public = format!("the FHIR server behind answered {}", ours.as_u16());
        let mut refusal = Refusal::new("forward", ours, code, public)
            .because(format!("the upstream answers {status} ({code})"));
        if let Some(retry) = retry.filter(|r| r.bytes().all(|b| b.is_ascii_digit())) {
            refusal = refusal.with(header::RETRY_AFTER, &retry);
        }
        Err(refusal)
    }

    /// Sends a granted read or search. Called again only for the next page of the same search, where all of a page was
    /// withheld.
    pub(super) async fn records(self: &Arc<Self>, records: Records) -> Result<Stream, Refusal> {
        let response = self.send(&records.request).await?;
        let response = self.check(response).await?;
        if response.status() != StatusCode::OK {
            return Err(Refusal::upstream(format!("the upstream answers {} to a read", response.status())));
        }
        Ok(self.stream(response, records.expect.clone(), Some(records), StatusCode::OK, HeaderMap::new()))
    }

    fn stream(
        self: &Arc<Self>,
        response: Response<Incoming>,
        expect: Expect,
        records: Option<Records>,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Stream {
        let tenant = &self.tenant;
        let caller = self.view.caller();
        let next = NextPage::default();
        let single = matches!(expect, Expect::Record { .. });
        let links = PageLinks {
            tenant: Arc::clone(tenant),
            caller: Arc::clone(caller),
            uniform: self.view.uniform(),
            resource_type: records.as_ref().map(|r| r.resource_type.clone()).unwrap_or_default(),
            id: records.as_ref().and_then(|r| r.id.clone()),
            query: records.as_ref().map(|r| r.query.clone()).unwrap_or_default(),
            own_link: records.as_ref().map(|r| r.own_link.clone()).unwrap_or_default(),
            next: next.clone(),
        };
        let shield = Shield::new(Setup {
            catalogue: Arc::clone(&tenant.catalogue),
            expect,
            upstream_base: tenant.upstream.base_url().to_owned(),
            public_base: tenant.public_base.clone(),
            limits: drape_shield::Limits {
                entry_bytes_max: tenant.limits.entry_bytes_max,
                depth_max: tenant.limits.json_depth_max,
            },
            uniform: self.view.uniform(),
            shows_all: self.shows_all && self.view.uniform(),
            declared: tenant.redaction == Redaction::Declared,
            links: Box::new(links),
            pseudonyms: Arc::clone(&tenant.pseudonymizer),
            tenant: tenant.name.clone(),
            today: caller.environment.today.clone(),
        });
        let text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
        };
        let etag = text(header::ETAG).filter(|e| e.len() < 128);
        let last_modified = response.headers().get(header::LAST_MODIFIED).cloned();
        let guard = Guard {
            view: self.view.clone(),
            single,
            token_until_ms: caller.proof.expires_at.saturating_mul(1_000).saturating_add(60_000),
            view_until_ms: Guard::view_until(self.changes_with_time, tenant.clock.now_ms()),
            // Later pages of a history are reached only by who was shown something of it.
            names_one: single
                || records.as_ref().is_some_and(|r| r.id.is_some() && r.first) && !self.view.uniform(),
            etag_suffix: etag_suffix(tenant, caller),
            always_suffixed: tenant.redaction == Redaction::Silent
                && !(self.shows_all && self.view.uniform()),
            etag,
            last_modified,
        };
        Stream {
            status,
            headers,
            body: response.into_body(),
            shield: Box::new(shield),
            guard,
            deadline: Instant::now() + tenant.limits.request_timeout,
            pages: records.map(|records| Pages { desk: Arc::clone(self), records, next }),
        }
    }

    /// A searchset in which nothing matched.
    fn nothing(&self, query: &str) -> Own {
        let link = json!([{"relation": "self", "url": format!("{}/{query}", self.tenant.public_base)}]);
        Own::ok(json!({"resourceType": "Bundle", "type": "searchset", "link": link}).to_string())
    }

    /// Create or update: everything of the new and the stored record must be shown to the caller, and every category
    /// be the caller's to change, until hidden parts can be merged back.
    async fn write(
        self: &Arc<Self>,
        write: Write,
        standing: &drape_policy::Standing,
    ) -> Result<Upstream, Refusal> {
        let tenant = &self.tenant;
        let bases = [tenant.public_base.as_str(), tenant.upstream.base_url()];
        let bad = |what: String| Refusal::new("forward", StatusCode::BAD_REQUEST, "structure", what);
        let facts = drape_shield::facts_of(
            &tenant.catalogue,
            &write.body,
            &write.resource_type,
            &bases,
            tenant.limits.json_depth_max,
        )
        .map_err(|e| bad(format!("the body cannot be read: {}", e.what)))?;
        searches_in(&write.body)?;
        if let (Some(id), Some(main)) = (&write.id, facts.main())
            && main.id.as_ref() != Some(id)
        {
            return Err(bad("the body's id is not the address's".into()));
        }
        self.may_change(standing, &facts, &write.resource_type)?;
        let (public, own) = (tenant.public_base.as_str(), tenant.upstream.base_url());
        let body = drape_shield::rebase(&write.body, public, own, tenant.limits.json_depth_max)
            .map_err(|e| bad(format!("the body cannot be read: {}", e.what)))?;
        let mut request = UpstreamRequest {
            method: Method::POST,
            path_and_query: format!("/{}", write.resource_type),
            body: Some(body.into()),
            if_match: None,
        };
        if let Some(id) = &write.id {
            request.method = Method::PUT;
            request.path_and_query = format!("/{}/{id}", write.resource_type);
            request.if_match =
                Some(self.stored_version(standing, &request.path_and_query, &write, id).await?);
        }
        let response = self.send(&request).await?;
        let response = self.check(response).await?;
        let status = response.status();
        let mut headers = HeaderMap::new();
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let Some(value) = response.headers().get(&name).and_then(|v| v.to_str().ok()) else { continue };
            if let Some(rest) = value.strip_prefix(tenant.upstream.base_url())
                && matches!(Reference::parse(rest.trim_start_matches('/'), &[]), Reference::Local { .. })
                && let Ok(value) = HeaderValue::from_str(&format!("{}{rest}", tenant.public_base))
            {
                headers.insert(name, value);
            }
        }
        if write.minimal || is_empty(&response) {
            if let Some(etag) = response.headers().get(header::ETAG) {
                headers.insert(header::ETAG, etag.clone());
            }
            // The server names a new record in `Location`, with its version.
            let named = headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
            let named = named.and_then(|l| l.strip_prefix(&tenant.public_base)?.strip_prefix('/'));
            let record = match (named, &write.id) {
                (Some(named), _) => named.replace("/_history/", "/"),
                (None, Some(id)) => format!("{}/{id}", write.resource_type),
                (None, None) => write.resource_type.clone(),
            };
            let mut totals = Totals::default();
            totals.written(record, facts.main().map(|m| m.patients.as_slice()).unwrap_or_default());
            return Ok(Upstream::Written(Own { status, headers, body: Bytes::new() }, totals));
        }
        let expect = Expect::Record { resource_type: write.resource_type, id: write.id, version: None };
        Ok(Upstream::Records(Box::new(self.stream(response, expect, None, status, headers))))
    }

    fn may_change(
        &self,
        standing: &drape_policy::Standing,
        facts: &Facts,
        resource_type: &str,
    ) -> Result<(), Refusal> {
        let profile = self.tenant.profiler.profile(facts, 0, self.view.caller());
        let ruling = standing.may_change(&profile);
        // What is contained has a patient and a plan of its own, and scopes may be for one patient only.
        let shown = self
            .view
            .rule(facts)
            .iter()
            .all(|v| matches!(v, drape_view::Verdict::Keep(plan) if plan.shows_all()));
        if !ruling.allowed || !shown {
            let public = "you may write only records that you are shown whole and may change";
            let reason = format!("policy does not permit the change (erred: {})", ruling.erred);
            return Err(Refusal::forbidden("forward", public).because(reason));
        }
        // What policies, labels or relations themselves read: whoever may write it could write himself a right.
        let relates = [
            "CareTeam",
            "Consent",
            "Encounter",
            "EpisodeOfCare",
            "Group",
            "List",
            "Patient",
            "RelatedPerson",
        ];
        let labelled = facts.main().is_some_and(|m| !m.security.is_empty());
        if (relates.contains(&resource_type) || labelled) && !standing.may_relate(&profile).allowed {
            let public = "you may not write what access itself rests on";
            return Err(Refusal::forbidden("forward", public));
        }
        Ok(())
    }

    /// The version that was judged; the upstream changes no other.
    async fn stored_version(
        &self,
        standing: &drape_policy::Standing,
        path: &str,
        write: &Write,
        id: &str,
    ) -> Result<String, Refusal> {
        let tenant = &self.tenant;
        let get = UpstreamRequest {
            method: Method::GET,
            path_and_query: path.to_owned(),
            body: None,
            if_match: None,
        };
        let response = self.check(self.send(&get).await?).await?;
        let etag = response.headers().get(header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = read_bounded(response.into_body(), tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| Refusal::upstream(format!("the stored record cannot be read: {e}")))?;
        let bases = [tenant.upstream.base_url()];
        let stored = drape_shield::facts_of(
            &tenant.catalogue,
            &body,
            &write.resource_type,
            &bases,
            tenant.limits.json_depth_max,
        )
        .map_err(|e| Refusal::upstream(e.what))?;
        if stored.main().and_then(|m| m.id.as_deref()) != Some(id) {
            return Err(Refusal::upstream("the stored record is not the one that was asked for"));
        }
        // Of a record that is not shown at all nothing is said, not even that it is there.
        if !matches!(self.view.rule(&stored).first(), Some(drape_view::Verdict::Keep(_))) {
            return Err(Refusal::unknown("forward", "the stored record is withheld from the caller"));
        }
        self.may_change(standing, &stored, &write.resource_type)?;
        let version = etag.ok_or_else(|| {
            Refusal::upstream("the stored record comes without an ETag; a lost update could not be told")
        })?;
        if let Some(wanted) = &write.if_match
            && wanted.trim() != version
            && wanted.trim() != suffixed(&version, &etag_suffix(tenant, self.view.caller()))
        {
            let public = "the record has changed since you read it";
            return Err(Refusal::new("forward", StatusCode::PRECONDITION_FAILED, "conflict", public));
        }
        Ok(version)
    }

    /// A noisy count: charged and durable before the answer exists. Once begun it is not given up when the client
    /// goes away, so that a charge is not wasted for that alone.
    async fn aggregate(&self, aggregate: Aggregate) -> Result<Own, Refusal> {
        let work = Counting { tenant: Arc::clone(&self.tenant), token: self.token.clone(), aggregate };
        tokio::spawn(work.run()).await.map_err(|e| {
            Refusal::unavailable("forward", "the count failed", format!("the task failed: {e}"))
        })?
    }
}

struct Counting {
    tenant: Arc<Tenant>,
    token: zeroize::Zeroizing<String>,
    aggregate: Aggregate,
}

impl Counting {
    async fn run(self) -> Result<Own, Refusal> {
        let Some(budget) = &self.tenant.budget else {
            return Err(Refusal::forbidden("forward", "no budget is kept for counts"));
        };
        let cost = budget.config.per_query_nano;
        let canonical = self.aggregate.search.canonical();
        let question = Question {
            tenant: &self.tenant.name,
            budget: &budget.config.name,
            operation: "count",
            canonical: &canonical,
            mechanism: Release::MECHANISM,
            epsilon_nano: cost,
            sensitivity: 1,
        };
        let id = question.id();
        let reservation = match self.reserve(budget, id, cost).await? {
            Reserve::Answered(release) => return Ok(self.own(budget, &release)),
            Reserve::Exhausted { total_left_nano, caller_left_nano } => {
                let left = total_left_nano.min(caller_left_nano);
                let public = format!(
                    "the privacy budget `{}` does not cover this question: it costs ε {}, ε {} is left",
                    budget.config.name,
                    epsilon(cost),
                    epsilon(left)
                );
                return Err(Refusal::new("forward", StatusCode::FORBIDDEN, "too-costly", public));
            }
            Reserve::Reserved(reservation) => reservation,
        };
        if reservation.charged {
            self.tenant.metrics.charged(&budget.config.name, cost);
        }
        let exact = self.exact().await?;
        let noise = drape_noise::noise(cost, 1, &mut SystemRandom)
            .map_err(|e| Refusal::unavailable("forward", "no noise can be drawn", e.to_string()))?;
        let release = Release {
            noisy: i64::try_from(exact).unwrap_or(i64::MAX).saturating_add(noise),
            epsilon_nano: cost,
            sensitivity: 1,
            half_width_95: drape_noise::half_width_95(cost, 1),
            released_ms: self.tenant.clock.now_ms(),
        };
        let ledger = Arc::clone(&budget.ledger);
        let release = tokio::task::spawn_blocking(move || ledger.commit(&reservation, release))
            .await
            .map_err(|e| e.to_string())
            .and_then(|r| r.map_err(|e| e.to_string()))
            .map_err(|e| Refusal::unavailable("forward", "the budget ledger cannot be written", e))?;
        Ok(self.own(budget, &release))
    }

    async fn reserve(&self, budget: &Budget, id: [u8; 32], cost: u64) -> Result<Reserve, Refusal> {
        let ledger = Arc::clone(&budget.ledger);
        let (name, caller) = (budget.config.name.clone(), self.aggregate.caller_name.clone());
        let caps =
            Caps { total_nano: budget.config.total_nano, per_caller_nano: budget.config.per_caller_nano };
        tokio::task::spawn_blocking(move || ledger.reserve(&name, &caller, id, cost, caps))
            .await
            .map_err(|e| e.to_string())
            .and_then(|r| r.map_err(|e| e.to_string()))
            .map_err(|e| Refusal::unavailable("forward", "the budget ledger cannot be used", e))
    }

    /// The exact count; it leaves this function only with noise on it.
    async fn exact(&self) -> Result<u64, Refusal> {
        let mut search = self.aggregate.search.clone();
        search.count = None;
        search.elements.clear();
        search.total = None;
        search.summary = Some(drape_fhir::query::Summary::Count);
        let request = UpstreamRequest {
            method: Method::GET,
            path_and_query: format!("/Patient?{}", search.to_query()),
            body: None,
            if_match: None,
        };
        let fault = |what: String| Refusal::upstream(format!("the count failed: {what}"));
        let timeout = self.tenant.limits.upstream_timeout;
        let response = self
            .tenant
            .upstream
            .send(&request, &self.token, timeout)
            .await
            .map_err(|e| fault(e.to_string()))?;
        if response.status() != StatusCode::OK || !is_fhir_json(&response) {
            return Err(fault(format!("the upstream answers {}", response.status())));
        }
        let body = read_bounded(response.into_body(), 1 << 20).await.map_err(|e| fault(e.to_string()))?;
        let bundle: Value = serde_json::from_slice(&body).map_err(|_| fault("no JSON".into()))?;
        if bundle["resourceType"] != "Bundle" {
            return Err(fault("no Bundle".into()));
        }
        bundle["total"].as_u64().ok_or_else(|| fault("the Bundle has no total".into()))
    }

    /// The answer, with what an analyst must know to use it, where FHIR lets it stand: a Bundle has no extensions of
    /// its own, but its `total` has.
    fn own(&self, budget: &Budget, release: &Release) -> Own {
        let base = "https://drape.dev/fhir/StructureDefinition";
        let half = i64::try_from(release.half_width_95).unwrap_or(i64::MAX);
        let decimal = |nano: u64| serde_json::from_str::<Value>(&epsilon(nano)).unwrap_or(Value::Null);
        let part = |name: &str, key: &str, value: Value| {
            let mut part = json!({ "url": name });
            part[key] = value;
            part
        };
        let body = json!({
            "resourceType": "Bundle",
            "meta": { "security": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "AGGRED" }] },
            "type": "searchset",
            "total": release.clamped(),
            "_total": { "extension": [{ "url": format!("{base}/differential-privacy"), "extension": [
                part("mechanism", "valueCode", json!(Release::MECHANISM)),
                part("epsilon", "valueDecimal", decimal(release.epsilon_nano)),
                part("sensitivity", "valuePositiveInt", json!(release.sensitivity)),
                part("value", "valueInteger", json!(release.noisy)),
                part("low95", "valueInteger", json!(release.noisy.saturating_sub(half))),
                part("high95", "valueInteger", json!(release.noisy.saturating_add(half))),
            ] }] },
            "link": [{ "relation": "self", "url": format!("{}/Patient?{}", self.tenant.public_base, self.aggregate.search.to_query()) }],
        });
        let mut own = Own::ok(body.to_string());
        let mut mirror = |name: &'static str, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                own.headers.insert(name, value);
            }
        };
        mirror("drape-epsilon", epsilon(release.epsilon_nano));
        mirror("drape-mechanism", Release::MECHANISM.into());
        mirror(
            "drape-interval-95",
            format!("{}..{}", release.noisy.saturating_sub(half), release.noisy.saturating_add(half)),
        );
        mirror("drape-budget", budget.config.name.clone());
        own
    }
}

/// 10⁻⁹ ε as a decimal: `0.1`.
pub(crate) fn epsilon(nano: u64) -> String {
    let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    let text = text.trim_end_matches('0');
    text.strip_suffix('.').map_or_else(|| text.to_owned(), str::to_owned)
}

fn is_empty(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::NO_CONTENT || hyper::body::Body::is_end_stream(response.body())
}

/// Marks the ETag of this caller's view: two views of one version are not the same bytes.
fn etag_suffix(tenant: &Tenant, caller: &drape_view::Caller) -> String {
    let mut hash = Sha256::new();
    hash.update(tenant.etag_secret.expose());
    hash.update(tenant.policy_digest.as_bytes());
    for part in [&caller.issuer, &caller.subject, &caller.purpose] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize()[..4].iter().map(|b| format!("{b:02x}")).collect()
}

/// The ETag of this caller's view of a version.
pub(super) fn suffixed(etag: &str, suffix: &str) -> String {
    let inner = etag.trim_start_matches("W/").trim_matches('"');
    format!("W/\"{inner}-{suffix}\"")
}

/// A body may name records by a search (`Patient?identifier=…`), which the upstream would resolve: that is a search
/// nobody judged (LV-34).
fn searches_in(body: &[u8]) -> Result<(), Refusal> {
    fn walk(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().any(|(key, v)| {
                // Some servers take whatever stands before the type for a base, so its form does not matter.
                key == "reference" && v.as_str().is_some_and(|t| t.contains('?')) || walk(v)
            }),
            Value::Array(items) => items.iter().any(walk),
            _ => false,
        }
    }
    let value: Value = serde_json::from_slice(body)
        .map_err(|_| Refusal::new("forward", StatusCode::BAD_REQUEST, "structure", "the body is not JSON"))?;
    if walk(&value) {
        let public = "references by search are not resolved; name the record";
        return Err(Refusal::new("forward", StatusCode::BAD_REQUEST, "not-supported", public));
    }
    Ok(())
}

/// Rewrites a Bundle's links: `self` is what the caller asked, pages become sealed handles.
struct PageLinks {
    tenant: Arc<Tenant>,
    caller: Arc<drape_view::Caller>,
    uniform: bool,
    resource_type: String,
    id: Option<String>,
    query: String,
    own_link: String,
    next: NextPage,
}

/// The upstream's own link to the next page, once it was seen.
type NextPage = Arc<parking_lot::Mutex<Option<String>>>;

/// The pages of one search that are still to come.
pub(super) struct Pages {
    desk: Arc<Desk>,
    records: Records,
    next: NextPage,
}

impl Pages {
    /// The next page, if there is one.
    pub(super) async fn follow(self) -> Option<Result<Stream, Refusal>> {
        let link = self.next.lock().take()?;
        let mut records = self.records;
        records.request.path_and_query = link;
        Some(self.desk.records(records).await)
    }
}

impl Links for PageLinks {
    fn rewrite(&mut self, relation: &str, url: &str) -> Option<String> {
        match relation {
            "self" => return Some(format!("{}{}", self.tenant.public_base, self.own_link)),
            "next" => {}
            // The last page's address tells how many there are, and one before the first that is shown that there was
            // something to pass over.
            "previous" | "prev" | "first" | "last" if self.uniform => {}
            _ => return None,
        }
        let upstream = relative(&self.tenant, url)?.to_owned();
        if relation == "next" {
            *self.next.lock() = Some(upstream.clone());
        }
        let page = Page {
            upstream,
            resource_type: self.resource_type.clone(),
            id: self.id.clone(),
            query: self.query.clone(),
        };
        self.tenant.pages.seal(&page, &self.caller, self.tenant.clock.now_ms())
    }
}
