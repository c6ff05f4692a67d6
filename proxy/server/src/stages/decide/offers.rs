//! What of a server's description holds for one caller: the requests that policy and scopes let her make.

use std::collections::HashMap;
use std::sync::Arc;

use drape_caller::Need;
use drape_fhir::search::Kind;
use drape_policy::{Action, Criterion};
use drape_view::{Caller, Category};
use serde_json::{Value, json};

use super::Desk;
use crate::parts::Tenant;
use crate::refusal::Refusal;

/// The capability statement cut down to what the caller may ask for. That something is offered says nothing about what
/// the answer will hold; that it is not, saves a request that would be refused.
pub fn offered(tenant: &Tenant, caller: &Arc<Caller>, statement: &Value) -> Result<Value, Refusal> {
    let standing = tenant
        .decider
        .standing(caller)
        .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
    let standing = Arc::new(standing);
    let desk = Desk { tenant, caller, standing, own: String::new(), waits: false };
    let mut statement = statement.clone();
    let Some(rest) = statement.pointer_mut("/rest/0") else { return Ok(statement) };
    let mut transacts = false;
    if let Some(resources) = rest["resource"].as_array_mut() {
        resources.retain_mut(|resource| desk.resource(resource, &mut transacts));
    }
    retain(&mut rest["interaction"], |i| match i["code"].as_str() {
        Some("transaction") => transacts,
        Some("history-system") => desk.standing.shows_all(),
        _ => true,
    });
    let exports = |t: &str| desk.clear(Need::Read, Action::Export, t).is_ok();
    retain(&mut rest["operation"], |_| drape_fhir::definitions::r4().resource_types().any(exports));
    Ok(statement)
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    if let Some(items) = list.as_array_mut() {
        items.retain(keep);
    }
}

impl Desk<'_> {
    /// Whether anything of a type is offered; cuts its entry down to that.
    fn resource(&self, resource: &mut Value, transacts: &mut bool) -> bool {
        let Some(name) = resource["type"].as_str().map(str::to_owned) else { return false };
        let may = |need, action| self.clear(need, action, &name).is_ok();
        let offers = |code: &str| match code {
            "read" => may(Need::Read, Action::Read),
            "vread" => may(Need::Read, Action::Vread),
            "history-instance" => may(Need::Read, Action::History),
            "history-type" => may(Need::Search, Action::History) && self.standing.shows_all(),
            "search-type" => may(Need::Search, Action::Search),
            "create" => may(Need::Create, Action::Create),
            "update" => may(Need::Update, Action::Update),
            "patch" => may(Need::Update, Action::Patch),
            "delete" => may(Need::Delete, Action::Delete),
            _ => false,
        };
        retain(&mut resource["interaction"], |i| i["code"].as_str().is_some_and(offers));
        let has =
            |code: &str| resource["interaction"].as_array().into_iter().flatten().any(|i| i["code"] == code);
        let (searches, creates, updates, deletes) =
            (has("search-type"), has("create"), has("update") || has("patch"), has("delete"));
        let any = resource["interaction"].as_array().is_some_and(|i| !i.is_empty());
        for (member, holds) in
            [("conditionalCreate", searches && creates), ("conditionalUpdate", searches && updates)]
        {
            if !holds {
                resource[member] = json!(false);
            }
        }
        if !(searches && deletes) {
            resource["conditionalDelete"] = json!("not-supported");
        }
        let mut known: HashMap<Category, bool> = HashMap::new();
        let mut opens = |category: Category| {
            *known
                .entry(category)
                .or_insert_with(|| self.standing.search_by(category, &name) != Criterion::Refused)
        };
        let mut by = |code: &str| {
            drape_fhir::search::parameter(&name, code).is_some_and(|p| {
                // As a search reads them: strings through everything in the element.
                let catalogue = &self.tenant.catalogue;
                p.paths().all(|path| match p.kind {
                    Kind::String => catalogue.categories_at(&name, path).iter().all(&mut opens),
                    _ => catalogue.category_at(&name, path).iter().all(&mut opens),
                })
            })
        };
        if let Some(parameters) = resource["searchParam"].as_array_mut() {
            parameters.retain(|p| searches && p["name"].as_str().is_some_and(&mut by));
        }
        retain(&mut resource["operation"], |operation| match operation["name"].as_str() {
            Some("export") => may(Need::Read, Action::Export),
            _ => self.standing.request(Action::Operation, &name).allowed,
        });
        for member in ["searchParam", "operation"] {
            if resource[member].as_array().is_none_or(Vec::is_empty)
                && let Some(map) = resource.as_object_mut()
            {
                map.shift_remove(member);
            }
        }
        *transacts |=
            (creates || updates || deletes) && self.standing.request(Action::Transaction, &name).allowed;
        any
    }
}
