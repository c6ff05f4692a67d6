//! One concrete caller, record and moment: what the solver found, as Drape's own decision takes it.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Context, Entities, Request, Schema};
use cedar_policy_symcc::Env;
use drape_policy::guarantees::ASKED_MAX;
use drape_policy::told::turned_shift;
use drape_view::{Caller, Environment, Profile, Proof, Subject};
use serde_json::{Value, json};

/// A state in which something happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Who asks, when and where from.
    pub caller: Caller,
    /// The record, as policies see it.
    pub profile: Profile,
    /// The types that requests name.
    pub asked: Vec<String>,
    /// Of a noisy count: its price in 10⁻⁹ ε, the type that is counted, the budget and whose it is.
    pub count: Count,
}

/// A noisy count.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Count {
    pub epsilon_nano: u64,
    pub resource_type: String,
    pub budget: String,
    pub owner: String,
}

/// The day on which all counterexamples happen, a Wednesday.
pub(crate) const TODAY: &str = "2026-11-18";

impl State {
    /// Nothing special: somebody without a role at noon, an ordinary record of a known patient.
    pub(crate) fn ordinary() -> Self {
        let (resource_type, owner) = ("Observation".to_owned(), "somewhere".to_owned());
        Self {
            caller: Caller {
                issuer: "https://issuer.example".into(),
                subject: "somebody".into(),
                name: None,
                roles: BTreeSet::new(),
                held_roles: BTreeSet::new(),
                organization: None,
                departments: BTreeSet::new(),
                title: None,
                client: None,
                shift: None,
                fhir_user: None,
                patient: None,
                scopes: Vec::new(),
                relations: BTreeMap::new(),
                purpose: String::new(),
                statement: Default::default(),
                proof: Proof { token_id: None, token_digest: [0; 32], expires_at: 0 },
                environment: Environment {
                    now_ms: 1_795_000_000_000,
                    today: TODAY.into(),
                    hour: 12,
                    minute_of_day: 720,
                    weekday: 3,
                    network: None,
                    break_glass: false,
                },
            },
            profile: Profile {
                patient: Subject { known: true, ..Subject::default() },
                ..Profile::plain(&resource_type)
            },
            asked: vec![resource_type.clone(); ASKED_MAX],
            count: Count { epsilon_nano: 100_000_000, resource_type, budget: "budget".into(), owner },
        }
    }

    /// What the solver found, as far as the question reads it (`read`, as `record.labels`); all else is ordinary, since
    /// nothing depends on it.
    pub(crate) fn of(env: &Env, read: &[String]) -> Result<Self, String> {
        let principal = env.request.principal().ok_or("the solver names no caller")?;
        let context = env.request.context().ok_or("the solver names no context")?;
        let context = context.to_json_value().map_err(|e| e.to_string())?;
        let entities = env.entities.to_json_value().map_err(|e| e.to_string())?;
        let (kind, id) = ("User", principal.id().unescaped());
        let is_principal = |e: &&Value| e["uid"]["type"] == kind && e["uid"]["id"] == id;
        let entity =
            entities.as_array().into_iter().flatten().find(is_principal).cloned().unwrap_or_default();
        let reads = |name: &str| read.iter().any(|r| r == name);
        let mut state = Self::ordinary();
        state.take_caller(id, &entity, &reads);
        state.take_moment(&context["env"], &reads);
        // After the moment: a shift is turned around it.
        let minutes = |attr: &str| entity["attrs"][attr].as_i64();
        if let (Some(start), Some(end)) = (minutes("shiftStart"), minutes("shiftEnd"))
            && (reads("principal.shiftStart") || reads("principal.shiftEnd"))
        {
            let minute = |m: i64| u16::try_from(m.rem_euclid(1_440)).unwrap_or_default();
            state.caller.shift = Some((minute(start), minute(end)));
        }
        state.take_record(&context, &reads);
        for place in 0..ASKED_MAX {
            if let Some(id) = entity_id(&context[format!("asked{place}")])
                && reads(&format!("context.asked{place}"))
            {
                state.asked[place] = id;
            }
        }
        state.take_count(&context, &reads);
        Ok(state)
    }

