//! From a bearer token to a caller: strict JWTs, what issuers say of opaque tokens, SMART scopes, claims; and Drape's own
//! signed assertions. No I/O.

pub mod claims;
pub mod client_assertion;
pub mod fault;
pub mod jwks;
pub mod opaque;
pub mod scopes;
pub mod strict;
pub mod token;

pub use claims::{ClaimNames, act_for, bound_certificate, caller, launch_intent};
pub use fault::TokenFault;
pub use jwks::KeySet;
pub use scopes::{Need, ScopeRuling};
pub use token::{Algorithm, Peek, Rules};
