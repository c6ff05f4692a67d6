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
use crate::trace::Witness;

/// The capability statement cut down to what the caller may ask for. That something is offered says nothing about what
/// the answer will hold; that it is not, saves a request that would be refused.
pub fn offered(tenant: &Tenant, caller: &Arc<Caller>, statement: &Value) -> Result<Value, Refusal> {
    let standing = tenant
        .decider
        .standing(caller)
        .map_err(|e| Refusal::unavailable("decide", "policy cannot be asked at this time", e))?;
    let standing = Arc::new(standing);
    // Nobody wants to know what would be refused.
    let witness = &Witness::default();
    let desk = Desk { tenant, caller, standing, own: String::new(), waits: false, witness };
    let mut statement = statement.clone();
    let Some(rest) = statement.pointer_mut("/rest/0") else { return Ok(statement) };
    let mut transacts = false;
    if let Some(resources) = rest.get_mut("resource").and_then(Value::as_array_mut) {
        resources.retain_mut(|resource| desk.resource(resource, &mut transacts));
    }
    retain(rest, "resource", |_| true);
    retain(rest, "interaction", |i| match i["code"].as_str() {
        Some("transaction") => transacts,
        Some("history-system") => desk.standing.shows_all(),
        _ => true,
    });
    let exports = |t: &str| desk.clear(Need::Read, Action::Export, t).is_ok();
    retain(rest, "operation", |_| drape_fhir::definitions::r4().resource_types().any(exports));
    Ok(statement)
}

/// Cuts a list down, where there is one; one that is left empty goes, since FHIR has no empty lists.
fn retain(of: &mut Value, member: &str, keep: impl FnMut(&Value) -> bool) {
    let Some(items) = of.get_mut(member).and_then(Value::as_array_mut) else { return };
    items.retain(keep);
    if items.is_empty()
        && let Some(map) = of.as_object_mut()
    {
        map.shift_remove(member);
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
        retain(resource, "interaction", |i| i["code"].as_str().is_some_and(offers));
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
        retain(resource, "searchParam", |p| searches && p["name"].as_str().is_some_and(&mut by));
        retain(resource, "operation", |operation| match operation["name"].as_str() {
            Some("export") => may(Need::Read, Action::Export),
            _ => self.standing.request(Action::Operation, &name).allowed,
        });
        if !searches {
            for member in ["searchInclude", "searchRevInclude"] {
                retain(resource, member, |_| false);
            }
        }
        *transacts |=
            (creates || updates || deletes) && self.standing.request(Action::Transaction, &name).allowed;
        any
    }
}
