//! Differentially private answers: exact discrete noise, and a ledger that no crash can overspend.

pub mod ledger;
pub mod mechanism;
pub mod question;

pub use ledger::{Ledger, LedgerError, Reservation, Reserve, Spent};
pub use mechanism::{Random, SystemRandom, half_width_95, noise};
pub use question::Question;

use serde::{Deserialize, Serialize};

/// A noisy count as it was first released; every repetition gives the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The noisy value. It may be negative; clamping it would bias averages.
    pub noisy: i64,
    /// The privacy loss, in 10⁻⁹ ε.
    pub epsilon_nano: u64,
    /// How much one patient can change the exact value.
    pub sensitivity: u64,
    /// The exact value lies within ± this with 95 % probability.
    pub half_width_95: u64,
    /// When it was released, milliseconds since the epoch.
    pub released_ms: u64,
}

impl Release {
    /// The mechanism's name.
    pub const MECHANISM: &'static str = "discrete-laplace";

    /// `noisy`, clamped to where a count can be.
    pub fn clamped(&self) -> u64 {
        u64::try_from(self.noisy).unwrap_or(0)
    }
}
