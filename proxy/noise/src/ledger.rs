//! The budget ledger: a charge is on disk before its answer exists, and nothing ever gives one back.

use std::path::Path;

use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::Release;

/// Budget → what was spent from it, in 10⁻⁹ ε.
const SPENT: TableDefinition<'_, &str, u64> = TableDefinition::new("spent/v1");
/// (budget, caller) → what this caller spent.
const CALLERS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("callers/v1");
/// Question → its state.
const QUESTIONS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("questions/v1");
/// One number that only grows: how many charges there ever were.
const CHARGES: TableDefinition<'_, &str, u64> = TableDefinition::new("charges/v1");

/// The ledger of one process; the file is locked.
#[derive(Debug)]
pub struct Ledger {
    db: Database,
}

/// Why the ledger cannot do its work. No answer is given then.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Typically: the disk is full, the file is corrupt, or another process holds it.
    #[error("the budget ledger cannot be used: {0}")]
    Store(String),
    /// An entry cannot be read.
    #[error("an entry of the budget ledger is corrupt")]
    Corrupt,
}

fn store(e: impl Into<redb::Error>) -> LedgerError {
    LedgerError::Store(e.into().to_string())
}

/// The caps that hold for one charge, in 10⁻⁹ ε. Admission depends on these and on what was spent, never on data.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// All that may ever be spent from the budget.
    pub total_nano: u64,
    /// All that one caller may spend from it.
    pub per_caller_nano: u64,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Charged now, or by an attempt that never answered: compute and commit.
    Reserved(Reservation),
    /// Answered before: the same answer at no new charge.
    Answered(Release),
    /// Nothing was charged; this much is left.
    Exhausted {
        /// Of the whole budget.
        total_left_nano: u64,
        /// Of the caller's share.
        caller_left_nano: u64,
    },
}

/// A charge that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    question: [u8; 32],
    /// Whether this call charged it; false when an earlier attempt did and never answered.
    pub charged: bool,
}

/// What was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    /// In 10⁻⁹ ε.
    pub nano: u64,
    /// How many charges the ledger holds in all.
    pub charges: u64,
}

#[derive(Serialize, Deserialize)]
enum State {
    Reserved { cost_nano: u64 },
    Committed { cost_nano: u64, release: Release },
}

