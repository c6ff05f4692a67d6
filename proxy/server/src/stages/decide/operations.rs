//! Operations: each by name, and all others refused by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use drape_caller::Need;
use drape_fhir::definitions::r4;
use drape_fhir::interaction::Operation;
use drape_fhir::interaction::operation::{Everything, LastN, Offered, Terminology};
use drape_fhir::query::Search;
use drape_policy::{Action, Criterion};
use drape_shield::{BundleKind, Expect};
use drape_view::view::is_open;
use drape_view::{Bounds, Category};
use http::StatusCode;

use super::{Cleared, Decided, Desk, Way, misread, paging};
use crate::page::Page;
use crate::refusal::{Lacks, Refusal};

/// What goes on to an operation whose answer is rebuilt.
#[derive(Debug)]
pub(in crate::stages) enum Words {
    /// About codes: the answer is a `Parameters` resource.
    Terminology {
        /// Path and query.
        target: String,
    },
    /// `$validate`: a record that is judged like one that is created.
    Validate {
        /// The type.
        resource_type: String,
        /// The record.
        body: Bytes,
    },
}

impl Desk<'_> {
    /// An operation, or a further page of what one answered.
    pub(super) fn operation(
        &self,
        operation: Operation,
        body: Option<Bytes>,
        page: Option<Page>,
    ) -> Result<Decided, Refusal> {
        match operation.offered(body.as_deref()).map_err(misread)? {
            Offered::Export(export) => self.export(&export, operation.posted),
            Offered::Everything(asked) => self.everything(&asked, page),
            Offered::Terminology(asked) => self.terminology(asked),
            Offered::Validate { resource_type } => self.validate(&resource_type, body),
            Offered::LastN(asked) => self.last_n(asked, page),
        }
    }

    /// All that is about a patient, or belongs to an encounter: as a search by it, over every type that may be read.
    fn everything(&self, asked: &Everything, page: Option<Page>) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::Operation, &asked.resource_type)?;
        let id = self.id(&asked.resource_type, &asked.id)?;
        let mut reach = self.readable();
        if !reach.contains_key(&asked.resource_type) {
            self.clear(Need::Read, Action::Read, &asked.resource_type)?;
        }
        if asked.count == Some(0) && self.whole_records(&cleared) {
            return Err(Refusal::forbidden("decide", super::EXACT_COUNT).lacking(Lacks::WholeView));
        }
        if !asked.types.is_empty() {
            for resource_type in &asked.types {
                self.clear(Need::Read, Action::Read, resource_type)?;
            }
            // The record itself stays: whether it may be shown decides about all of it.
            reach.retain(|t, _| asked.types.contains(t) || *t == asked.resource_type);
        }
        // Dates of care and times of change are criteria, on whatever type comes.
        let dates = asked.start.is_some() || asked.end.is_some();
        let criteria = [(dates, Category::EventDate), (asked.since.is_some(), Category::RecordedDate)];
        for (_, category) in criteria.into_iter().filter(|(used, _)| *used) {
            let name = if category == Category::RecordedDate { "_since" } else { "start, end" };
            self.tells_of(&asked.resource_type, &id, name, category, reach.keys())?;
        }
        reach.insert("OperationOutcome".to_owned(), cleared.bounds.of_words());
        let own = |id: &str| {
            let query = asked.to_query();
            let mark = if query.is_empty() { "" } else { "?" };
            format!("/{}/{id}/$everything{mark}{query}", asked.resource_type)
        };
        let path = page.as_ref().map_or_else(|| own(&id), |page| page.upstream.clone());
        let expect = Expect::Bundle(BundleKind::Searchset);
        let mut decided = self.record(cleared, path, expect, &asked.resource_type, &id);
        decided.reach = Some(reach);
        if let Way::Records(mut records) = decided.way {
            records.paging = paging(page.as_ref(), true);
            records.address = own(&asked.id);
            decided.way = Way::Everything { records, resource_type: asked.resource_type.clone(), id };
        }
        Ok(decided)
    }

    /// Every type that may be read, each with what scopes leave of it.
    pub(super) fn readable(&self) -> BTreeMap<String, Bounds> {
        let all = self.standing.shows_all();
        r4().resource_types()
            .filter(|t| (is_open(t) || all) && self.standing.request(Action::Read, t).allowed)
            .filter_map(|t| Some((t.to_owned(), self.scope(Need::Read, t).ok()?)))
            .collect()
    }

    /// Whether the caller may learn by a criterion on `category` which records of these types there are about the
    /// patient: whatever the record, or because the relation to the patient is proved.
    fn tells_of<'t>(
        &self,
        resource_type: &str,
        id: &str,
        name: &str,
        category: Category,
        types: impl Iterator<Item = &'t String>,
    ) -> Result<(), Refusal> {
        for of in types {
            let answer = self.search_by(name, category, of);
            let told = match answer {
                // Pages are filled, so that what is withheld leaves no gap.
                Criterion::Open | Criterion::Shown => true,
                Criterion::Narrowed if resource_type == "Patient" => {
                    self.standing.patients(&self.tenant.profiler, of, &[category]).contains(id)
                }
                _ => false,
            };
            if !told {
                return Err(self.refused(name, category, answer, false));
            }
        }
        Ok(())
    }

    /// A question about codes. What a value set holds is a definition, and judged as one; other answers are rebuilt.
    fn terminology(&self, asked: Terminology) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Read, Action::Operation, &asked.resource_type)?;
        if !cleared.bounds.is_free() {
            let public = "the token's scopes cover only a part of such records";
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::Scope));
        }
        let id = asked.id.as_deref().map(|id| self.id(&asked.resource_type, id)).transpose()?;
        let public = &self.tenant.public_base;
        let parameters = asked.parameters.iter().map(|(name, value)| {
            // A definition by its address here is known to the server by its own.
            let under = value.strip_prefix(public.as_str()).filter(|rest| rest.starts_with('/'));
            let value = under
                .map_or_else(|| value.clone(), |rest| format!("{}{rest}", self.tenant.upstream.base_url()));
            (name.clone(), value)
        });
        let asked = Terminology { parameters: parameters.collect(), ..asked };
        let at = id.as_ref().map(|id| format!("/{id}")).unwrap_or_default();
        let query = asked.to_query();
        let mark = if query.is_empty() { "" } else { "?" };
        let target = format!("/{}{at}/${}{mark}{query}", asked.resource_type, asked.name);
        let names = id.iter().map(|id| format!("{}/{id}", asked.resource_type)).collect();
        if asked.name == "expand" {
            let expect = Expect::Record { resource_type: asked.resource_type, id, version: None };
            let mut decided = self.records(cleared, target, expect);
            decided.names = names;
            return Ok(decided);
        }
        let policies = cleared.policies;
        let way = Way::Words(Words::Terminology { target });
        Ok(Decided { way, bounds: Bounds::free(), reach: None, policies, names })
    }

    /// A record that is only looked at: who may not create it learns nothing about it either.
    fn validate(&self, resource_type: &str, body: Option<Bytes>) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Create, Action::Operation, resource_type)?;
        if self.standing.ids_by_pseudonym() {
            return Err(Refusal::forbidden("decide", "who is shown pseudonyms cannot write")
                .lacking(Lacks::WholeView));
        }
        let body = body.filter(|b| !b.is_empty()).ok_or_else(|| {
            Refusal::new("decide", StatusCode::BAD_REQUEST, "required", "the body is missing")
        })?;
        Ok(Decided {
            way: Way::Words(Words::Validate { resource_type: resource_type.to_owned(), body }),
            bounds: cleared.bounds,
            reach: None,
            policies: cleared.policies,
            names: Vec::new(),
        })
    }

    /// The latest observations: one that is hidden would push out one that is not, and its absence would show.
    fn last_n(&self, asked: LastN, page: Option<Page>) -> Result<Decided, Refusal> {
        let cleared = self.clear(Need::Search, Action::Operation, "Observation")?;
        if self.whole_records(&cleared) {
            let public = "`$lastn` is offered to callers whose view does not depend on the record: a later \
                          observation that is hidden would push out an earlier one; search with `_sort=-date`";
            return Err(Refusal::new("decide", StatusCode::FORBIDDEN, "not-supported", public));
        }
        let LastN { mut search, max } = asked;
        let address = |search: &Search| {
            let query = LastN { search: search.clone(), max }.to_query();
            let mark = if query.is_empty() { "" } else { "?" };
            format!("/Observation/$lastn{mark}{query}")
        };
        let own = address(&search);
        let reach = self.reach(&search, &Cleared { bounds: Bounds::free(), policies: Vec::new() })?;
        let needed = self.criteria(&mut search, true)?;
        let Some(needed) = needed else {
            let way = Way::Nothing { address: own };
            let policies = cleared.policies;
            return Ok(Decided { way, bounds: Bounds::free(), reach: None, policies, names: Vec::new() });
        };
        self.hops(&search)?;
        self.narrow(&mut search, &needed, cleared.bounds.patient_only())?;
        let path = page.as_ref().map_or_else(|| address(&search), |page| page.upstream.clone());
        let mut decided = self.records(cleared, path, Expect::Bundle(BundleKind::Searchset));
        decided.reach = Some(reach);
        if let Way::Records(records) = &mut decided.way {
            records.paging = paging(page.as_ref(), !search.includes.is_empty());
            records.address = own;
        }
        Ok(decided)
    }

    /// A Binary: what it is about is told by the record it belongs to, which is looked up and judged first.
    pub(super) fn binary(&self, id: &str, raw: bool) -> Result<Decided, Refusal> {
        let bounds = self.scope(Need::Read, "Binary")?;
        let ruling = self.standing.request(Action::Read, "Binary");
        let unbound = self.standing.shows_all() && bounds.is_free();
        if !ruling.allowed || unbound && !raw {
            let cleared = self.clear(Need::Read, Action::Read, "Binary")?;
            let id = self.id("Binary", id)?;
            let of = |id: &str| Expect::Record {
                resource_type: "Binary".into(),
                id: Some(id.to_owned()),
                version: None,
            };
            return Ok(self.record(cleared, format!("/Binary/{id}"), of(&id), "Binary", &id));
        }
        let id = self.id("Binary", id)?;
        Ok(Decided {
            names: vec![format!("Binary/{id}")],
            way: Way::Binary(Binary { id, raw, unbound }),
            bounds,
            reach: Some(self.readable()),
            policies: ruling.policies,
        })
    }
}

/// A Binary that is read.
#[derive(Debug)]
pub(in crate::stages) struct Binary {
    pub(in crate::stages) id: String,
    /// Its content, in its own media type.
    pub(in crate::stages) raw: bool,
    /// For a caller who is shown everything, whatever it belongs to.
    pub(in crate::stages) unbound: bool,
}
