//! The words that policy and shield share: category, treatment, facts, profile, plan, caller. No I/O.

pub mod caller;
pub mod catalogue;
pub mod category;
pub mod facts;
pub mod fault;
pub mod labels;
pub mod overrides;
pub mod plan;
pub mod profile;
pub mod profiler;
pub mod shipped;
pub mod treatment;
pub mod treatments;
pub mod view;
pub mod why;

pub use caller::{Caller, Environment, Proof, Relation, Scope, ScopeLevel};
pub use catalogue::Catalogue;
pub use category::{Category, CategorySet};
pub use facts::{Coding, Facts, Pointer, RecordFacts};
pub use fault::Fault;
pub use labels::Labels;
pub use overrides::Overrides;
pub use plan::{Judge, Plan, Reason, Verdict};
pub use profile::{Profile, Subject};
pub use profiler::{Known, Profiler};
pub use treatment::{Coarsening, Treatment};
pub use treatments::{Redaction, Treatments};
pub use view::View;
pub use why::{Basis, RefusedRung, Why, Whys};
