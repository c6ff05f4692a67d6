//! Writes: create, update, patch and delete, by id or by a search for the record.

use std::collections::BTreeMap;

use bytes::Bytes;
use drape_caller::Need;
use drape_fhir::interaction::{PatchForm, Target};
use drape_fhir::query::Search;
use drape_policy::Action;
use drape_view::Bounds;
use http::StatusCode;

use super::{Cleared, Decided, Desk, Way};
use crate::refusal::{Lacks, Refusal};
use crate::stages::classify::Return;

/// One write, as far as it can be judged before the stored record is in sight.
#[derive(Debug)]
pub(in crate::stages) struct Write {
    pub(in crate::stages) resource_type: String,
    pub(in crate::stages) act: Act,
    /// The record, or the patch; empty for a delete.
    pub(in crate::stages) body: Bytes,
    pub(in crate::stages) if_match: Option<String>,
    pub(in crate::stages) prefer: Return,
}

impl Write {
    /// In place of one that was taken.
    pub(in crate::stages) fn nothing() -> Self {
        Self {
            resource_type: String::new(),
            act: Act::Create { unless: None },
            body: Bytes::new(),
            if_match: None,
            prefer: Return::default(),
        }
    }
}

/// What is done.
#[derive(Debug)]
pub(in crate::stages) enum Act {
    /// Create, unless a search finds the record.
    Create { unless: Option<Finding> },
    /// Update. What a search does not find is created, where `creates`.
    Update { at: At, creates: bool },
    /// Patch.
    Patch { at: At, form: PatchForm },
    /// Delete.
    Delete { at: At },
}

/// Which record is meant.
#[derive(Debug)]
pub(in crate::stages) enum At {
    /// The one with this id.
    Id(String),
    /// The one that a search finds.
    Found(Finding),
}

/// A search for the record that is meant, judged as any search is.
#[derive(Clone, Debug)]
pub(in crate::stages) struct Finding {
    /// The search as the upstream is asked; `None` where it can find nothing.
    pub(in crate::stages) path: Option<String>,
    /// The types that may come, each with what scopes leave of it.
    pub(in crate::stages) reach: BTreeMap<String, Bounds>,
}

impl Finding {
    /// The criteria as they were judged, for `If-None-Exist`.
    pub(in crate::stages) fn criteria(&self) -> Option<String> {
        let (_, query) = self.path.as_deref()?.split_once('?')?;
        let criteria: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("_count=")).collect();
        Some(criteria.join("&"))
    }
}

impl Desk<'_> {
    /// Create, or create unless a search finds the record.
    pub(super) fn create(
        &self,
        resource_type: &str,
        unless: Option<Search>,
        body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Create, Action::Create, resource_type)?;
        let unless = unless.map(|search| self.finding(search)).transpose()?;
        self.write(resource_type, cleared, Act::Create { unless }, Some(body))
    }

    /// Update of a record by id, or of the one that a search finds.
    pub(super) fn update(
        &self,
        resource_type: &str,
        target: Target,
        body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Update, Action::Update, resource_type)?;
        // Only what a search does not find can be created: the ids are the upstream's.
        let may_create = || self.clear(Need::Create, Action::Create, resource_type);
        let (at, creates) = match target {
            Target::Id(id) => (At::Id(id), false),
            Target::Search(search) => {
                // What is created must lie within the bounds of creating, and it is judged by those of updating.
                let creates = may_create().is_ok_and(|c| c.bounds.is_free() || c.bounds == cleared.bounds);
                (At::Found(self.finding(*search)?), creates)
            }
        };
        self.write(resource_type, cleared, Act::Update { at, creates }, Some(body))
    }

    /// Patch of a record by id, or of the one that a search finds.
    pub(super) fn patch(
        &self,
        resource_type: &str,
        target: Target,
        form: PatchForm,
        body: Option<Bytes>,
    ) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Update, Action::Patch, resource_type)?;
        let at = self.at(target)?;
        self.write(resource_type, cleared, Act::Patch { at, form }, Some(body))
    }

    /// Delete of a record by id, or of the one that a search finds.
    pub(super) fn delete(&self, resource_type: &str, target: Target) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Delete, Action::Delete, resource_type)?;
        let at = self.at(target)?;
        self.write(resource_type, cleared, Act::Delete { at }, None)
    }

    fn at(&self, target: Target) -> Result<At, Refusal> {
        Ok(match target {
            Target::Id(id) => At::Id(id),
            Target::Search(search) => At::Found(self.finding(*search)?),
        })
    }

    /// The search for the record that is meant: gated, narrowed and judged as if it were made by itself (LV-32, LV-33).
    fn finding(&self, mut search: Search) -> Result<Finding, Refusal> {
        // Enough to tell one from several where few are withheld.
        search.count = Some(20);
        let decided = self.search(search, None)?;
        let path = match decided.way {
            Way::Records(records) => Some(records.request.path_and_query),
            _ => None,
        };
        Ok(Finding { path, reach: decided.reach.unwrap_or_default() })
    }

    fn write(
        &self,
        resource_type: &str,
        cleared: Cleared,
        act: Act,
        body: Option<Option<Bytes>>,
    ) -> Result<Decided, Refusal> {
        if self.standing.ids_by_pseudonym() {
            return Err(Refusal::forbidden("decide", "who is shown pseudonyms cannot write")
                .lacking(Lacks::WholeView));
        }
        let missing = || Refusal::new("decide", StatusCode::BAD_REQUEST, "required", "the body is missing");
        let body = match body {
            Some(body) => body.filter(|b| !b.is_empty()).ok_or_else(missing)?,
            None => Bytes::new(),
        };
        let id = match &act {
            Act::Update { at: At::Id(id), .. }
            | Act::Patch { at: At::Id(id), .. }
            | Act::Delete { at: At::Id(id) } => Some(id),
            _ => None,
        };
        let names = id.map(|id| format!("{resource_type}/{id}")).into_iter().collect();
        Ok(Decided {
            way: Way::Write(Write {
                resource_type: resource_type.to_owned(),
                act,
                body,
                if_match: None,
                prefer: Return::default(),
            }),
            bounds: cleared.bounds,
            reach: None,
            policies: cleared.policies,
            names,
        })
    }
}
