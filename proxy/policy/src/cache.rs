//! Answers that were worked out before, kept by everything that they can depend on and compared in full.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use drape_view::{Profile, Verdict};
use parking_lot::Mutex;

use crate::decide::{Ruling, Standing};

/// What an answer depends on besides the policies, which one decider never changes, and the question itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Whose {
    /// Stands for everything that is fixed about the caller.
    footing: u64,
    purpose: String,
    break_glass: bool,
    /// Hour, minute, weekday and network: only where some applicable policy reads them.
    moment: Option<(u8, u16, u8, Option<IpAddr>)>,
}

impl Whose {
    fn of(standing: &Standing) -> Self {
        let env = &standing.caller.environment;
        let moment = (env.hour, env.minute_of_day, env.weekday, env.network);
        Self {
            footing: standing.footing.id,
            purpose: standing.caller.purpose.clone(),
            break_glass: env.break_glass,
            moment: standing.footing.moment.then_some(moment),
        }
    }
}

/// The answers of one decider.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by: HashMap<Whose, Answers>,
    count: usize,
}

#[derive(Debug, Default)]
struct Answers {
    verdicts: HashMap<Profile, Verdict>,
    /// By action, then by the type or category it is asked about.
    rulings: HashMap<&'static str, HashMap<String, Ruling>>,
}

/// Answers kept over all callers; beyond it all are forgotten.
const HELD_MAX: usize = 20_000;

impl Cache {
    /// The verdict on records of that profile, of which only what policies read need be filled in.
    pub(crate) fn verdict(
        &self,
        standing: &Standing,
        read: Profile,
        make: impl FnOnce() -> Verdict,
    ) -> Verdict {
        self.find(Whose::of(standing), |answers| &mut answers.verdicts, &read, || read.clone(), make)
    }

    /// The ruling on a question that no record has a part in.
    pub(crate) fn request(
        &self,
        standing: &Standing,
        action: &'static str,
        about: &str,
        make: impl FnOnce() -> Ruling,
    ) -> Ruling {
        self.find(
            Whose::of(standing),
            |answers| answers.rulings.entry(action).or_default(),
            about,
            || about.to_owned(),
            make,
        )
    }

    fn find<K, Q, V>(
        &self,
        whose: Whose,
        map: impl Fn(&mut Answers) -> &mut HashMap<K, V>,
        key: &Q,
        own: impl FnOnce() -> K,
        make: impl FnOnce() -> V,
    ) -> V
    where
        K: Borrow<Q> + Eq + Hash,
        Q: Eq + Hash + ?Sized,
        V: Clone,
    {
        if let Some(found) = self.held.lock().by.get_mut(&whose).and_then(|answers| map(answers).get(key)) {
            return found.clone();
        }
        // Not under the lock: a decision that takes long must not hold up those that are known.
        let made = make();
        let mut held = self.held.lock();
        if held.count >= HELD_MAX {
            *held = Held::default();
        }
        held.count += 1;
        map(held.by.entry(whose).or_default()).insert(own(), made.clone());
        made
    }
}
