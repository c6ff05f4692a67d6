//! Emergencies that callers have declared: each lasts a short while, and one caller declares only so many a day. They are
//! held in memory: a restart ends all of them, and they must be declared anew.

use std::collections::HashMap;
use std::time::Duration;

use drape_view::{Caller, Emergency};
use parking_lot::Mutex;

use crate::config::callers::BreakGlass;

/// Those of one tenant.
#[derive(Debug, Default)]
pub struct Emergencies {
    held: Mutex<HashMap<Key, Window>>,
}

/// One person with one app and one purpose.
type Key = [String; 4];

#[derive(Debug)]
struct Window {
    emergency: Emergency,
    /// When those of the last day began.
    begun: Vec<u64>,
}

/// Why an emergency is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unaccepted {
    /// The caller has declared too many.
    TooMany,
    /// Nobody can be remembered any more.
    Full,
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
const HELD_MAX: usize = 10_000;

fn key(caller: &Caller) -> Key {
    let client = caller.client.clone().unwrap_or_default();
    [caller.issuer.clone(), caller.subject.clone(), client, caller.purpose.clone()]
}

impl Emergencies {
    /// The caller's emergency, where one goes on.
    pub fn find(&self, caller: &Caller, now_ms: u64) -> Option<Emergency> {
        let held = self.held.lock();
        held.get(&key(caller)).map(|w| w.emergency.clone()).filter(|e| now_ms < e.until_ms)
    }

    /// The caller declares one. While one goes on, another reason takes the place of the first and nothing is prolonged.
    /// Tells as well whether it has just begun.
    pub fn declare(
        &self,
        caller: &Caller,
        reason: &str,
        rules: &BreakGlass,
        now_ms: u64,
    ) -> Result<(Emergency, bool), Unaccepted> {
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let recent = |at: &u64| now_ms.saturating_sub(*at) < millis(DAY);
        let mut held = self.held.lock();
        let key = key(caller);
        if held.len() >= HELD_MAX && !held.contains_key(&key) {
            held.retain(|_, window| window.begun.iter().any(recent));
            if held.len() >= HELD_MAX {
                return Err(Unaccepted::Full);
            }
        }
        let window = held.entry(key).or_insert_with(|| Window {
            emergency: Emergency { reason: String::new(), until_ms: 0 },
            begun: Vec::new(),
        });
        let begins = now_ms >= window.emergency.until_ms;
        if begins {
            window.begun.retain(recent);
            if window.begun.len() >= rules.per_day_max {
                return Err(Unaccepted::TooMany);
            }
            window.begun.push(now_ms);
            window.emergency.until_ms = now_ms.saturating_add(millis(rules.lifetime));
        }
        reason.clone_into(&mut window.emergency.reason);
        Ok((window.emergency.clone(), begins))
    }
}
