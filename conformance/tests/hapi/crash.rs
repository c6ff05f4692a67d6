//! `kill -9` in the middle of work, several times: the log stays sound and the budget is never overspent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use drape_conformance::child::{LOOK_AGAIN, wait_for};
use drape_conformance::drape::{BUDGET, Drape, Settings};
use drape_conformance::fault::Faults;
use drape_conformance::http::Call;
use drape_conformance::{Fault, Outcome};
use drape_demo::Persona;
use drape_noise::ledger::Ledger;

use crate::world::{World, subject};

const ROUNDS: usize = 4;
/// Threads that read; one more counts.
const READERS: usize = 3;
const COST_NANO: u64 = 100_000_000;
const TOTAL_NANO: u64 = 6_000_000_000;

/// What the callers saw of one round.
#[derive(Default)]
struct Seen {
    /// Ids of requests whose answers came whole.
    answered: Mutex<BTreeSet<String>>,
    reads: AtomicUsize,
    counts: AtomicUsize,
    dead: AtomicBool,
}

pub(crate) fn kill(world: &World) -> Outcome {
    let mut faults = Faults::default();
    let mut settings = Settings::new(&world.hapi.base, "hapi", &world.provider.url, "RS256");
    settings.epsilon = ("6", "0.1");
    let folder = world.work.join("killed");
    let mut drape = Drape::start(&subject(), &folder, settings)?;
    let doctor = world.token_for(Persona::Doctor, &drape.base)?;
    let analyst = world.token_for(Persona::Analyst, &drape.base)?;
    // Question → the answer that was seen for it.
    let answers: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());
    let asked = AtomicUsize::new(0);
    let mut open_before = BTreeSet::new();
    for round in 1..=ROUNDS {
        drape.described()?;
        let seen = Seen::default();
        std::thread::scope(|scope| -> Outcome {
            for reader in 0..READERS {
                let (seen, base, doctor) = (&seen, drape.base.clone(), &doctor);
                // Short answers, held whole, and long ones, which stream.
                let path = [
                    "Observation?_count=200",
                    &format!("Patient/{}", world.lead),
                    "Encounter?_include=Encounter:patient",
                ][reader % 3]
                    .to_owned();
                scope.spawn(move || read_until_dead(seen, &format!("{base}/{path}"), doctor));
            }
            let (seen_too, base, answers, asked, analyst) =
                (&seen, drape.base.clone(), &answers, &asked, &analyst);
            scope.spawn(move || count_until_dead(seen_too, &base, analyst, answers, asked));
            let enough = wait_for("work in full swing", Duration::from_secs(180), || {
                let (reads, counts) = (seen.reads.load(Ordering::SeqCst), seen.counts.load(Ordering::SeqCst));
                (reads >= 20 + 7 * round && counts >= 4).then_some(())
            });
            // In the middle of whatever is under way; also when the wait failed, so that the threads end.
            let killed = drape.kill();
            seen.dead.store(true, Ordering::SeqCst);
            enough.and(killed)
        })?;
        // Dead, as the power cut left it.
        let report = drape.verify().map_err(|e| Fault(format!("round {round}: {e}")))?;
        let open: BTreeSet<String> = report
            .out
            .lines()
            .filter_map(|l| {
                l.split_once("the request `")?.1.split_once("` has no outcome").map(|(id, _)| id.to_owned())
            })
            .collect();
        faults.check(!report.out.contains("more requests without outcome"), || report.out.clone());
        let new: Vec<&String> = open.difference(&open_before).collect();
        faults.check(new.len() <= READERS + 1, || {
            format!("round {round}: {} requests were open: {new:?}", new.len())
        });
        let answered = seen.answered.lock().unwrap_or_else(PoisonError::into_inner);
        for id in new {
            faults.check(!answered.contains(id), || {
                format!("round {round}: `{id}` was answered and has no outcome")
            });
        }
        drop(answered);
        open_before = open;
        drape.serve().map_err(|e| Fault(format!("round {round}: does not start again: {e}")))?;
        faults.note(
            drape.verify().map(drop).map_err(|e| Fault(format!("round {round}, after the start: {e}"))),
        );
        // The same question, the same answer, at no new charge.
        let known = answers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (question, total) in known {
            let again = count(&drape.base, &analyst, question)?;
            faults.check(again == Some(total), || {
                format!("round {round}: question {question}: {again:?} was {total}")
            });
        }
        let charged = drape.metric(&format!("drape_dp_epsilon_spent_nano_total{{budget=\"{BUDGET}\"}}"))?;
        faults.check(charged == 0, || format!("round {round}: known questions were charged {charged} again"));
    }
    drape.stop()?;
    faults.note(drape.verify().map(drop));
    let distinct = answers.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    let asked = asked.load(Ordering::SeqCst) as u64;
    let spent = Ledger::open(&folder.join("ledger.redb"))?.spent(BUDGET)?;
    faults.check(distinct >= 4 * ROUNDS as u64, || format!("only {distinct} questions were answered"));
    faults
        .check(spent.nano >= distinct * COST_NANO, || format!("{distinct} answers for {} nano", spent.nano));
    faults.check(spent.nano <= asked * COST_NANO, || format!("{asked} questions and {} nano", spent.nano));
    faults.check(spent.nano <= TOTAL_NANO, || format!("{} nano of {TOTAL_NANO}", spent.nano));
    faults.outcome()
}

fn read_until_dead(seen: &Seen, url: &str, token: &str) {
    while !seen.dead.load(Ordering::SeqCst) {
        let Ok(reply) = Call::get(url).bearer(token).within(Duration::from_secs(20)).send() else { continue };
        if reply.whole && reply.status == 200 {
            seen.reads.fetch_add(1, Ordering::SeqCst);
            note(seen, reply.header("x-request-id"));
        }
    }
}

fn note(seen: &Seen, id: Option<&str>) {
    seen.answered.lock().unwrap_or_else(PoisonError::into_inner).extend(id.map(str::to_owned));
}

fn url(base: &str, question: usize) -> String {
    format!("{base}/Patient?birthdate=ge{}-01-01&_summary=count", 1900 + question)
}

fn count(base: &str, token: &str, question: usize) -> Outcome<Option<u64>> {
    let reply = Call::get(url(base, question)).bearer(token).send()?;
    Ok(if reply.status == 200 && reply.whole { reply.json()?["total"].as_u64() } else { None })
}

/// Always a new question; the answer to one that the kill cut off may be seen later or never. It counts no faster than
/// the readers read, or the budget of all rounds would be spent in the first on a machine where counts are quick.
fn count_until_dead(
    seen: &Seen,
    base: &str,
    token: &str,
    answers: &Mutex<BTreeMap<usize, u64>>,
    asked: &AtomicUsize,
) {
    while !seen.dead.load(Ordering::SeqCst) {
        if seen.counts.load(Ordering::SeqCst) > seen.reads.load(Ordering::SeqCst) / 5 {
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        // A question counts as asked before it is: what the kill cuts off may have been charged.
        let question = asked.fetch_add(1, Ordering::SeqCst);
        let Ok(reply) = Call::get(url(base, question)).bearer(token).within(Duration::from_secs(20)).send()
        else {
            return;
        };
        let total = reply.json().ok().and_then(|b| b["total"].as_u64());
        if let (200, true, Some(total)) = (reply.status, reply.whole, total) {
            answers.lock().unwrap_or_else(PoisonError::into_inner).insert(question, total);
            seen.counts.fetch_add(1, Ordering::SeqCst);
            note(seen, reply.header("x-request-id"));
        } else if reply.whole {
            return;
        }
    }
}
