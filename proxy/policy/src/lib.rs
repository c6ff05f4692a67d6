//! Cedar: loads and checks policy sets, decides about requests, judges records. No I/O but reading the files of a set.

mod cache;
mod cases;
mod check;
pub mod compare;
mod decide;
mod entities;
pub mod guarantees;
mod judge;
mod known;
pub mod lint;
mod overheard;
mod set;
pub mod shipped;
pub mod told;
mod types;

pub use cases::CedarOutcome;
pub use decide::{Action, Criterion, Decider, Question, Ruling, Standing};
pub use judge::RecordJudge;
pub use lint::{Surroundings, lint};
pub use overheard::{Inquiry, Listener};
pub use set::PolicySet;
pub use types::types_of;
