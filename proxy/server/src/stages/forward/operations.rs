//! Operations at the upstream, and what is looked up before a Binary may pass.

use std::sync::Arc;

use bytes::Bytes;
use drape_fhir::query::encode;
use drape_fhir::reference::Reference;
use drape_view::Verdict;
use http::{HeaderMap, Response, header};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::writes::Ready;
use super::{Desk, Stream, Upstream};
use crate::client::read_bounded;
use crate::facts::Ahead;
use crate::refusal::Refusal;
use crate::stages::Own;
use crate::stages::classify::Return;
use crate::stages::decide::operations::{Binary, Words};
use crate::stages::decide::{Act, Records, Write};
use crate::stages::protect::{Held, Related, What};
use crate::upstream::{UpstreamBody, UpstreamRequest};

/// Answers about codes are small.
const WORDS_BYTES_MAX: usize = 4 << 20;

/// More documents than this do not refer to one Binary.
const DOCUMENTS_MAX: usize = 50;

impl Desk {
    /// Reads one record whole.
    async fn read_whole(&self, resource_type: &str, id: &str) -> Result<Bytes, Refusal> {
        let response = self.send(&UpstreamRequest::get(format!("/{resource_type}/{id}"))).await?;
        let response = self.check(response).await?;
        read_bounded(response.into_body(), self.tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| Refusal::upstream(format!("{resource_type}/{id} cannot be read: {e}")))
    }

    /// All about a record, if that itself is not withheld: else what is about nobody would say that it is there.
    pub(super) async fn everything(
        self: &Arc<Self>,
        records: Records,
        resource_type: &str,
        id: &str,
    ) -> Result<Stream, Refusal> {
        let text = self.read_whole(resource_type, id).await?;
        let facts = drape_shield::facts_of(
            &self.tenant.catalogue,
            &text,
            resource_type,
            &[self.tenant.upstream.base_url()],
            self.tenant.limits.json_depth_max,
        )
        .map_err(|e| Refusal::upstream(e.what))?;
        if facts.main().and_then(|m| m.id.as_deref()) != Some(id) {
            return Err(Refusal::upstream("the record is not the one that was asked for"));
        }
        // As a read judges it: with what is looked up of its patient.
        let (mut view, facts) = (self.view.clone(), Arc::new(facts));
        if let Some(mut ahead) = self.ahead() {
            ahead.prepare(&self.tenant, &mut view, std::slice::from_ref(&facts), self.durable).await?;
        }
        if !matches!(view.rule(&facts).first(), Some(Verdict::Keep(_))) {
            return Err(Refusal::unknown("forward", "the record itself is withheld from the caller"));
        }
        self.records(records).await
    }

    pub(super) async fn words(
        self: &Arc<Self>,
        words: Words,
        standing: &drape_policy::Standing,
    ) -> Result<Upstream, Refusal> {
        match words {
            Words::Terminology { target } => {
                let response = self.check(self.send(&UpstreamRequest::get(target)).await?).await?;
                let text = read_bounded(response.into_body(), WORDS_BYTES_MAX)
                    .await
                    .map_err(|e| Refusal::upstream(format!("the answer cannot be read: {e}")))?;
                Ok(self.held(What::Parameters(text), Vec::new()))
            }
            Words::Validate { resource_type, body } => {
                self.validate(&resource_type, &body, standing).await.map(Upstream::Own)
            }
        }
    }

    fn held(&self, what: What, room: Vec<OwnedSemaphorePermit>) -> Upstream {
        Upstream::Held(Box::new(Held { view: self.view.clone(), ahead: self.ahead(), what, room }))
    }

    fn ahead(&self) -> Option<Ahead> {
        Ahead::of(&self.tenant, &self.standing, &self.view, &self.token)
    }

    /// A record that is judged like one that is created, and looked at by the upstream. Of what it says nothing is
    /// passed on that could speak of other records.
    async fn validate(
        self: &Arc<Self>,
        resource_type: &str,
        body: &Bytes,
        standing: &drape_policy::Standing,
    ) -> Result<Own, Refusal> {
        let write = Write {
            resource_type: resource_type.to_owned(),
            act: Act::Create { unless: None },
            body: body.clone(),
            if_match: None,
            prefer: Return::default(),
        };
        let Ready::Send(prepared) = self.prepare(write, standing).await? else {
            return Err(Refusal::upstream("a record that is only looked at was found"));
        };
        let path_and_query = format!("/{resource_type}/$validate");
        let request = UpstreamRequest { path_and_query, ..prepared.request };
        let response = self.send(&request).await?;
        // Some servers say by a status, too, that the record is not valid.
        let told = [200, 400, 412, 422].contains(&response.status().as_u16());
        let response = if told { response } else { self.check(response).await? };
        let text = read_bounded(response.into_body(), WORDS_BYTES_MAX)
            .await
            .map_err(|e| Refusal::upstream(format!("the answer cannot be read: {e}")))?;
        let ours = drape_fhir::outcome::of_a_body(&text);
        ours.map(Own::ok).ok_or_else(|| Refusal::upstream("the answer is no OperationOutcome"))
    }

