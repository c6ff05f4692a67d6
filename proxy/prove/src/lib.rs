//! Proves the guarantees of a policy set with an SMT solver, or finds a caller and a record that break them.

mod assume;
mod claims;
mod cli;
mod concrete;
mod errors;
mod expression;
mod model;
mod outcome;
mod question;
mod report;
mod shrink;
mod solver;
mod state;
mod types;

pub use claims::{Proof, Verdict, prove};
pub use cli::run;
pub use model::{Job, Model};
pub use report::{json, text};
pub use solver::{Solver, SolverFault};
pub use state::State;
