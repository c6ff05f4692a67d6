//! Bulk exports: who may export what, by which criteria; asked again whenever the export or a file of it is.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use drape_caller::Need;
use drape_fhir::definitions::r4;
use drape_fhir::interaction::export::{Export, Level};
use drape_fhir::query::{Search, encode};
use drape_fhir::search::{compartment, patient_parameter};
use drape_policy::Action;
use drape_view::{Bounds, Category};
use http::StatusCode;
use serde_json::json;

use super::{Cleared, Decided, Desk, Way, misread};
use crate::exports::{File, Job};
use crate::refusal::{Lacks, Refusal};
use crate::upstream::Place;

/// What is done about an export.
#[derive(Debug)]
pub(in crate::stages) enum Step {
    /// It is begun.
    Start {
        /// The upstream's own address and body; none where nothing can match.
        request: Option<(String, Option<Bytes>)>,
        job: Job,
    },
    /// How far it is.
    Status {
        /// None where nothing can match.
        place: Option<Place>,
        job: Job,
        types: Vec<String>,
    },
    /// It is given up.
    Cancel { place: Option<Place> },
    /// One file.
    File { place: Option<Place>, file: File },
}

/// A kick-off as far as scopes, policy and criteria go.
struct Judged {
    types: Vec<String>,
    /// What scopes leave of each of them.
    bounds: BTreeMap<String, Bounds>,
    /// The upstream's query without the patients; none where nothing can match.
    query: Option<String>,
    path: String,
    patients: Vec<String>,
    policies: Vec<String>,
    names: Vec<String>,
}

