//! Why each category of a record is treated as it is: what policies said, rung by rung, or which rule of Drape's own.

use std::sync::Arc;

use crate::category::Category;
use crate::treatment::Treatment;

/// Why one category is treated as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Why {
    /// What it rests on.
    pub basis: Basis,
    /// Ids of the policies that permit the treatment, sorted; none where it rests on something else.
    pub policies: Vec<String>,
    /// The more revealing treatments that were asked for first.
    pub refused: Vec<RefusedRung>,
}

/// A treatment that policy did not permit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RefusedRung {
    /// The treatment.
    pub rung: Treatment,
    /// Ids of the policies that forbid it, sorted; none where nothing permits it.
    pub policies: Vec<String>,
    /// Whether a policy erred, which ends the asking.
    pub erred: bool,
}

/// What a treatment rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Basis {
    /// Policies permit it.
    Permitted,
    /// Nothing that would show more is permitted.
    #[default]
    Refused,
    /// A policy erred, and an error is a no.
    Erred,
    /// Something else of the record is hidden, and this could repeat it.
    Carrier,
    /// The category cannot bear what policy permits.
    Unfit,
    /// The record around it is treated more strictly.
    Container,
    /// It would be sealed, and nothing may show that anything is there.
    Silent,
}

impl Basis {
    /// The word for it in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permitted => "permitted",
            Self::Refused => "refused",
            Self::Erred => "erred",
            Self::Carrier => "carrier",
            Self::Unfit => "unfit",
            Self::Container => "container",
            Self::Silent => "silent",
        }
    }
}

/// The reasons of one plan. Categories of which the same is to be said share it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whys {
    distinct: Vec<Arc<Why>>,
    of: [u8; Category::COUNT],
}

impl Default for Whys {
    fn default() -> Self {
        Self { distinct: vec![Arc::default()], of: [0; Category::COUNT] }
    }
}

impl Whys {
    /// Why `category` is treated as it is.
    pub fn of(&self, category: Category) -> Option<&Arc<Why>> {
        self.distinct.get(usize::from(self.of[category.index()]))
    }

    /// Says why of one category.
    pub fn set(&mut self, category: Category, why: Why) {
        let place = self.distinct.iter().position(|known| **known == why).unwrap_or_else(|| {
            self.distinct.push(Arc::new(why));
            self.distinct.len() - 1
        });
        // Each category changes its reason a few times at most, far fewer than would overflow.
        self.of[category.index()] = u8::try_from(place).unwrap_or(0);
    }

    /// Something else decides than policy, which had permitted more.
    pub(crate) fn overrule(&mut self, category: Category, basis: Basis) {
        let refused = self.of(category).map(|why| why.refused.clone()).unwrap_or_default();
        self.set(category, Why { basis, policies: Vec::new(), refused });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_of_which_the_same_is_to_be_said_share_it() {
        let mut whys = Whys::default();
        let permitted = || Why { basis: Basis::Permitted, policies: vec!["p".into()], refused: Vec::new() };
        for category in Category::ALL {
            whys.set(category, permitted());
        }
        assert_eq!(whys.distinct.len(), 2);
        assert!(Category::ALL.into_iter().all(|c| whys.of(c).is_some_and(|w| **w == permitted())));
        whys.overrule(Category::Narrative, Basis::Carrier);
        let narrative = whys.of(Category::Narrative).unwrap();
        assert_eq!((narrative.basis, narrative.policies.len()), (Basis::Carrier, 0));
        assert_eq!(whys.of(Category::Diagnosis).unwrap().policies, ["p"]);
    }
}
