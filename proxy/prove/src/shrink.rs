//! Makes a counterexample as small as it gets: whatever can be ordinary is, as long as it still breaks the guarantee.

use std::collections::BTreeSet;

use crate::state::State;

/// Purposes that people know, tried in the place of one that the solver made up.
const PURPOSES: [&str; 7] = ["TREAT", "HRESCH", "HPAYMT", "PATRQT", "FAMRQT", "HOPERAT", "PUBHLTH"];
const TYPES: [&str; 4] = ["Observation", "Condition", "Patient", "MedicationRequest"];

/// The smallest state to be found from `state` that still breaks; `breaks` must hold of `state`.
pub(crate) fn smallest(state: State, breaks: &dyn Fn(&State) -> bool) -> State {
    let mut best = state;
    // Each round tries every change once; what one round makes possible the next one does.
    for _ in 0..ROUNDS_MAX {
        let before = best.clone();
        one_round(&mut best, breaks);
        if best == before {
            break;
        }
    }
    best
}

const ROUNDS_MAX: usize = 4;

fn one_round(best: &mut State, breaks: &dyn Fn(&State) -> bool) {
    let ordinary = State::ordinary();
    let mut attempt = |change: &dyn Fn(&mut State)| {
        let mut candidate = best.clone();
        change(&mut candidate);
        if candidate == *best {
            return true;
        }
        let better = breaks(&candidate);
        if better {
            *best = candidate;
        }
        better
    };
    // All at once first: most often it is one fact that matters.
    attempt(&|s| s.caller.environment = ordinary.caller.environment.clone());
    attempt(&|s| (s.caller.environment.hour, s.caller.environment.minute_of_day) = (12, 720));
    attempt(&|s| s.caller.environment.weekday = 3);
    attempt(&|s| s.caller.environment.network = None);
    attempt(&|s| s.caller.environment.break_glass = false);
    attempt(&|s| {
        (s.caller.issuer, s.caller.subject) =
            (ordinary.caller.issuer.clone(), ordinary.caller.subject.clone())
    });
    attempt(&|s| s.caller.shift = None);
    attempt(&|s| s.caller.shift = s.caller.shift.map(|_| (420, 1_140)));
    attempt(&|s| s.caller.organization = None);
    attempt(&|s| s.caller.title = None);
    attempt(&|s| s.caller.client = None);
    attempt(&|s| s.profile.patient = ordinary.profile.patient.clone());
    attempt(&|s| s.profile.patient.is_caller = false);
    attempt(&|s| s.profile.patient.known = true);
    attempt(&|s| s.profile.patient.age_years = None);
    for years in [40, 14, 7] {
        if attempt(&|s| s.profile.patient.age_years = s.profile.patient.age_years.map(|_| years)) {
            break;
        }
    }
    attempt(&|s| s.profile.classified = true);
    attempt(&|s| s.profile.authored_by_caller = false);
    attempt(&|s| s.profile.status = None);
    attempt(&|s| s.profile.age_days = None);
    for days in [0, 400] {
        if attempt(&|s| s.profile.age_days = s.profile.age_days.map(|_| days)) {
            break;
        }
    }
    attempt(&|s| s.count = ordinary.count.clone());
    attempt(&|s| s.count.epsilon_nano = 100_000_000);
    // A type or purpose that people know, in the place of any.
    for kind in TYPES {
        if attempt(&|s| s.profile.resource_type = kind.to_owned()) {
            break;
        }
    }
    for place in 0..ordinary.asked.len() {
        for kind in TYPES {
            if attempt(&|s| s.asked[place] = kind.to_owned()) {
                break;
            }
        }
    }
    for purpose in PURPOSES {
        if attempt(&|s| s.caller.purpose = purpose.to_owned()) {
            break;
        }
    }
    let sets: [fn(&mut State) -> &mut BTreeSet<String>; 10] = [
        |s| &mut s.caller.roles,
        |s| &mut s.caller.departments,
        |s| &mut s.profile.labels,
        |s| &mut s.profile.category_codes,
        |s| &mut s.profile.departments,
        |s| &mut s.profile.insurers,
        |s| &mut s.profile.patient.relations,
        |s| &mut s.profile.patient.labels,
        |s| &mut s.profile.patient.consent_releases,
        |s| &mut s.profile.patient.consent_denies,
    ];
    for set in sets {
        attempt_set(best, set, breaks);
    }
    best.caller.held_roles = best.caller.roles.clone();
}

/// Empties a set, or takes out of it what it can do without.
fn attempt_set(
    best: &mut State,
    set: fn(&mut State) -> &mut BTreeSet<String>,
    breaks: &dyn Fn(&State) -> bool,
) {
    let words: Vec<String> = set(best).iter().cloned().collect();
    for word in words {
        let mut candidate = best.clone();
        set(&mut candidate).remove(&word);
        if breaks(&candidate) {
            *best = candidate;
        }
    }
}
