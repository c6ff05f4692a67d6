//! What is written: judged as it is sent and as it is stored, and held to the version that was judged.

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::reference::Reference;
use drape_shield::Expect;
use drape_view::Facts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::{Desk, Upstream, is_empty};
use crate::client::read_bounded;
use crate::refusal::Refusal;
use crate::stages::Own;
use crate::stages::classify::Return;
use crate::stages::decide::Write;
use crate::stages::seal::Totals;
use crate::upstream::UpstreamRequest;

impl Desk {
    /// Create or update: everything of the new and the stored record must be shown to the caller, and every category
    /// be the caller's to change, until hidden parts can be merged back.
    pub(super) async fn write(
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
        if write.prefer != Return::Representation || is_empty(&response) {
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
        {
            let public = "the record has changed since you read it";
            return Err(Refusal::new("forward", StatusCode::PRECONDITION_FAILED, "conflict", public));
        }
        Ok(version)
    }
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
