//! What can be done to an element, from showing it to leaving it out (design 2.3).

use crate::category::Category;

/// How far a generalised value is coarsened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coarsening {
    /// Dates and times to the year; instants, which FHIR cannot shorten, leave; ages over 89 become "90 or more";
    /// a birth date that makes its owner older than 89 leaves, and so does any date so long ago that whom it is about
    /// must be older (45 CFR 164.514(b)(2)(i)(C)).
    Year,
    /// Of an address only the town and the postal code; its state and country are `region` (45 CFR 164.514(e)(2)(ii)).
    City,
    /// Of an address only the first three digits of the postal code, `000` where fewer than 20,000 people share
    /// them (45 CFR 164.514(b)(2)(i)(B)).
    Zip3,
    /// Of `deceased[x]` only whether, not when.
    Flag,
}

/// What is done to the elements of one category in one record. Ordered from most to least revealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Treatment {
    /// Byte for byte as the upstream sent it.
    Show,
    /// Coarsened.
    Generalize(Coarsening),
    /// Replaced by a keyed pseudonym that is the same wherever the same thing is named.
    Pseudonymize,
    /// Sealed; whoever holds the patient's key can open it.
    Encrypt,
    /// Left out.
    Redact,
}

impl std::fmt::Display for Treatment {
    /// As `treatments.yaml` writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Generalize(Coarsening::Year) => f.write_str("generalize: year"),
            Self::Generalize(Coarsening::Zip3) => f.write_str("generalize: zip3"),
            Self::Generalize(Coarsening::Flag) => f.write_str("generalize: flag"),
            other => f.write_str(other.name()),
        }
    }
}

impl Treatment {
    /// The word for it in policies (a Cedar action), logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Show => "show",
            Self::Generalize(_) => "generalize",
            Self::Pseudonymize => "pseudonymize",
            Self::Encrypt => "encrypt",
            Self::Redact => "redact",
        }
    }

    /// The place among the five, 0 being the most revealing.
    pub const fn rank(self) -> usize {
        match self {
            Self::Show => 0,
            Self::Generalize(_) => 1,
            Self::Pseudonymize => 2,
            Self::Encrypt => 3,
            Self::Redact => 4,
        }
    }

    /// The stricter of two treatments of the same category.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if self.rank() == other.rank() {
            self.max(other)
        } else if self.rank() > other.rank() {
            self
        } else {
            other
        }
    }

    /// Whether this treatment can be carried out on elements of `category` at all.
    pub const fn fits(self, category: Category) -> bool {
        match self {
            Self::Show | Self::Redact => true,
            Self::Generalize(Coarsening::Year) => {
                matches!(
                    category,
                    Category::BirthDate | Category::EventDate | Category::RecordedDate | Category::Death
                )
            }
            Self::Generalize(Coarsening::City | Coarsening::Zip3) => matches!(category, Category::Address),
            Self::Generalize(Coarsening::Flag) => matches!(category, Category::Death),
            Self::Pseudonymize => category.is_link() || matches!(category, Category::Identifier),
            Self::Encrypt => {
                !category.is_link() && !matches!(category, Category::Structure | Category::Label)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stricter_of_two_treatments_wins_whatever_their_order() {
        let show = Treatment::Show;
        let year = Treatment::Generalize(Coarsening::Year);
        assert_eq!(show.stricter(year), year);
        assert_eq!(year.stricter(show), year);
        assert_eq!(Treatment::Encrypt.stricter(Treatment::Redact), Treatment::Redact);
        let [city, zip3] = [Coarsening::City, Coarsening::Zip3].map(Treatment::Generalize);
        assert_eq!((city.stricter(zip3), zip3.stricter(city)), (zip3, zip3));
    }
}
