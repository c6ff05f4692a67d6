//! What was asked, in one form for all who ask the same: equal questions share one answer and one charge.

use sha2::{Digest as _, Sha256};

/// A question about a population.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// The budget that guards its population.
    pub budget: &'a str,
    /// What is computed: `count`.
    pub operation: &'a str,
    /// The search in canonical form.
    pub canonical: &'a str,
    /// The mechanism.
    pub mechanism: &'a str,
    /// ε in 10⁻⁹.
    pub epsilon_nano: u64,
    /// Δ.
    pub sensitivity: u64,
}

impl Question<'_> {
    /// Its name in the ledger: SHA-256 over all parts, each behind its length.
    pub fn id(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [self.tenant, self.budget, self.operation, self.canonical, self.mechanism] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(self.epsilon_nano.to_be_bytes());
        hash.update(self.sensitivity.to_be_bytes());
        hash.finalize().into()
    }
}
