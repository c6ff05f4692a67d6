//! The words that policy and shield share: category, treatment, facts, profile, plan, caller. No I/O.

pub mod caller;
pub mod category;
pub mod facts;
pub mod plan;
pub mod profile;
pub mod treatment;

pub use caller::{Caller, Environment, Proof, Relation, Scope, ScopeLevel};
pub use category::{Category, CategorySet};
pub use facts::{Coding, Facts, RecordFacts};
pub use plan::{Judge, Plan, Reason, Verdict};
pub use profile::{Profile, Subject};
pub use treatment::{Coarsening, Treatment};
