//! The same costs by how many policies are in force.

use std::collections::HashSet;
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use cedar_policy::{Authorizer, Context, Entities, Entity, EntityUid, Request};
use drape_policy::{Action, Decider, PolicySet, RecordJudge};
use drape_view::category::GROUPS;
use drape_view::{Category, Judge as _, Treatments, Verdict};

use super::{RUNS, caller, cold, median, middle, profile, request, timed, verdict};

const COUNTS: [usize; 3] = [5, 50, 500];
/// How many roles the policies are spread over: one in so many reaches a caller who has one role.
const ROLES: usize = 10;
/// Cedar asked naively is slow enough to be measured by fewer runs.
const NAIVE_RUNS: usize = 20;

/// Writes the table.
pub(super) fn table(out: &mut impl Write, treatments: &Arc<Treatments>) -> Result<(), Box<dyn Error>> {
    writeln!(out)?;
    writeln!(
        out,
        "| policies | loaded ms | standing cold | warm | request cold | warm | verdict cold | warm | verdict by Cedar alone |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for count in COUNTS {
        let text = policies(count);
        let before = Instant::now();
        let set = PolicySet::read(&[("made-up.cedar", &text)], treatments, &[])
            .map_err(|f| f.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
        let loaded_ms = before.elapsed().as_millis();
        if set.len() != count {
            return Err(format!("{} policies instead of {count}", set.len()).into());
        }
        let decider = Arc::new(Decider::new(Arc::new(set))?);
        let one = Arc::new(caller("r0", 0, "TREAT"));
        let standing = Arc::new(decider.standing(&one)?);
        let profile = profile();
        let shown = RecordJudge::new(Arc::clone(&standing)).judge(&profile);
        if !matches!(shown, Verdict::Keep(_)) || !standing.request(Action::Read, "Observation").allowed {
            return Err("the caller should be shown something: this measures refusals".into());
        }
        let strangers: Vec<_> = (1..=RUNS).map(|n| Arc::new(caller("r0", n, "TREAT"))).collect();
        let mut unknown = Vec::with_capacity(RUNS);
        let mut next = strangers.iter();
        let standing_cold =
            median(|| unknown.extend(next.next().and_then(|c| decider.standing(c).ok()).map(Arc::new)));
        let (for_request, for_verdict) = unknown.split_at(RUNS / 2);
        let columns = [
            standing_cold,
            median(|| drop(black_box(decider.standing(&one)))),
            cold(for_request, request),
            median(|| request(&standing)),
            cold(for_verdict, |s| verdict(s, &profile)),
            median(|| verdict(&standing, &profile)),
            naive(&text, treatments)?,
        ];
        let columns: Vec<String> = columns.iter().map(|us| format!("{us:.1}")).collect();
        writeln!(out, "| {count} | {loaded_ms} | {} |", columns.join(" | "))?;
    }
    Ok(())
}

/// Four that let the first role work, and then permits and forbids over groups of categories, each with a condition of
/// its own, for all roles in turn.
fn policies(count: usize) -> String {
    let mut text = String::from(
        r#"
@id("requests") permit (principal in Role::"r0", action in [Action::"read", Action::"search"], resource);
@id("sees") permit (principal in Role::"r0", action in [Action::"receive", Action::"show"], resource)
when { context.patient.known && context.patient.relations.contains("treating") };
@id("no-identifiers") forbid (principal in Role::"r0", action in Action::"release", resource == Category::"identifier");
@id("searches") permit (principal in Role::"r0", action == Action::"searchBy", resource);
"#,
    );
    let groups =
        ["clinical", "date", "text", "quasi-identifier", "direct-identifier", "business", "technical"];
    for place in 4..count {
        let (role, group) = (place % ROLES, groups[place % groups.len()]);
        let (effect, what) = if place % 2 == 0 {
            ("forbid", format!("action in Action::\"release\", resource in Category::\"{group}\""))
        } else {
            ("permit", format!("action == Action::\"show\", resource in Category::\"{group}\""))
        };
        let _ = writeln!(
            text,
            "@id(\"made-up-{place}\") {effect} (principal in Role::\"r{role}\", {what})\nwhen {{ \
             context.record.labels.contains(\"L{place}\") && context.env.purpose == \"TREAT\" }};"
        );
    }
    text
}

/// The median time for asking Cedar itself for every treatment of every category, of all policies, on the same record.
fn naive(text: &str, treatments: &Treatments) -> Result<f64, Box<dyn Error>> {
    let set: cedar_policy::PolicySet = text.parse()?;
    let principal: EntityUid = r#"User::"u""#.parse()?;
    let role: EntityUid = r#"Role::"r0""#.parse()?;
    let of = |name: &str| -> Result<EntityUid, Box<dyn Error>> {
        Ok(format!("Category::{name:?}").parse::<EntityUid>()?)
    };
    let mut all = vec![
        Entity::new_no_attrs(role.clone(), HashSet::new()),
        Entity::new_no_attrs(principal.clone(), HashSet::from([role])),
    ];
    for group in GROUPS {
        let parents = group.parents.iter().map(|p| of(p)).collect::<Result<_, Box<dyn Error>>>()?;
        all.push(Entity::new_no_attrs(of(group.name)?, parents));
    }
    for category in Category::ALL {
        let parents = category.parents().iter().map(|p| of(p)).collect::<Result<_, Box<dyn Error>>>()?;
        all.push(Entity::new_no_attrs(of(category.name())?, parents));
    }
    let entities = Entities::from_entities(all, None)?;
    let context = Context::from_json_value(
        serde_json::json!({
            "env": {"purpose": "TREAT"},
            "record": {"labels": []},
            "patient": {"known": true, "relations": ["treating"]},
        }),
        None,
    )?;
    let mut questions = Vec::new();
    for category in Category::ALL {
        for rung in treatments.rungs(category) {
            let action = format!("Action::{:?}", rung.name()).parse()?;
            let resource = of(category.name())?;
            questions.push(Request::new(principal.clone(), action, resource, context.clone(), None)?);
        }
    }
    let authorizer = Authorizer::new();
    let once = || {
        for question in &questions {
            black_box(authorizer.is_authorized(question, &set, &entities));
        }
    };
    Ok(middle((0..NAIVE_RUNS).map(|_| timed(once)).collect()))
}
