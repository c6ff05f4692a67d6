//! Patches, applied to the record as its caller is shown it: JSON Patch (RFC 6902) and FHIRPath Patch (R4 fhirpatch).
//!
//! Numbers keep their digits. What a path does not find is answered alike, whether it is hidden or not there.

mod fhirpath;
mod pointer;
mod tree;

pub use fhirpath::fhirpath;
pub use pointer::json;
use tree::Tree;

/// Why a patch is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct PatchFault {
    /// What, in the caller's terms.
    pub what: String,
    /// The patch is understood and does not fit the record (422), rather than not understood (400).
    pub unprocessable: bool,
}

/// More operations than this are not taken in one patch.
const OPERATIONS_MAX: usize = 1_000;

/// What a patch may do to the size of a record, and how deep it may nest.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    depth_max: usize,
    bytes_max: usize,
}

impl Bounds {
    /// Copies could double a record with every operation.
    fn holds(self, tree: &Tree) -> Result<(), PatchFault> {
        if tree.bytes() > self.bytes_max {
            return Err(unfit(format!("the patched record is larger than {} bytes", self.bytes_max)));
        }
        if tree.depth() > self.depth_max {
            return Err(unfit(format!("the patched record nests deeper than {}", self.depth_max)));
        }
        Ok(())
    }
}

fn misread(what: impl Into<String>) -> PatchFault {
    PatchFault { what: what.into(), unprocessable: false }
}

fn unfit(what: impl Into<String>) -> PatchFault {
    PatchFault { what: what.into(), unprocessable: true }
}

/// The record with that id, for one that was sent without.
pub fn with_id(record: &[u8], id: &str, depth_max: usize) -> Result<Vec<u8>, PatchFault> {
    let mut tree = Tree::read(record, depth_max)?;
    let Tree::Object(members) = &mut tree else { return Err(misread("the body is not an object")) };
    let behind = members.iter().position(|(name, _)| name == "resourceType").map_or(0, |place| place + 1);
    members.insert(behind, ("id".to_owned(), Tree::string(id)));
    Ok(tree.to_json())
}