impl Ledger {
    /// Opens or makes the ledger. A file that is there but cannot be read is never replaced.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let db = Database::create(path).map_err(store)?;
        let write = db.begin_write().map_err(store)?;
        write.open_table(SPENT).map_err(store)?;
        write.open_table(CALLERS).map_err(store)?;
        write.open_table(QUESTIONS).map_err(store)?;
        write.open_table(CHARGES).map_err(store)?;
        write.commit().map_err(store)?;
        Ok(Self { db })
    }

    fn begin(&self) -> Result<WriteTransaction, LedgerError> {
        let mut write = self.db.begin_write().map_err(store)?;
        write.set_durability(Durability::Immediate).map_err(|e| LedgerError::Store(e.to_string()))?;
        Ok(write)
    }

    /// Charges a question, once and for all. The charge is durable when this returns; a crash before that charged
    /// nothing, a crash after it wasted the charge at worst. Blocks on the disk.
    pub fn reserve(
        &self,
        budget: &str,
        caller: &str,
        question: [u8; 32],
        cost_nano: u64,
        caps: Caps,
    ) -> Result<Reserve, LedgerError> {
        let write = self.begin()?;
        {
            let mut questions = write.open_table(QUESTIONS).map_err(store)?;
            let known = questions.get(&question[..]).map_err(store)?.map(|v| v.value().to_vec());
            if let Some(bytes) = known {
                return match serde_json::from_slice(&bytes).map_err(|_| LedgerError::Corrupt)? {
                    State::Committed { release, .. } => Ok(Reserve::Answered(release)),
                    State::Reserved { .. } => Ok(Reserve::Reserved(Reservation { question, charged: false })),
                };
            }
            let mut spent = write.open_table(SPENT).map_err(store)?;
            let mut callers = write.open_table(CALLERS).map_err(store)?;
            let before = spent.get(budget).map_err(store)?.map_or(0, |v| v.value());
            let own = callers.get((budget, caller)).map_err(store)?.map_or(0, |v| v.value());
            let after = before.saturating_add(cost_nano);
            let own_after = own.saturating_add(cost_nano);
            if after > caps.total_nano || own_after > caps.per_caller_nano {
                return Ok(Reserve::Exhausted {
                    total_left_nano: caps.total_nano.saturating_sub(before),
                    caller_left_nano: caps.per_caller_nano.saturating_sub(own),
                });
            }
            spent.insert(budget, after).map_err(store)?;
            callers.insert((budget, caller), own_after).map_err(store)?;
            let state =
                serde_json::to_vec(&State::Reserved { cost_nano }).map_err(|_| LedgerError::Corrupt)?;
            questions.insert(&question[..], state.as_slice()).map_err(store)?;
            let mut charges = write.open_table(CHARGES).map_err(store)?;
            let count = charges.get("all").map_err(store)?.map_or(0, |v| v.value());
            charges.insert("all", count + 1).map_err(store)?;
        }
        write.commit().map_err(store)?;
        Ok(Reserve::Reserved(Reservation { question, charged: true }))
    }

    /// Stores the first answer to a reserved question and gives the one that stands: when two computed at once, the
    /// first one's. Durable before it returns; only then may it be released.
    pub fn commit(&self, reservation: &Reservation, release: Release) -> Result<Release, LedgerError> {
        let write = self.begin()?;
        {
            let mut questions = write.open_table(QUESTIONS).map_err(store)?;
            let bytes = questions
                .get(&reservation.question[..])
                .map_err(store)?
                .map(|v| v.value().to_vec())
                .ok_or(LedgerError::Corrupt)?;
            let cost_nano = match serde_json::from_slice(&bytes).map_err(|_| LedgerError::Corrupt)? {
                State::Committed { release, .. } => return Ok(release),
                State::Reserved { cost_nano } => cost_nano,
            };
            let state = State::Committed { cost_nano, release: release.clone() };
            let state = serde_json::to_vec(&state).map_err(|_| LedgerError::Corrupt)?;
            questions.insert(&reservation.question[..], state.as_slice()).map_err(store)?;
        }
        write.commit().map_err(store)?;
        Ok(release)
    }

    /// What was spent from a budget.
    pub fn spent(&self, budget: &str) -> Result<Spent, LedgerError> {
        let read = self.db.begin_read().map_err(store)?;
        let nano =
            read.open_table(SPENT).map_err(store)?.get(budget).map_err(store)?.map_or(0, |v| v.value());
        let charges =
            read.open_table(CHARGES).map_err(store)?.get("all").map_err(store)?.map_or(0, |v| v.value());
        Ok(Spent { nano, charges })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: Caps = Caps { total_nano: 1_000, per_caller_nano: 600 };

    fn release(noisy: i64) -> Release {
        Release { noisy, epsilon_nano: 100, sensitivity: 1, half_width_95: 3, released_ms: 0 }
    }

    fn id(n: u8) -> [u8; 32] {
        [n; 32]
    }

    #[test]
    fn the_same_question_gets_the_same_answer_at_no_new_charge() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("l")).unwrap();
        let Reserve::Reserved(r) = ledger.reserve("b", "me", id(1), 100, CAPS).unwrap() else { panic!() };
        assert!(r.charged);
        assert_eq!(ledger.commit(&r, release(7)).unwrap(), release(7));
        for caller in ["me", "you"] {
            assert_eq!(ledger.reserve("b", caller, id(1), 100, CAPS).unwrap(), Reserve::Answered(release(7)));
        }
        assert_eq!(ledger.spent("b").unwrap(), Spent { nano: 100, charges: 1 });
        // The first answer stands, whoever computes a second.
        assert_eq!(ledger.commit(&r, release(9)).unwrap(), release(7));
    }

    #[test]
    fn a_charge_without_an_answer_is_answered_later_under_the_same_charge() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let reserved = Ledger::open(&path).unwrap().reserve("b", "me", id(1), 100, CAPS).unwrap();
        assert!(matches!(reserved, Reserve::Reserved(_)));
        let ledger = Ledger::open(&path).unwrap();
        assert_eq!(ledger.spent("b").unwrap().nano, 100);
        let Reserve::Reserved(r) = ledger.reserve("b", "me", id(1), 100, CAPS).unwrap() else { panic!() };
        assert!(!r.charged);
        ledger.commit(&r, release(1)).unwrap();
        assert_eq!(ledger.spent("b").unwrap().nano, 100);
    }

    #[test]
    fn an_exhausted_budget_refuses_and_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("l")).unwrap();
        for n in 0..6 {
            assert!(matches!(ledger.reserve("b", "me", id(n), 100, CAPS).unwrap(), Reserve::Reserved(_)));
        }
        let refused = Reserve::Exhausted { total_left_nano: 400, caller_left_nano: 0 };
        assert_eq!(ledger.reserve("b", "me", id(9), 100, CAPS).unwrap(), refused);
        assert!(matches!(ledger.reserve("b", "you", id(9), 400, CAPS).unwrap(), Reserve::Reserved(_)));
        assert!(matches!(ledger.reserve("b", "they", id(10), 1, CAPS).unwrap(), Reserve::Exhausted { .. }));
        assert_eq!(ledger.spent("b").unwrap().nano, 1_000);
        // A cap that is lowered later gives nothing back and lets nothing more through.
        let lower = Caps { total_nano: 10, per_caller_nano: 10 };
        assert!(matches!(
            ledger.reserve("b", "new", id(11), 1, lower).unwrap(),
            Reserve::Exhausted { total_left_nano: 0, .. }
        ));
    }

    #[test]
    fn one_process_owns_the_file_and_a_corrupt_one_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let ledger = Ledger::open(&path).unwrap();
        assert!(Ledger::open(&path).is_err());
        drop(ledger);
        std::fs::write(&path, b"not a ledger at all").unwrap();
        assert!(Ledger::open(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"not a ledger at all");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        /// Whatever is asked, answered, dropped or interrupted in whatever order: what was charged covers what was
        /// released, no cap is passed, and each question has one answer.
        #[test]
        fn no_schedule_overspends(steps in prop::collection::vec((0u8..5, 0u8..8, 0u8..3), 1..40)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("l");
            let mut ledger = Some(Ledger::open(&path).unwrap());
            let mut released: std::collections::HashMap<u8, Release> = std::collections::HashMap::new();
            let mut open = Vec::new();
            for (turn, (step, question, caller)) in steps.into_iter().enumerate() {
                match step {
                    0 => {
                        // A crash: everything in memory is gone.
                        drop(ledger.take());
                        ledger = Some(Ledger::open(&path).unwrap());
                        open.clear();
                    }
                    1 => {
                        if let Some((question, r)) = open.pop() {
                            let answer = ledger.as_ref().unwrap().commit(&r, release(turn as i64)).unwrap();
                            let first = released.entry(question).or_insert_with(|| answer.clone());
                            prop_assert_eq!(&*first, &answer);
                        }
                    }
                    _ => {
                        let caller = ["a", "b", "c"][usize::from(caller)];
                        match ledger.as_ref().unwrap().reserve("b", caller, id(question), 150, CAPS).unwrap() {
                            Reserve::Reserved(r) => open.push((question, r)),
                            Reserve::Answered(answer) => prop_assert_eq!(&released[&question], &answer),
                            Reserve::Exhausted { .. } => {}
                        }
                    }
                }
                let spent = ledger.as_ref().unwrap().spent("b").unwrap().nano;
                prop_assert!(spent >= released.len() as u64 * 150 && spent <= CAPS.total_nano);
            }
        }
    }
}
