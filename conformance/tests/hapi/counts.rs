//! Counts with noise: the same question has one answer and one charge; when the budget is spent there is no more.

use drape_conformance::drape::BUDGET;
use drape_conformance::fault::Faults;
use drape_conformance::http::Reply;
use drape_conformance::judge::refusal;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;

use crate::world::World;

const COST_NANO: u64 = 100_000_000;

fn spent(world: &World) -> Outcome<u64> {
    world.drape.metric(&format!("drape_dp_epsilon_spent_nano_total{{budget=\"{BUDGET}\"}}"))
}

fn ask(world: &World, question: &str) -> Outcome<Reply> {
    world.get(Persona::Analyst, question)
}

pub(crate) fn once(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let before = spent(world)?;
    let question = "Patient?gender=male&_summary=count";
    let first = ask(world, question)?.expect(200)?;
    let bundle = first.json()?;
    faults.check(bundle["total"].is_u64(), || format!("no total: {bundle}"));
    faults.check(bundle.get("entry").is_none(), || "a count brings records".into());
    for name in ["drape-epsilon", "drape-mechanism", "drape-interval-95", "drape-budget"] {
        faults.check(first.header(name).is_some(), || format!("the header {name} is missing"));
    }
    // The same question, also in other words.
    for again in [question, question, "Patient?_summary=count&gender=male", "Patient?gender=male&_count=0"] {
        let reply = ask(world, again)?.expect(200)?;
        faults.check(reply.json()?["total"] == bundle["total"], || format!("{again} has another answer"));
    }
    let after = spent(world)?;
    faults.check(after - before == COST_NANO, || format!("{} was charged", after - before));
    // Counting is all that an analyst may do.
    for refused in [
        "Patient",
        "Patient?gender=male",
        "Patient?_count=1",
        "Observation?_summary=count",
        "Patient?identifier=TEEN-55120&_summary=count",
        "Patient?family=Kreiger&_summary=count",
    ] {
        let reply = ask(world, refused)?;
        faults.note(refusal(&reply, 403).map(drop).map_err(|e| Fault(format!("{refused}: {e}"))));
    }
    let lead = ask(world, &format!("Patient/{}", world.lead))?;
    faults.note(refusal(&lead, 403).map(drop));
    faults.check(spent(world)? == after, || "a refusal was charged".into());
    faults.outcome()
}

pub(crate) fn exhausted(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let question = |year: u32| format!("Patient?birthdate=ge{year}-01-01&_summary=count");
    // ε 0.5 at 0.1 a question: one was spent above, when all steps run.
    let mut answers = Vec::new();
    let mut refused = None;
    for year in 1950..1960 {
        let reply = ask(world, &question(year))?;
        if reply.status == 200 {
            answers.push((year, reply.json()?["total"].clone()));
        } else {
            refused = Some(reply);
            break;
        }
    }
    let reply = refused.ok_or_else(|| Fault::new("the budget has no end"))?;
    let codes = refusal(&reply, 403)?;
    faults.check(codes == ["too-costly"], || format!("refused as {codes:?}"));
    faults.check(reply.text().contains("budget"), || format!("an unclear refusal: {}", reply.text()));
    faults.check((4..=5).contains(&answers.len()), || format!("{} questions were answered", answers.len()));
    faults.check(spent(world)? == 5 * COST_NANO, || format!("{:?} nano was charged in all", spent(world)));
    // What was answered stays answered.
    for (year, total) in answers {
        let again = ask(world, &question(year))?.expect(200)?.json()?;
        faults.check(again["total"] == total, || format!("{year}: {} was {total}", again["total"]));
    }
    faults.outcome()
}
