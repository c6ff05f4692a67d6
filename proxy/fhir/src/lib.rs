//! fhir

pub mod json;
