//! FHIR XML made from FHIR JSON that was already shielded: what is not in those bytes cannot be in the XML either.
//!
//! R4's rules (<http://hl7.org/fhir/R4/xml.html>, <http://hl7.org/fhir/R4/json.html>), strictly: elements in the order
//! of the definitions, values in `@value` to the letter, `id` of data types and `Extension.url` as attributes,
//! narrative as XHTML. What R4 does not define, or XML 1.0 cannot carry, is a fault and never left out.

mod element;
mod layout;
mod text;
mod tree;
mod writer;
mod xhtml;

pub use writer::{Limits, XmlWriter};

use crate::json::JsonError;

/// Why a document cannot be written as FHIR XML. No value of the document is in any of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// It is not strict JSON.
    #[error("the document is not acceptable JSON: {0}")]
    Json(#[from] JsonError),
    /// It has no `resourceType`, or one that R4 does not have.
    #[error("there is no resource of an R4 type in `{0}`")]
    NoResource(&'static str),
    /// Typically a vendor's own member, or one of another version of FHIR.
    #[error("R4 has no member `{name}` in `{within}`")]
    Unknown {
        /// The path of the element or type in which it stands.
        within: &'static str,
        /// Its name, cut to 64 characters.
        name: String,
    },
    /// An object where a plain value belongs, a list where one value belongs, a `null`.
    #[error("`{name}` in `{within}` is {what}")]
    Shape {
        /// The path of the element or type in which it stands.
        within: &'static str,
        /// The member, as R4 names it.
        name: &'static str,
        /// What it is and should not be.
        what: &'static str,
    },
    /// U+0000 to U+001F but for tab and line ends, U+FFFE and U+FFFF.
    #[error("`{name}` in `{within}` holds a character that XML 1.0 cannot carry")]
    Character {
        /// The path of the element or type in which it stands.
        within: &'static str,
        /// The member.
        name: &'static str,
    },
    /// Narrative that is not well-formed XHTML.
    #[error("a narrative is not XHTML: {0}")]
    Narrative(&'static str),
    /// A member of a long Bundle that XML wants before `entry` came after it.
    #[error("`{0}` came after the entries of a Bundle that is too long to be put in order")]
    Late(&'static str),
    /// A Bundle that must be held whole to be put in order, or one entry, is larger than may be held.
    #[error("more than {0} bytes would have to be held")]
    Held(usize),
}

/// Writes a document that is known whole.
///
/// # Errors
/// As [`XmlError`] tells; nothing is written then.
pub fn to_xml(json: &[u8], depth_max: usize) -> Result<Vec<u8>, XmlError> {
    let mut out = Vec::with_capacity(json.len());
    let mut writer =
        XmlWriter::new(Limits { depth_max, held_bytes_max: usize::MAX, ordered_bytes: usize::MAX });
    writer.feed(json, &mut out)?;
    writer.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests;
