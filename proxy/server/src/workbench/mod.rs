//! What policy authors work with: a policy set with its personas, tests and guarantees, asked without a network.

pub mod diff;
pub mod files;
pub mod personas;
pub mod testing;
pub mod walk;
