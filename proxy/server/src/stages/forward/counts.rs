//! Noisy counts: charged and durable before the answer exists.

use std::sync::Arc;

use drape_noise::ledger::Caps;
use drape_noise::{Question, Release, Reserve, SystemRandom};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::Desk;
use crate::client::read_bounded;
use crate::parts::{Budget, Tenant};
use crate::refusal::{Lacks, Refusal};
use crate::stages::Own;
use crate::stages::decide::Aggregate;
use crate::upstream::{UpstreamRequest, is_fhir_json};

impl Desk {
    /// A noisy count: charged and durable before the answer exists. Once begun it is not given up when the client
    /// goes away, so that a charge is not wasted for that alone.
    pub(super) async fn aggregate(&self, aggregate: Aggregate) -> Result<Own, Refusal> {
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
            return Err(Refusal::forbidden("forward", "no budget is kept for counts").lacking(Lacks::Budget));
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
                return Err(Refusal::new("forward", StatusCode::FORBIDDEN, "too-costly", public)
                    .lacking(Lacks::Budget));
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
        let request = UpstreamRequest::get(format!("/Patient?{}", search.to_query()));
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