impl Desk<'_> {
    /// The beginning of an export.
    pub(super) fn export(&self, export: &Export, posted: bool) -> Result<Decided, Refusal> {
        let judged = self.judge_export(export)?;
        let job = Job::new(export.address(), posted, None, &judged.types);
        let request = judged.query.map(|query| {
            if judged.patients.is_empty() {
                return (format!("{}?{query}", judged.path), None);
            }
            (judged.path.clone(), Some(parameters(&query, &judged.patients)))
        });
        Ok(exporting(Step::Start { request, job }, Some(judged.bounds), judged.policies, judged.names))
    }

    /// How far an export is; or the end of it.
    pub(super) fn export_status(&self, handle: &str, cancels: bool) -> Result<Decided, Refusal> {
        let now = self.tenant.clock.now_ms();
        let job = self.tenant.exports.open_job(handle, self.caller, now).map_err(gone)?;
        let place = self.place(&job)?;
        if cancels {
            // Whoever began it may give it up, whatever policy says now.
            return Ok(exporting(Step::Cancel { place }, None, Vec::new(), Vec::new()));
        }
        let (types, judged) = self.still_granted(&job)?;
        let step = Step::Status { place, job, types };
        Ok(exporting(step, Some(judged.bounds), judged.policies, judged.names))
    }

    /// One file of an export.
    pub(super) fn export_file(&self, handle: &str) -> Result<Decided, Refusal> {
        let now = self.tenant.clock.now_ms();
        let file = self.tenant.exports.open_file(handle, self.caller, now).map_err(gone)?;
        let place = self.place(&file.job)?;
        let (types, judged) = self.still_granted(&file.job)?;
        let uniform = self.standing.uniform() && judged.bounds.values().all(Bounds::is_free);
        if !types.contains(&file.resource_type) || file.place.is_some() && !uniform {
            let public = "policy does not let you export this any more";
            return Err(Refusal::forbidden("decide", public));
        }
        // The one type alone, within its own bounds.
        let mut reach = judged.bounds;
        reach.retain(|resource_type, _| *resource_type == file.resource_type);
        Ok(exporting(Step::File { place, file }, Some(reach), judged.policies, judged.names))
    }

    fn place(&self, job: &Job) -> Result<Option<Place>, Refusal> {
        let Some(status) = &job.status else { return Ok(None) };
        let reason = "the export lies at a place that is not configured any more";
        self.tenant.upstream.place(status).map(Some).ok_or_else(|| Refusal::unknown("decide", reason))
    }

    /// What was permitted at the kick-off may not be any more: it is read and judged again.
    fn still_granted(&self, job: &Job) -> Result<(Vec<String>, Judged), Refusal> {
        let export = Export::reread(&job.address)
            .map_err(|_| Refusal::unknown("decide", "an export that cannot be read any more"))?;
        let judged = self.judge_export(&export)?;
        let types = job.types().into_iter().map(str::to_owned);
        Ok((types.filter(|t| judged.types.contains(t)).collect(), judged))
    }

    fn judge_export(&self, export: &Export) -> Result<Judged, Refusal> {
        let mut judged = Judged {
            types: Vec::new(),
            bounds: BTreeMap::new(),
            query: None,
            path: export.level.path(),
            patients: Vec::new(),
            policies: Vec::new(),
            names: Vec::new(),
        };
        if let Level::Group(id) = &export.level {
            judged.policies = self.may_export_group()?;
            let id = self.id("Group", id)?;
            judged.names.push(format!("Group/{id}"));
            judged.path = Level::Group(id).path();
        }
        if export.types.is_empty() {
            for resource_type in r4().resource_types() {
                // Servers do not put attachments into bulk exports, and lists of people into those of people.
                let within = match export.level {
                    Level::System => resource_type != "Binary",
                    _ if ["Group", "List"].contains(&resource_type) => false,
                    _ => resource_type == "Patient" || !compartment("Patient", resource_type).is_empty(),
                };
                if !within || !self.tenant.discovery.serves(resource_type) {
                    continue;
                }
                if let Ok(cleared) = self.may_export(resource_type) {
                    judged.add(resource_type, cleared);
                }
            }
            if judged.types.is_empty() {
                let public = "policy and scopes let you export no type at all";
                return Err(Refusal::forbidden("decide", public));
            }
        }
        for resource_type in &export.types {
            let cleared = self.may_export(resource_type)?;
            judged.add(resource_type, cleared);
        }
        judged.policies.sort();
        judged.policies.dedup();
        self.since(export, &judged.types)?;
        let Some(patients) = self.of_patients(export, &judged.types)? else { return Ok(judged) };
        judged.names.extend(patients.iter().map(|id| format!("Patient/{id}")));
        judged.patients = patients;
        judged.query = self.export_query(export, &judged)?;
        Ok(judged)
    }

    /// Whether the caller may export the type: as one who searches all of it, in a bulk.
    fn may_export(&self, resource_type: &str) -> Result<Cleared, Refusal> {
        let read = self.scope(Need::Read, resource_type)?;
        let mut cleared = self.clear(Need::Search, Action::Export, resource_type)?;
        cleared.bounds = cleared.bounds.and(&read);
        if cleared.bounds.patient_only() {
            let public = "an export needs scopes that cover more than the patient in context";
            return Err(Refusal::forbidden("decide", public).lacking(Lacks::Scope));
        }
        Ok(cleared)
    }

    /// A Group is a closed type, but here its members only say whose records come: policy alone decides who may name one.
    fn may_export_group(&self) -> Result<Vec<String>, Refusal> {
        let ruling = self.standing.request(Action::Export, "Group");
        if !self.scope(Need::Read, "Group")?.is_free() || !ruling.allowed {
            return Err(Refusal::forbidden(
                "decide",
                "policy does not let you export the members of a Group",
            ));
        }
        Ok(ruling.policies)
    }

    /// `_since` tells which records changed since: it is a criterion on the time of the last change.
    fn since(&self, export: &Export, types: &[String]) -> Result<(), Refusal> {
        let Some(since) = &export.since else { return Ok(()) };
        for resource_type in types {
            let pair = ("_lastUpdated".to_owned(), format!("gt{since}"));
            let mut search = Search::read(resource_type, &[pair]).map_err(misread)?;
            self.held_to(export, &mut search)?;
        }
        Ok(())
    }

    /// The patients that are named, as the upstream calls them; none where pseudonyms name nobody.
    fn of_patients(&self, export: &Export, types: &[String]) -> Result<Option<Vec<String>>, Refusal> {
        if export.patients.is_empty() {
            return Ok(Some(Vec::new()));
        }
        for resource_type in types {
            if let Some(mut search) = self.about(export, resource_type)? {
                self.held_to(export, &mut search)?;
            }
        }
        let mut known = Vec::new();
        for id in &export.patients {
            match self.id("Patient", id) {
                Ok(id) => known.push(id),
                Err(refusal) if refusal.status == StatusCode::NOT_FOUND => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok((!known.is_empty()).then_some(known))
    }

    /// A search for the records of a type that are about the patients who are named.
    fn about(&self, export: &Export, resource_type: &str) -> Result<Option<Search>, Refusal> {
        let Some(parameter) = patient_parameter(resource_type) else { return Ok(None) };
        let values: Vec<String> = if parameter == "_id" {
            export.patients.clone()
        } else {
            export.patients.iter().map(|id| format!("Patient/{id}")).collect()
        };
        Search::read(resource_type, &[(parameter.to_owned(), values.join(","))]).map(Some).map_err(misread)
    }

    /// Whether a search may be made among the records that are exported; what is withheld of them leaves no gap. One that is open only for patients who are
    /// proved must name such patients: nothing is narrowed silently. False where a pseudonym names nothing.
    fn held_to(&self, export: &Export, search: &mut Search) -> Result<bool, Refusal> {
        let Some(mut needed) = self.criteria(search, true)? else { return Ok(false) };
        self.hops(search)?;
        if needed.is_empty() {
            return Ok(true);
        }
        if !export.patients.is_empty()
            && let Some(mut about) = self.about(export, &search.resource_type)?
        {
            needed.extend(self.criteria(&mut about, true)?.unwrap_or_default());
            about.criteria.extend(search.criteria.iter().cloned());
            return self.among_proved(&about, &needed).map(|()| true);
        }
        self.among_proved(search, &needed).map(|()| true)
    }

    fn among_proved(&self, search: &Search, needed: &BTreeSet<Category>) -> Result<(), Refusal> {
        let mut narrowed = search.clone();
        self.narrow(&mut narrowed, needed, false)?;
        if narrowed.criteria.len() == search.criteria.len() {
            return Ok(());
        }
        let public =
            "name patients whose relation to you is proved; such an export is not made over everybody";
        Err(Refusal::forbidden("decide", public).lacking(Lacks::Relation))
    }

    /// The upstream's query: types named one by one, each filter as it was judged.
    fn export_query(&self, export: &Export, judged: &Judged) -> Result<Option<String>, Refusal> {
        let mut filters = Vec::new();
        // Of a type whose every filter names nothing, nothing comes.
        let mut filtered: BTreeMap<&str, bool> = BTreeMap::new();
        for filter in &export.filters {
            if !judged.types.contains(&filter.resource_type) {
                self.may_export(&filter.resource_type)?;
                let public = format!("{} cannot be exported from here", filter.resource_type);
                return Err(Refusal::forbidden("decide", public));
            }
            let mut search = filter.clone();
            let matches = self.held_to(export, &mut search)?;
            *filtered.entry(&filter.resource_type).or_default() |= matches;
            if matches {
                filters.push(format!("{}?{}", search.resource_type, search.to_query()));
            }
        }
        let types: Vec<&str> = judged
            .types
            .iter()
            .map(String::as_str)
            .filter(|t| filtered.get(t).copied().unwrap_or(true))
            .collect();
        if types.is_empty() {
            return Ok(None);
        }
        let mut query =
            format!("_outputFormat={}&_type={}", encode("application/fhir+ndjson"), encode(&types.join(",")));
        if let Some(since) = &export.since {
            query.push_str(&format!("&_since={}", encode(since)));
        }
        // Verdicts that depend on what stands in a record need all of it (LV-23).
        let whole = !self.standing.uniform() || !judged.bounds.values().all(Bounds::is_free);
        if !export.elements.is_empty() && !whole {
            query.push_str(&format!("&_elements={}", encode(&export.elements.join(","))));
        }
        for filter in filters {
            query.push_str(&format!("&_typeFilter={}", encode(&filter)));
        }
        Ok(Some(query))
    }
}

fn exporting(
    step: Step,
    reach: Option<BTreeMap<String, Bounds>>,
    policies: Vec<String>,
    names: Vec<String>,
) -> Decided {
    Decided { way: Way::Export(Box::new(step)), bounds: Bounds::free(), reach, policies, names }
}

impl Judged {
    fn add(&mut self, resource_type: &str, cleared: Cleared) {
        self.types.push(resource_type.to_owned());
        self.bounds.insert(resource_type.to_owned(), cleared.bounds);
        self.policies.extend(cleared.policies);
    }
}

fn gone(error: drape_keys::handle::HandleError) -> Refusal {
    let public = "this export is not known, not yours, or its time is over; begin it again";
    Refusal::new("decide", StatusCode::NOT_FOUND, "not-found", public).because(error.to_string())
}

/// The query as a `Parameters` resource, with the patients in it.
fn parameters(query: &str, patients: &[String]) -> Bytes {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let mut list: Vec<serde_json::Value> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| match name {
            "_since" => json!({ "name": name, "valueInstant": decode(value) }),
            _ => json!({ "name": name, "valueString": decode(value) }),
        })
        .collect();
    for id in patients {
        let reference = format!("Patient/{id}");
        list.push(json!({ "name": "patient", "valueReference": { "reference": reference } }));
    }
    Bytes::from(json!({ "resourceType": "Parameters", "parameter": list }).to_string())
}
