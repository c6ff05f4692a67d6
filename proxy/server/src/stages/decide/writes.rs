//! Writes: create, update, patch and delete, by id or by a search for the record.

use bytes::Bytes;
use drape_caller::Need;
use drape_fhir::interaction::{PatchForm, Target};
use drape_fhir::query::Search;
use drape_policy::Action;
use http::StatusCode;

use super::{Decided, Desk, Way, Write};
use crate::refusal::Refusal;
use crate::stages::classify::Return;

impl Desk<'_> {
    /// Create, or create unless a search finds the record.
    pub(super) fn create(
        &self,
        resource_type: &str,
        unless: Option<Search>,
        body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        if unless.is_some() {
            return Err(not_offered("conditional create (`If-None-Exist`) is not offered"));
        }
        self.write(resource_type, None, body)
    }

    /// Update of a record by id, or of the one that a search finds.
    pub(super) fn update(
        &self,
        resource_type: &str,
        target: Target,
        body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        match target {
            Target::Id(id) => self.write(resource_type, Some(&id), body),
            Target::Search(_) => Err(not_offered("conditional update is not offered")),
        }
    }

    /// Patch of a record by id, or of the one that a search finds.
    pub(super) fn patch(
        &self,
        _resource_type: &str,
        _target: Target,
        _form: PatchForm,
        _body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        Err(not_offered("patch is not offered"))
    }

    /// Delete of a record by id, or of the one that a search finds.
    pub(super) fn delete(&self, _resource_type: &str, _target: Target) -> Result<Decided, Refusal> {
        Err(not_offered("delete is not offered"))
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
                prefer: Return::default(),
            }),
            patient_only: cleared.patient_only,
            reach: None,
            policies: cleared.policies,
            names: id.map(|id| format!("{resource_type}/{id}")).into_iter().collect(),
        })
    }
}

fn not_offered(public: &str) -> Refusal {
    Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public)
}