    /// A Binary with the records that it belongs to. Whatever goes wrong after it was found answers as if it were not
    /// there.
    pub(super) async fn binary(&self, asked: Binary) -> Result<Upstream, Refusal> {
        let Binary { id, raw, unbound } = asked;
        let response = self.check(self.send(&UpstreamRequest::get(format!("/Binary/{id}"))).await?).await?;
        let room = self.room(&response)?;
        let text = read_bounded(response.into_body(), self.tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| unknown(format!("the Binary cannot be read: {e}")))?;
        let related = if unbound { Vec::new() } else { self.related(&id, &text).await? };
        Ok(self.held(What::Binary { id, text, raw, unbound, related }, room))
    }

    /// Room for a body of unknown size among everything that is held: as much as it may be.
    fn room(&self, response: &Response<UpstreamBody>) -> Result<Vec<OwnedSemaphorePermit>, Refusal> {
        const STEP: usize = 64 << 10;
        let limit = self.tenant.limits.entry_bytes_max;
        let length = length(response.headers()).unwrap_or(limit).min(limit);
        // The text, what is taken out of it, and what is put out.
        let steps = u32::try_from((3 * length).div_ceil(STEP)).unwrap_or(u32::MAX);
        let held = Arc::clone(&self.tenant.held).try_acquire_many_owned(steps.max(1));
        held.map(|permit| vec![permit]).map_err(|_| {
            let public = "too many large records are under way; try again";
            Refusal::unavailable("forward", public, "limit `held_bytes_max` reached")
        })
    }

    /// The record that a Binary says it belongs to, or all documents that refer to it.
    async fn related(&self, id: &str, text: &Bytes) -> Result<Vec<Related>, Refusal> {
        let binary: Value = serde_json::from_slice(text).map_err(|_| unknown("it is not JSON".into()))?;
        if let Some(context) = binary.get("securityContext") {
            let reference = context["reference"].as_str().unwrap_or_default();
            let base = self.tenant.upstream.base_url();
            let Reference::Local { resource_type, id, .. } = Reference::parse(reference, &[base]) else {
                return Err(unknown("its securityContext names no record here".into()));
            };
            if !drape_fhir::definitions::r4().is_resource(resource_type) {
                return Err(unknown("its securityContext names no record here".into()));
            }
            let text = self.read_whole(resource_type, id).await.map_err(hidden)?;
            return Ok(vec![Related { resource_type: resource_type.into(), id: Some(id.into()), text }]);
        }
        self.documents(id).await
    }

    async fn documents(&self, id: &str) -> Result<Vec<Related>, Refusal> {
        let base = self.tenant.upstream.base_url();
        let forms = [format!("Binary/{id}"), format!("{base}/Binary/{id}")];
        let location = encode(&forms.join(","));
        let path = format!("/DocumentReference?location={location}&_count={DOCUMENTS_MAX}");
        let response = self.send(&UpstreamRequest::get(path)).await.map_err(hidden)?;
        let response = self.check(response).await.map_err(hidden)?;
        let body = read_bounded(response.into_body(), self.tenant.limits.entry_bytes_max)
            .await
            .map_err(|e| unknown(format!("the documents cannot be read: {e}")))?;
        // Read strictly first, so that no two readers see two records in it.
        drape_shield::rebase(&body, base, base, self.tenant.limits.json_depth_max)
            .map_err(|e| unknown(format!("the documents cannot be read: {}", e.what)))?;
        let bundle: Value =
            serde_json::from_slice(&body).map_err(|_| unknown("the documents are not JSON".into()))?;
        let more = bundle["link"].as_array().into_iter().flatten().any(|l| l["relation"] == "next");
        if bundle["resourceType"] != "Bundle" || more {
            return Err(unknown("not all documents that refer to it could be read".into()));
        }
        let mut related = Vec::new();
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let record = &entry["resource"];
            if record["resourceType"] == "OperationOutcome" {
                continue;
            }
            let mut urls = record["content"].as_array().into_iter().flatten();
            // A server that answered another question would let any document speak for it.
            if !urls.any(|c| forms.iter().any(|form| c["attachment"]["url"] == **form)) {
                return Err(unknown("the documents that came do not refer to it".into()));
            }
            related.push(Related {
                resource_type: "DocumentReference".into(),
                id: record["id"].as_str().map(str::to_owned),
                text: Bytes::from(record.to_string()),
            });
        }
        if related.is_empty() {
            return Err(unknown("no document refers to it".into()));
        }
        Ok(related)
    }
}

fn length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn unknown(reason: String) -> Refusal {
    Refusal::unknown("forward", format!("Binary: {reason}"))
}

/// A record that could not be looked up hides what belongs to it.
fn hidden(refusal: Refusal) -> Refusal {
    unknown(format!("what it belongs to cannot be read: {}", refusal.reason))
}
