//! The classes of FHIR elements that policies speak of, and the tree they stand in (design 2.1).

use std::fmt;

use crate::fault::near;

/// A class of FHIR elements. The leaves of the catalogue's tree; every element belongs to exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Category {
    /// HumanName of patients and related persons; display of references to them.
    PersonName,
    /// Patient-side business identifiers, `Reference.identifier`, subscriber ids, accessions.
    Identifier,
    /// Telephone, e-mail, fax of the patient side.
    Contact,
    /// Street, city, district, full postal code, position.
    Address,
    /// Photographs and other likenesses.
    Image,
    /// UDI, serial numbers, network addresses, `meta.source`.
    DeviceNetwork,
    /// Signatures.
    Signature,
    /// Logical ids and `fullUrl`.
    RecordId,
    /// References to Patient, RelatedPerson, Person and Group.
    PatientLink,
    /// References to any other clinical or business record.
    RecordLink,
    /// Date of birth.
    BirthDate,
    /// Whether and when the patient died.
    Death,
    /// When something happened to the patient.
    EventDate,
    /// When something was written down.
    RecordedDate,
    /// State, country.
    Region,
    /// Gender, marital status, language, race and ethnicity.
    Demographics,
    /// Diagnoses and problems.
    Diagnosis,
    /// What was done or ordered.
    Service,
    /// Medicines.
    Medication,
    /// What was measured.
    FindingCode,
    /// What the measurement gave.
    FindingValue,
    /// Genomic data.
    Genomic,
    /// `text.div`.
    Narrative,
    /// Annotations, markdown, free strings, `CodeableConcept.text`.
    Note,
    /// Attachments and binaries.
    Document,
    /// Answers to questionnaires.
    Answer,
    /// Money, coverage, claims.
    Financial,
    /// Practitioners, organizations, locations: names and references.
    Staff,
    /// What gives a record its shape: resourceType, status codes, link ids, booleans, versions.
    Structure,
    /// `meta.security`, `meta.tag`.
    Label,
    /// What the definitions do not know, and extensions not listed by URL.
    Unknown,
}

/// An inner node of the tree; Cedar policies may name these as well as leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The name in policies.
    pub name: &'static str,
    /// The groups this one stands in.
    pub parents: &'static [&'static str],
}

/// Every inner node. `unknown` stands outside `all` on purpose: a rule about `all` never reaches it.
pub const GROUPS: &[Group] = &[
    Group { name: "all", parents: &[] },
    Group { name: "direct-identifier", parents: &["all"] },
    Group { name: "link", parents: &["all"] },
    Group { name: "quasi-identifier", parents: &["all"] },
    Group { name: "date", parents: &["all"] },
    Group { name: "clinical", parents: &["all"] },
    Group { name: "text", parents: &["all"] },
    Group { name: "business", parents: &["all"] },
    Group { name: "technical", parents: &["all"] },
];

impl Category {
    /// How many there are.
    pub const COUNT: usize = 31;

    /// All, in the order of the catalogue.
    pub const ALL: [Category; Self::COUNT] = [
        Self::PersonName,
        Self::Identifier,
        Self::Contact,
        Self::Address,
        Self::Image,
        Self::DeviceNetwork,
        Self::Signature,
        Self::RecordId,
        Self::PatientLink,
        Self::RecordLink,
        Self::BirthDate,
        Self::Death,
        Self::EventDate,
        Self::RecordedDate,
        Self::Region,
        Self::Demographics,
        Self::Diagnosis,
        Self::Service,
        Self::Medication,
        Self::FindingCode,
        Self::FindingValue,
        Self::Genomic,
        Self::Narrative,
        Self::Note,
        Self::Document,
        Self::Answer,
        Self::Financial,
        Self::Staff,
        Self::Structure,
        Self::Label,
        Self::Unknown,
    ];

