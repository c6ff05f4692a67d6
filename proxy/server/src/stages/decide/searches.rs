//! Searches: each criterion by what it reveals, narrowed where it must be, and what may come.

use std::collections::BTreeSet;

use drape_caller::Need;
use drape_fhir::query::{Criterion as Asked, Revealed, Search, Summary, split_or};
use drape_fhir::search::{Kind, patient_parameter};
use drape_policy::{Action, Criterion};
use drape_shield::{BundleKind, Expect};
use drape_view::{Bounds, Category, CategorySet};
use http::StatusCode;

use super::{Decided, Desk, EXACT_COUNT, WHOLE, Way, paging};
use crate::dialect::could_match;
use crate::page::Page;
use crate::refusal::{Lacks, Refusal};

/// More patients than this are not put into one search.
const NARROWED_MAX: usize = 200;

impl Desk<'_> {
    pub(super) fn search(&self, mut search: Search, page: Option<Page>) -> Result<Decided, Refusal> {
        let resource_type = search.resource_type.clone();
        let counts = search.summary == Some(Summary::Count) || search.count == Some(0);
        if counts
            && search.compartment.is_none()
            && page.is_none()
            && self.tenant.budget.is_some()
            && !self.reads_exactly()?
        {
            return self.aggregate(search);
        }
        let cleared = self.clear(Need::Search, Action::Search, &resource_type)?;
        if self.whole_records(&cleared) {
            if page.is_some() && search.is_projected() {
                // The policies have changed since the first page, and the upstream's cursor brings cut records.
                return Err(Refusal::new("decide", StatusCode::GONE, "expired", "search again"));
            }
            if search.is_projected() {
                self.witness.rewrote(WHOLE);
            }
            search.without_projection();
        }
        let address = search.to_target();
        let standing = &self.standing;
        if counts && (!cleared.bounds.is_free() || !standing.uniform()) {
            return Err(Refusal::forbidden("decide", EXACT_COUNT).lacking(Lacks::WholeView));
        }
        let needed = match (
            self.criteria(&mut search, true)?,
            self.compartment(&mut search, cleared.bounds.patient_only())?,
        ) {
            (Some(mut needed), Some(more)) => {
                needed.extend(more);
                needed
            }
            _ => {
                self.witness.rewrote(
                    "a pseudonym stands for nothing that was given out: answered empty, nothing is sent",
                );
                return Ok(Decided {
                    way: Way::Nothing { address },
                    bounds: cleared.bounds,
                    reach: None,
                    policies: cleared.policies,
                    names: Vec::new(),
                });
            }
        };
        self.hops(&search)?;
        let reach = self.reach(&search, &cleared)?;
        self.narrow(&mut search, &needed, cleared.bounds.patient_only())?;
        within(&mut search, &cleared.bounds);
        let dialect = self.tenant.upstream.dialect;
        if let Some(lack) = dialect.lacks(&search) {
            let public = format!("the FHIR server behind wants {lack} in a search of {resource_type}");
            return Err(
                Refusal::new("decide", StatusCode::BAD_REQUEST, "required", public).lacking(Lacks::Criterion)
            );
        }
        let before = search.to_query();
        dialect.adapt(&mut search);
        if search.to_query() != before {
            self.witness
                .rewrote("what the server's dialect does not know and only changes the look is not sent on");
        }
        let path = match &page {
            Some(page) => page.upstream.clone(),
            None => search.to_target(),
        };
        let mut decided = self.records(cleared, path, Expect::Bundle(BundleKind::Searchset));
        if let Way::Records(records) = &mut decided.way {
            records.paging = paging(page.as_ref(), !search.includes.is_empty());
            records.address = address;
        }
        decided.reach = Some(reach);
        Ok(decided)
    }

    /// What it reads to tell who belongs to a compartment counts as criteria do. Where that holds only for patients who
    /// are proved, the search is held to records about the patient: a compartment joins what the patient wrote and did
    /// for others as well. `None` when a pseudonym names nothing.
    fn compartment(
        &self,
        search: &mut Search,
        patient_only: bool,
    ) -> Result<Option<BTreeSet<Category>>, Refusal> {
        let resource_type = search.resource_type.clone();
        let Some(compartment) = &mut search.compartment else { return Ok(Some(BTreeSet::new())) };
        let misread = |e: drape_fhir::interaction::Misunderstood| {
            Refusal::new("decide", StatusCode::BAD_REQUEST, "not-supported", e.text())
        };
        let mut read = Search::read(&resource_type, &[]).map_err(misread)?;
        read.criteria = compartment.criteria(&resource_type).map_err(misread)?;
        let Some(needed) = self.criteria(&mut read, true)? else { return Ok(None) };
        match self.id(&compartment.resource_type, &compartment.id) {
            Ok(id) => compartment.id = id,
            Err(_) => return Ok(None),
        }
        if compartment.resource_type == "Patient" && (patient_only || !needed.is_empty()) {
            let id = compartment.id.clone();
            if let Some(parameter) = patient_parameter(&resource_type) {
                search.criteria.push(patient_criterion(&resource_type, parameter, &[id]));
                self.witness.rewrote(
                    "the patient's compartment is searched by who records are about, not by who took part",
                );
                // A search of the type, which every server has: the compartment holds all that it can find.
                search.compartment = None;
            }
        }
        Ok(Some(needed))
    }

    /// Whether each criterion and sort key may be used. Gives the categories that hold only for patients who are
    /// proved, or `None` when a pseudonym names nothing.
    ///
    /// `filled`: the answer is pages without holes, or has none at all, so that matches which are withheld do not show.
    pub(super) fn criteria(
        &self,
        search: &mut Search,
        filled: bool,
    ) -> Result<Option<BTreeSet<Category>>, Refusal> {
        self.guesses(search)?;
        let mut narrowed = BTreeSet::new();
        let mut matched = true;
        for criterion in &mut search.criteria {
            let mut by_pseudonym = false;
            for revealed in &criterion.reveals {
                for category in self.categories(criterion, revealed).iter() {
                    match self.search_by(&criterion.name, category, &revealed.resource_type) {
                        Criterion::Open => {}
                        // Pages are filled, so that a match which is withheld leaves no gap.
                        Criterion::Shown if filled && !revealed.elsewhere => {}
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
                self.witness.rewrote(format!(
                    "pseudonyms in `{}` are replaced by what they stand for",
                    criterion.name
                ));
                matched &= self.translate(criterion)?;
            }
        }
        for key in &search.sort {
            let name = format!("_sort={}", key.text);
            for revealed in &key.reveals {
                for category in
                    self.tenant.catalogue.categories_at(&revealed.resource_type, revealed.path).iter()
                {
                    match self.search_by(&name, category, &revealed.resource_type) {
                        Criterion::Open => {}
                        Criterion::Shown if filled => {}
                        Criterion::Narrowed => {
                            narrowed.insert(category);
                        }
                        answer => {
                            return Err(self.refused(&name, category, answer, false));
                        }
                    }
                }
            }
        }
        Ok(matched.then_some(narrowed))
    }

    /// Numbers that the server matches and never returns must not be guessed one by one (LV-64).
    pub(super) fn guesses(&self, search: &Search) -> Result<(), Refusal> {
        let unsearchable = &self.tenant.upstream.unsearchable;
        for criterion in &search.criteria {
            let identifies = criterion.modifier.as_deref() == Some("identifier")
                || criterion.kind == Kind::Token
                    && criterion
                        .reveals
                        .iter()
                        .any(|revealed| self.categories(criterion, revealed).contains(Category::Identifier));
            if identifies && could_match(criterion, unsearchable) {
                let name = &criterion.name;
                let public = format!(
                    "`{name}` must name a system, as in `{name}=system|value`, and not one whose numbers the FHIR server behind matches without ever showing them"
                );
                return Err(Refusal::forbidden("decide", public).lacking(Lacks::Criterion).because(format!(
                    "`{name}` could match an identifier of `unsearchable_identifier_systems`"
                )));
            }
        }
        Ok(())
    }

    pub(super) fn refused(
        &self,
        name: &str,
        category: Category,
        answer: Criterion,
        elsewhere: bool,
    ) -> Refusal {
        let public = if elsewhere && answer != Criterion::Refused {
            format!("`{name}` reads records of patients whose relation to you is not proved")
        } else {
            format!("you may not search by `{name}`")
        };
        let why = match answer {
            Criterion::Shown => "which the caller is shown of the records received only",
            Criterion::Refused => "which policy does not let the caller search by",
            Criterion::Narrowed => "which the caller is shown of some records only",
            Criterion::ByPseudonym => "which the caller knows by pseudonym only",
            Criterion::Open => "which is open",
        };
        Refusal::forbidden("decide", public)
            .lacking(Lacks::Criterion)
            .because(format!("`{name}` reveals {category}, {why}"))
    }

    /// What a criterion reads. Codes, dates, numbers and links are compared by themselves; strings are searched
    /// through everything in the element, and `:text` and `:identifier` read more than the element's own value.
    pub(super) fn categories(&self, criterion: &Asked, revealed: &Revealed) -> CategorySet {
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
    fn translate(&self, criterion: &mut Asked) -> Result<bool, Refusal> {
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
    pub(super) fn narrow(
        &self,
        search: &mut Search,
        needed: &BTreeSet<Category>,
        patient_only: bool,
    ) -> Result<(), Refusal> {
        if self.waits {
            return Ok(());
        }
        let resource_type = search.resource_type.clone();
        let parameter = patient_parameter(&resource_type);
        let named = parameter.and_then(|p| named_patients(search, p));
        if patient_only {
            let own = self.caller.patient.as_deref().unwrap_or_default();
            match (&named, parameter) {
                (Some(named), _) if named.iter().all(|n| n == own) => {}
                (Some(_), _) | (None, None) => {
                    let public = "the token's scopes cover only the patient in context";
                    return Err(Refusal::forbidden("decide", public).lacking(Lacks::Scope));
                }
                (None, Some(parameter)) => {
                    self.witness.rewrote("held to the patient in context, as the token's scopes are");
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
                    .lacking(Lacks::Relation)
                    .because("a named patient is not related to the caller"))
            }
            (None, Some(parameter)) if !patients.is_empty() && patients.len() <= NARROWED_MAX => {
                let ids: Vec<String> = patients.into_iter().collect();
                self.witness.rewrote(format!(
                    "held to {} patient(s) whose relation to the caller is proved",
                    ids.len()
                ));
                search.criteria.push(patient_criterion(&resource_type, parameter, &ids));
                Ok(())
            }
            _ if needed.is_empty() => Ok(()),
            _ => {
                let public = "name a patient whose relation to you is proved; such a search is not made over everybody";
                Err(Refusal::forbidden("decide", public).lacking(Lacks::Relation))
            }
        }
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

/// Asks for no more than what scopes leave. Each record is held to it whatever the server makes of it.
fn within(search: &mut Search, bounds: &Bounds) {
    for condition in bounds.shared() {
        search.criteria.push(Asked {
            name: condition.parameter.to_owned(),
            value: condition.value(),
            kind: Kind::Token,
            code: condition.parameter.to_owned(),
            modifier: None,
            hops: false,
            targets: Vec::new(),
            reveals: Vec::new(),
        });
    }
}

fn patient_criterion(resource_type: &str, parameter: &str, ids: &[String]) -> Asked {
    let value = if parameter == "_id" {
        ids.join(",")
    } else {
        ids.iter().map(|id| format!("Patient/{id}")).collect::<Vec<_>>().join(",")
    };
    Asked {
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