    fn take_caller(&mut self, id: &str, entity: &Value, reads: &dyn Fn(&str) -> bool) {
        if let Some((issuer, subject)) = id.rsplit_once('#') {
            (self.caller.issuer, self.caller.subject) = (issuer.to_owned(), subject.to_owned());
        }
        let parents = entity["parents"].as_array().into_iter().flatten();
        let roles: BTreeSet<String> = parents
            .filter(|p| p["type"] == "Role")
            .filter_map(|p| Some(p["id"].as_str()?.to_owned()))
            .collect();
        self.caller.roles = roles.clone();
        self.caller.held_roles = roles;
        let attrs = &entity["attrs"];
        if reads("principal.organization") {
            self.caller.organization = entity_id(&attrs["organization"]);
        }
        if reads("principal.departments") {
            self.caller.departments = words(&attrs["departments"]);
        }
        if reads("principal.title") {
            self.caller.title = attrs["title"].as_str().map(str::to_owned);
        }
        if reads("principal.client") {
            self.caller.client = entity_id(&attrs["client"]);
        }
    }

    fn take_moment(&mut self, env: &Value, reads: &dyn Fn(&str) -> bool) {
        let caller = &mut self.caller;
        let number = |attr: &str| reads(&format!("env.{attr}")).then(|| env[attr].as_i64()).flatten();
        if reads("env.purpose") {
            caller.purpose = env["purpose"].as_str().unwrap_or_default().to_owned();
        }
        let now = &mut caller.environment;
        match (number("hour"), number("minuteOfDay")) {
            (_, Some(minute)) => now.minute_of_day = u16::try_from(minute).unwrap_or_default(),
            (Some(hour), None) => now.minute_of_day = u16::try_from(hour * 60).unwrap_or_default(),
            (None, None) => {}
        }
        now.hour = u8::try_from(now.minute_of_day / 60).unwrap_or_default();
        if let Some(day) = number("weekday") {
            now.weekday = u8::try_from(day).unwrap_or_default();
        }
        now.break_glass = reads("env.breakGlass") && env["breakGlass"] == true;
        if reads("env.network") {
            let range = env["network"]["__extn"]["arg"].as_str().unwrap_or_default();
            now.network = range.split('/').next().and_then(|address| address.parse().ok());
        }
    }

    fn take_record(&mut self, context: &Value, reads: &dyn Fn(&str) -> bool) {
        let (record, patient) = (&context["record"], &context["patient"]);
        let profile = &mut self.profile;
        let of_record = |attr: &str| reads(&format!("record.{attr}"));
        let of_patient = |attr: &str| reads(&format!("patient.{attr}"));
        if let Some(kind) = entity_id(&record["type"]).filter(|_| of_record("type")) {
            profile.resource_type = kind;
        }
        let take = |read: bool, into: &mut BTreeSet<String>, value: &Value| {
            if read {
                *into = words(value);
            }
        };
        take(of_record("labels"), &mut profile.labels, &record["labels"]);
        take(of_record("categoryCodes"), &mut profile.category_codes, &record["categoryCodes"]);
        take(of_record("departments"), &mut profile.departments, &record["departments"]);
        take(of_record("insurers"), &mut profile.insurers, &record["insurers"]);
        if of_record("classified") {
            profile.classified = record["classified"] == true;
        }
        profile.authored_by_caller = of_record("authoredByCaller") && record["authoredByCaller"] == true;
        profile.status = record["status"].as_str().filter(|_| of_record("status")).map(str::to_owned);
        profile.age_days = record["ageDays"].as_i64().filter(|_| of_record("ageDays"));
        let subject = &mut profile.patient;
        if of_patient("known") {
            subject.known = patient["known"] == true;
        }
        subject.is_caller = of_patient("isCaller") && patient["isCaller"] == true;
        subject.age_years = patient["ageYears"].as_i64().filter(|_| of_patient("ageYears"));
        take(of_patient("relations"), &mut subject.relations, &patient["relations"]);
        take(of_patient("labels"), &mut subject.labels, &patient["labels"]);
        take(of_patient("consentReleases"), &mut subject.consent_releases, &patient["consentReleases"]);
        take(of_patient("consentDenies"), &mut subject.consent_denies, &patient["consentDenies"]);
    }

    fn take_count(&mut self, context: &Value, reads: &dyn Fn(&str) -> bool) {
        if let Some(kind) = entity_id(&context["type"]).filter(|_| reads("context.type")) {
            self.count.resource_type = kind;
        }
        if let Some(budget) = entity_id(&context["budget"]).filter(|_| reads("context.budget")) {
            self.count.budget = budget;
        }
        if let Some(owner) = entity_id(&context["owner"]).filter(|_| reads("context.owner")) {
            self.count.owner = owner;
        }
        let epsilon = context["epsilon"]["__extn"]["arg"].as_str().and_then(|text| text.parse::<f64>().ok());
        if let Some(epsilon) = epsilon.filter(|e| reads("context.epsilon") && *e > 0.0 && *e < 1e6) {
            // At most four places, so that nothing is lost by way of a float.
            self.count.epsilon_nano = (epsilon * 10_000.0).round() as u64 * 100_000;
        }
    }

