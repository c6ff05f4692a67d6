//! What policy authors work with: a policy set with its personas, tests and guarantees, asked without a network.

pub mod diff;
pub mod examine;
pub mod files;
pub mod mask;
pub mod personas;
pub mod sheet;
pub mod story;
pub mod testing;
pub mod walk;
