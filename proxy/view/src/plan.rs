//! What is done to each category of one record, and who decides it.

use std::sync::Arc;

use crate::category::{Category, CategorySet};
use crate::profile::Profile;
use crate::treatment::Treatment;
use crate::why::{Basis, Why, Whys};

/// What becomes of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does not reach the caller, and nothing says that it is there.
    Withhold(Reason),
    /// It reaches the caller, treated so.
    Keep(Arc<Plan>),
}

/// Why a record was withheld; for the officer, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No policy lets it reach the caller.
    NotReceived,
    /// A policy that should have decided erred, and an error is a no.
    PolicyError,
    /// A `patient/` scope does not cover it.
    OutOfScope,
    /// Its type is closed to callers who are not shown everything.
    ClosedType,
    /// A modifier element cannot be shown; hiding it would reverse the record's meaning.
    Modifier,
    /// It cannot be made valid FHIR without what is hidden.
    NotValid,
    /// Its fullUrl says that it lives on another server, so nothing known here can judge it.
    Elsewhere,
}

impl Reason {
    /// The word in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotReceived => "not-received",
            Self::PolicyError => "policy-error",
            Self::OutOfScope => "out-of-scope",
            Self::ClosedType => "closed-type",
            Self::Modifier => "modifier",
            Self::NotValid => "not-valid",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// The treatment of every category in one record. The carrier rule (design 2.3) always holds in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    treatments: [Treatment; Category::COUNT],
    policies: Vec<String>,
    whys: Whys,
}

/// Decides what of a record may be seen. Pure; answers are cached by whoever implements it.
pub trait Judge: Send + Sync {
    /// The verdict for records of that profile.
    fn judge(&self, profile: &Profile) -> Verdict;

    /// The same of a record that is judged for good later, or not itself shown: whoever watches what is judged does not
    /// hear of it.
    fn foresee(&self, profile: &Profile) -> Verdict {
        self.judge(profile)
    }

    /// Whether every record gets the same verdict, whatever it holds: then totals and last-page links say nothing
    /// that the records themselves would not.
    fn uniform(&self) -> bool;

    /// Ids of the policies that let a record of that profile reach the caller, or keep it from her; for those who want to
    /// know why.
    fn received_by(&self, _profile: &Profile) -> Vec<String> {
        Vec::new()
    }
}

impl Plan {
    /// A plan from what policy permits. `policies` are the ids of those that determined it, sorted. Carriers are
    /// redacted unless everything is shown, whatever policy says.
    pub fn new(treatments: [Treatment; Category::COUNT], policies: Vec<String>) -> Self {
        Self::reasoned(treatments, policies, Whys::default())
    }

    /// The same with what policy said of each category.
    pub fn reasoned(
        mut treatments: [Treatment; Category::COUNT],
        policies: Vec<String>,
        mut whys: Whys,
    ) -> Self {
        if treatments.iter().any(|t| *t != Treatment::Show) {
            for category in Category::ALL {
                let treatment = &mut treatments[category.index()];
                if category.is_carrier() && *treatment != Treatment::Redact {
                    *treatment = Treatment::Redact;
                    whys.overrule(category, Basis::Carrier);
                }
            }
        }
        for category in Category::ALL {
            let treatment = &mut treatments[category.index()];
            if !treatment.fits(category) {
                *treatment = Treatment::Redact;
                whys.overrule(category, Basis::Unfit);
            }
        }
        Self { treatments, policies, whys }
    }

    /// The plan that shows everything.
    pub fn show_all(policies: Vec<String>) -> Self {
        Self::new([Treatment::Show; Category::COUNT], policies)
    }

    /// What is done to elements of `category`.
    pub fn treatment(&self, category: Category) -> Treatment {
        self.treatments[category.index()]
    }

    /// The same with nothing sealed, for views that may not show that anything is there; none where nothing is.
    pub fn unsealed(&self) -> Option<Self> {
        let sealed = self.treatments.contains(&Treatment::Encrypt);
        let leave_out = |t| if t == Treatment::Encrypt { Treatment::Redact } else { t };
        sealed.then(|| {
            let mut whys = self.whys.clone();
            for category in Category::ALL.into_iter().filter(|c| self.treatment(*c) == Treatment::Encrypt) {
                whys.overrule(category, Basis::Silent);
            }
            Self::reasoned(self.treatments.map(leave_out), self.policies.clone(), whys)
        })
    }

    /// Whether nothing is treated at all.
    pub fn shows_all(&self) -> bool {
        self.treatments.iter().all(|t| *t == Treatment::Show)
    }

    /// The categories treated with `Show`.
    pub fn shown(&self) -> CategorySet {
        Category::ALL.into_iter().filter(|c| self.treatment(*c) == Treatment::Show).collect()
    }

    /// The ids of the policies that determined it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Why elements of `category` are treated so.
    pub fn why(&self, category: Category) -> Option<&Arc<Why>> {
        self.whys.of(category)
    }

    /// The same where something of the record is hidden that no category says: the carriers could repeat it.
    #[must_use]
    pub fn without_carriers(&self) -> Plan {
        let mut plan = self.clone();
        for category in Category::ALL.into_iter().filter(|c| c.is_carrier()) {
            if plan.treatment(category) != Treatment::Redact {
                plan.treatments[category.index()] = Treatment::Redact;
                plan.whys.overrule(category, Basis::Carrier);
            }
        }
        plan
    }

    /// For a contained resource: the stricter of its own and its container's treatment, category by category.
    #[must_use]
    pub fn stricter(&self, other: &Plan) -> Plan {
        let mut treatments = self.treatments;
        let mut whys = self.whys.clone();
        for category in Category::ALL {
            let treatment = &mut treatments[category.index()];
            let stricter = treatment.stricter(other.treatment(category));
            if stricter != *treatment {
                *treatment = stricter;
                whys.overrule(category, Basis::Container);
            }
        }
        let mut policies = self.policies.clone();
        policies.extend(other.policies.iter().cloned());
        policies.sort();
        policies.dedup();
        Plan::reasoned(treatments, policies, whys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carriers_are_redacted_as_soon_as_anything_is_hidden() {
        let mut treatments = [Treatment::Show; Category::COUNT];
        assert!(Plan::new(treatments, vec![]).shows_all());
        treatments[Category::Identifier.index()] = Treatment::Redact;
        let plan = Plan::new(treatments, vec![]);
        for category in Category::ALL {
            let hidden = category.is_carrier() || category == Category::Identifier;
            assert_eq!(plan.treatment(category) == Treatment::Redact, hidden, "{category}");
        }
    }

    #[test]
    fn a_treatment_that_a_category_cannot_bear_redacts_it() {
        let mut treatments = [Treatment::Show; Category::COUNT];
        treatments[Category::Diagnosis.index()] = Treatment::Pseudonymize;
        treatments[Category::RecordId.index()] = Treatment::Encrypt;
        let plan = Plan::new(treatments, vec![]);
        assert_eq!(plan.treatment(Category::Diagnosis), Treatment::Redact);
        assert_eq!(plan.treatment(Category::RecordId), Treatment::Redact);
    }
}
