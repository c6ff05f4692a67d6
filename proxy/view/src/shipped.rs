//! The files that ship inside the program, so that it runs without any beside it.

/// `policies/categories.yaml`.
pub const CATEGORIES: &str = include_str!("../../../policies/categories.yaml");
/// `policies/treatments.yaml`.
pub const TREATMENTS: &str = include_str!("../../../policies/treatments.yaml");
/// `policies/facts.yaml`.
pub const FACTS: &str = include_str!("../../../policies/facts.yaml");
/// `policies/labels.yaml`.
pub const LABELS: &str = include_str!("../../../policies/labels.yaml");
/// `policies/small-areas.yaml`.
pub const SMALL_AREAS: &str = include_str!("../../../policies/small-areas.yaml");