    /// The name in policies and YAML files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PersonName => "person-name",
            Self::Identifier => "identifier",
            Self::Contact => "contact",
            Self::Address => "address",
            Self::Image => "image",
            Self::DeviceNetwork => "device-network",
            Self::Signature => "signature",
            Self::RecordId => "record-id",
            Self::PatientLink => "patient-link",
            Self::RecordLink => "record-link",
            Self::BirthDate => "birth-date",
            Self::Death => "death",
            Self::EventDate => "event-date",
            Self::RecordedDate => "recorded-date",
            Self::Region => "region",
            Self::Demographics => "demographics",
            Self::Diagnosis => "diagnosis",
            Self::Service => "service",
            Self::Medication => "medication",
            Self::FindingCode => "finding-code",
            Self::FindingValue => "finding-value",
            Self::Genomic => "genomic",
            Self::Narrative => "narrative",
            Self::Note => "note",
            Self::Document => "document",
            Self::Answer => "answer",
            Self::Financial => "financial",
            Self::Staff => "staff",
            Self::Structure => "structure",
            Self::Label => "label",
            Self::Unknown => "unknown",
        }
    }

    /// The leaf of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// The help line for a name that is no leaf. Only leaves can be given to elements; groups are for policies.
    pub fn meant(name: &str) -> String {
        match near(name, Self::ALL.map(Self::name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if GROUPS.iter().any(|g| g.name == name) => {
                format!("`{name}` is a group for policies; name one of the categories in it")
            }
            None => "the categories are listed in docs/architecture.md".to_owned(),
        }
    }

    /// The groups this leaf stands in directly.
    pub const fn parents(self) -> &'static [&'static str] {
        match self {
            Self::PersonName
            | Self::Identifier
            | Self::Contact
            | Self::Address
            | Self::Image
            | Self::DeviceNetwork
            | Self::Signature => &["direct-identifier"],
            Self::RecordId | Self::PatientLink => &["link", "direct-identifier"],
            Self::RecordLink => &["link"],
            Self::BirthDate | Self::Death | Self::EventDate | Self::RecordedDate => {
                &["quasi-identifier", "date"]
            }
            Self::Region | Self::Demographics => &["quasi-identifier"],
            Self::Diagnosis
            | Self::Service
            | Self::Medication
            | Self::FindingCode
            | Self::FindingValue
            | Self::Genomic => &["clinical"],
            Self::Narrative | Self::Note | Self::Document | Self::Answer => &["text"],
            Self::Financial | Self::Staff => &["business"],
            Self::Structure | Self::Label => &["technical"],
            Self::Unknown => &[],
        }
    }

    /// Whether elements of this class can repeat what any other class says (design 2.3, carriers).
    pub const fn is_carrier(self) -> bool {
        matches!(self, Self::Narrative | Self::Note | Self::Document | Self::Unknown)
    }

    /// Whether elements of this class are logical ids or references, which pseudonyms can stand for.
    pub const fn is_link(self) -> bool {
        matches!(self, Self::RecordId | Self::PatientLink | Self::RecordLink)
    }

    /// The place in [`Category::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CategorySet(u64);

impl CategorySet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All of them.
    pub const FULL: Self = Self((1 << Category::COUNT) - 1);

    /// With `category` added.
    #[must_use]
    pub const fn with(self, category: Category) -> Self {
        Self(self.0 | 1 << category.index())
    }

    /// Adds `category`.
    pub const fn insert(&mut self, category: Category) {
        self.0 |= 1 << category.index();
    }

    /// Whether `category` is in.
    pub const fn contains(self, category: Category) -> bool {
        self.0 & (1 << category.index()) != 0
    }

    /// All that is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in.
    pub const fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether nothing is in.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in catalogue order.
    pub fn iter(self) -> impl Iterator<Item = Category> {
        Category::ALL.into_iter().filter(move |c| self.contains(*c))
    }
}

impl FromIterator<Category> for CategorySet {
    fn from_iter<I: IntoIterator<Item = Category>>(iter: I) -> Self {
        iter.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_listed_once_and_found_by_its_name() {
        for (place, category) in Category::ALL.into_iter().enumerate() {
            assert_eq!(category.index(), place);
            assert_eq!(Category::parse(category.name()), Some(category));
        }
        assert_eq!(CategorySet::FULL.iter().count(), Category::COUNT);
    }

    #[test]
    fn every_parent_is_a_known_group_and_unknown_has_none() {
        for category in Category::ALL {
            for parent in category.parents() {
                assert!(GROUPS.iter().any(|g| g.name == *parent), "{category} in {parent}");
            }
        }
        assert!(Category::Unknown.parents().is_empty());
    }
}