    /// The state as a request of the schema of questions, to ask it conditions.
    pub(crate) fn request(&self, schema: &Schema) -> Result<(Request, Entities), String> {
        let caller = &self.caller;
        let id = format!("{}#{}", caller.issuer, caller.subject);
        let mut attrs = json!({ "departments": caller.departments });
        let mut put = |key: &str, value: Option<Value>| {
            if let (Some(value), Some(attrs)) = (value, attrs.as_object_mut()) {
                attrs.insert(key.to_owned(), value);
            }
        };
        let entity = |kind: &str, id: &str| json!({ "__entity": { "type": kind, "id": id } });
        put("organization", caller.organization.as_ref().map(|o| entity("Organization", o)));
        put("title", caller.title.clone().map(Value::String));
        put("client", caller.client.as_ref().map(|c| entity("Client", c)));
        let shift = turned_shift(caller);
        put("shiftStart", shift.map(|(start, _)| start.into()));
        put("shiftEnd", shift.map(|(_, end)| end.into()));
        let mut parents: Vec<Value> =
            caller.roles.iter().map(|r| json!({ "type": "Role", "id": r })).collect();
        parents.extend(caller.organization.iter().map(|o| json!({ "type": "Organization", "id": o })));
        let user = json!([{ "uid": { "type": "User", "id": id }, "attrs": attrs, "parents": parents }]);
        let entities = Entities::from_json_value(user, None).map_err(|e| e.to_string())?;
        let uid = |kind: &str, id: &str| {
            let entity = json!({ "__entity": { "type": kind, "id": id } });
            cedar_policy::EntityUid::from_json(entity).map_err(|e| e.to_string())
        };
        let action = uid("Action", "ask")?;
        let context =
            Context::from_json_value(self.context(), Some((schema, &action))).map_err(|e| e.to_string())?;
        let request = Request::new(uid("User", &id)?, action, uid("Category", "all")?, context, None)
            .map_err(|e| e.to_string())?;
        Ok((request, entities))
    }

    fn context(&self) -> Value {
        let kind = |id: &str| json!({ "__entity": { "type": "ResourceType", "id": id } });
        let (now, record, patient) = (&self.caller.environment, &self.profile, &self.profile.patient);
        let mut env = json!({
            "purpose": self.caller.purpose,
            "hour": now.hour, "minuteOfDay": now.minute_of_day, "weekday": now.weekday,
            "breakGlass": now.break_glass,
        });
        if let Some(address) = now.network {
            env["network"] = json!({ "__extn": { "fn": "ip", "arg": address.to_string() } });
        }
        let mut profile = json!({
            "type": kind(&record.resource_type),
            "labels": record.labels, "classified": record.classified, "categoryCodes": record.category_codes,
            "departments": record.departments, "insurers": record.insurers,
            "authoredByCaller": record.authored_by_caller,
        });
        if let Some(status) = &record.status {
            profile["status"] = status.as_str().into();
        }
        if let Some(days) = record.age_days {
            profile["ageDays"] = days.into();
        }
        let mut subject = json!({
            "known": patient.known, "isCaller": patient.is_caller, "relations": patient.relations,
            "labels": patient.labels, "consentReleases": patient.consent_releases,
            "consentDenies": patient.consent_denies,
        });
        if let Some(years) = patient.age_years {
            subject["ageYears"] = years.into();
        }
        let steps = self.count.epsilon_nano.div_ceil(100_000);
        let epsilon = format!("{}.{:04}", steps / 10_000, steps % 10_000);
        let mut context = json!({
            "env": env, "record": profile, "patient": subject,
            "epsilon": { "__extn": { "fn": "decimal", "arg": epsilon } },
            "type": kind(&self.count.resource_type),
            "budget": { "__entity": { "type": "Budget", "id": self.count.budget } },
            "owner": { "__entity": { "type": "Organization", "id": self.count.owner } },
        });
        for (place, asked) in self.asked.iter().enumerate() {
            context[format!("asked{place}")] = kind(asked);
        }
        context
    }
}

fn entity_id(value: &Value) -> Option<String> {
    let entity = value.get("__entity").unwrap_or(value);
    entity.get("id")?.as_str().map(str::to_owned)
}

fn words(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(|w| Some(w.as_str()?.to_owned())).collect()
}
