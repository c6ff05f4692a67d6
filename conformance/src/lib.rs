//! The harness of the black-box suite: starts real servers with time limits, speaks plain HTTP, and stops what it started.
//!
//! Nothing here is on the way of a real request; the program under test is only ever run as a process.

pub mod backend;
pub mod bytes;
pub mod child;
pub mod drape;
pub mod fault;
pub mod forge;
pub mod hapi;
pub mod http;
pub mod issuer;
pub mod judge;
pub mod keycloak;
pub mod oidc;
pub mod places;
pub mod recorder;
pub mod records;
pub mod stub;
pub mod synthea;
pub mod vendor;

pub use fault::{Fault, Outcome};
