//! Test cases in the format of Cedar's own command line (`cedar run-tests`), judged just as it would.

use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, Request};
use serde_json::{Map, Value};

use crate::set::PolicySet;

/// A case, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CedarOutcome {
    /// The case's name, or its number.
    pub name: String,
    /// What differs from what the case expects; empty where nothing does.
    pub faults: Vec<String>,
    /// The policies that determined it.
    pub policies: Vec<String>,
}

/// The members that a case has.
const MEMBERS: [&str; 6] = ["name", "request", "entities", "decision", "reason", "num_errors"];
const QUESTION: [&str; 4] = ["principal", "action", "resource", "context"];

impl PolicySet {
    /// Runs the cases of a file: a list of `{name, request: {principal, action, resource, context}, entities, decision,
    /// reason, num_errors}`. All policies are asked, with the case's own entities and no others, as Cedar does; what
    /// Drape makes of an error stands above that.
    pub fn cedar_cases(&self, text: &str) -> Result<Vec<CedarOutcome>, String> {
        let cases: Value = serde_json::from_str(text).map_err(|e| format!("is not JSON: {e}"))?;
        let cases = cases.as_array().ok_or("is no list of cases")?;
        cases.iter().enumerate().map(|(place, case)| self.cedar_case(place, case)).collect()
    }

    fn cedar_case(&self, place: usize, case: &Value) -> Result<CedarOutcome, String> {
        let number = format!("case {}", place + 1);
        let name = case["name"].as_str().map_or_else(|| number.clone(), str::to_owned);
        let fault = |what: String| format!("`{name}`: {what}");
        let members = known(case, &MEMBERS).map_err(fault)?;
        let question = known(&case["request"], &QUESTION).map_err(fault)?;
        let entity = |member: &str| -> Result<EntityUid, String> {
            let text = question.get(member).and_then(Value::as_str);
            let text = text.ok_or_else(|| fault(format!("`request.{member}` is not text")))?;
            text.parse().map_err(|e| fault(format!("`request.{member}`: {e}")))
        };
        let (principal, action, resource) = (entity("principal")?, entity("action")?, entity("resource")?);
        let context = question.get("context").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        let context = Context::from_json_value(context, Some((&self.schema, &action)))
            .map_err(|e| fault(format!("`request.context`: {e}")))?;
        let entities = members.get("entities").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
        let entities = Entities::from_json_value(entities, Some(&self.schema))
            .map_err(|e| fault(format!("`entities`: {e}")))?;
        let request = Request::new(principal, action, resource, context, Some(&self.schema))
            .map_err(|e| fault(format!("`request`: {e}")))?;
        let response = Authorizer::new().is_authorized(&request, &self.all(), &entities);
        let mut policies: Vec<String> = response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let mut faults = Vec::new();
        let decided = if response.decision() == Decision::Allow { "allow" } else { "deny" };
        let wanted = case["decision"].as_str().unwrap_or_default().to_ascii_lowercase();
        match wanted.as_str() {
            "allow" | "deny" if wanted == decided => {}
            "allow" | "deny" => faults.push(format!("the decision is {decided}, not {wanted}")),
            _ => return Err(fault("`decision` is neither `allow` nor `deny`".to_owned())),
        }
        if let Some(reason) = case["reason"].as_array() {
            let mut reason: Vec<String> =
                reason.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            reason.sort();
            if reason != policies {
                faults.push(format!("determined by [{}], not [{}]", policies.join(", "), reason.join(", ")));
            }
        }
        let erred = response.diagnostics().errors().count() as u64;
        if case["num_errors"].as_u64().is_some_and(|wanted| wanted != erred) {
            faults.push(format!("{erred} policies erred, not {}", case["num_errors"]));
        }
        Ok(CedarOutcome { name, faults, policies })
    }

    /// The whole set for Cedar. Ids are unique in a loaded set, so that nothing is left out.
    fn all(&self) -> cedar_policy::PolicySet {
        let policies = self.policies.iter().map(|loaded| loaded.policy.clone());
        cedar_policy::PolicySet::from_policies(policies).unwrap_or_default()
    }
}

fn known<'a>(value: &'a Value, members: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or("is no object with `request`, `entities`, `decision`")?;
    match object.keys().find(|name| !members.contains(&name.as_str())) {
        Some(name) => Err(format!("`{name}` is not known; there are: {}", members.join(", "))),
        None => Ok(object),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use drape_view::Treatments;
    use serde_json::json;

    use super::*;

    fn set() -> PolicySet {
        let treatments = Arc::new(Treatments::parse(drape_view::shipped::TREATMENTS).unwrap());
        PolicySet::shipped("hospital", &treatments, &[]).unwrap()
    }

    fn case(decision: &str, reason: &[&str]) -> Value {
        let env =
            json!({"purpose": "TREAT", "hour": 9, "minuteOfDay": 540, "weekday": 1, "breakGlass": false});
        json!({
            "name": "a clinician reads",
            "request": {"principal": "User::\"u\"", "action": "Action::\"read\"",
                "resource": "ResourceType::\"Patient\"", "context": {"env": env}},
            "entities": [
                {"uid": {"type": "User", "id": "u"}, "attrs": {"departments": []},
                 "parents": [{"type": "Role", "id": "clinician"}]},
                {"uid": {"type": "Role", "id": "clinician"}, "attrs": {}, "parents": []},
            ],
            "decision": decision, "reason": reason, "num_errors": 0,
        })
    }

    #[test]
    fn cases_in_cedars_own_format_are_judged_as_cedar_judges_them() {
        let run = |case: Value| set().cedar_cases(&json!([case]).to_string()).unwrap().remove(0);
        let right = run(case("allow", &["clinician-requests"]));
        assert!(right.faults.is_empty(), "{right:?}");
        assert_eq!(right.policies, ["clinician-requests"]);
        assert_eq!(run(case("deny", &["clinician-requests"])).faults, ["the decision is allow, not deny"]);
        assert!(run(case("allow", &["other"])).faults[0].contains("determined by [clinician-requests]"));
    }

    #[test]
    fn a_case_that_cannot_be_asked_is_told_by_its_name() {
        let run = |text: String| set().cedar_cases(&text).unwrap_err();
        assert!(run("{}".into()).contains("no list"));
        let mut wrong = case("allow", &[]);
        wrong["request"]["action"] = json!("Action::\"reed\"");
        assert!(run(json!([wrong]).to_string()).starts_with("`a clinician reads`: `request.context`"));
        let mut wrong = case("allow", &[]);
        wrong["request"]["context"]["env"]["porpoise"] = json!("x");
        assert!(run(json!([wrong]).to_string()).contains("porpoise"));
        let mut wrong = case("perhaps", &[]);
        assert!(run(json!([wrong.clone()]).to_string()).contains("neither"));
        wrong["more"] = json!(1);
        assert!(run(json!([wrong]).to_string()).contains("`more` is not known"));
    }
}
