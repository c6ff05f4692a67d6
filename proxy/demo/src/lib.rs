//! A made-up hospital to try Drape on: its patients, the server that holds them, the people who ask, their tokens.
//!
//! Nothing here is on the way of a real request. The population is generated, so no person in it exists; the store
//! answers as an ordinary FHIR R4 server does; the issuer hands out tokens without asking for a password and must
//! never be trusted by a tenant with real patients.

pub mod ambient;
pub mod cast;
pub mod derive;
mod exact;
pub mod issuer;
pub mod population;
mod random;
pub mod serve;
pub mod store;

pub use ambient::Ambient;
pub use cast::{Cast, Figures, Member, Persona, Relation};
pub use issuer::Issuer;
pub use population::{Population, Resource};
pub use store::Store;
