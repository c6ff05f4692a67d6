//! The words that policy and shield share: category, treatment, facts, profile, plan, caller. No I/O.

pub mod bounds;
pub mod caller;
pub mod catalogue;
pub mod category;
pub mod facts;
pub mod fault;
pub mod granular;
pub mod labels;
pub mod overrides;
pub mod plan;
pub mod profile;
pub mod profiler;
pub mod shipped;
pub mod small_areas;
pub mod treatment;
pub mod treatments;
pub mod view;
pub mod why;
pub mod yaml;

pub use bounds::{Bounds, Cover};
pub use caller::{Caller, Emergency, Environment, Proof, Relation, Scope, ScopeLevel, StatedBy, Statement};
pub use catalogue::Catalogue;
pub use category::{Category, CategorySet};
pub use facts::{Coding, Facts, Pointer, RecordFacts};
pub use fault::{Fault, Span};
pub use labels::Labels;
pub use overrides::Overrides;
pub use plan::{Judge, Plan, Reason, Verdict};
pub use profile::{Profile, Subject};
pub use profiler::{Known, Profiler};
pub use treatment::{Coarsening, Treatment};
pub use treatments::{Redaction, Treatments};
pub use view::View;
pub use why::{Basis, RefusedRung, Why, Whys};
