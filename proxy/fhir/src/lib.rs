//! FHIR R4 without I/O: definitions, search parameters, interactions, references, outcomes, the JSON stream, XML.

pub mod bundle;
pub mod definitions;
pub mod interaction;
pub mod json;
pub mod media;
pub mod names;
pub mod outcome;
pub mod patch;
pub mod query;
pub mod reference;
pub mod search;
pub mod xml;
