//! The audit log: who asked for what, why, under which policy and what left, in a form nobody can quietly change.
//!
//! Each access is an IHE BALP AuditEvent. Its leaf in a public, signed RFC 6962 tree is only a salted commitment;
//! the event itself lies encrypted in the event store and can be erased without breaking the tree.
//!
//! | module | holds |
//! |---|---|
//! | [`event`] | what is entered, to and from FHIR JSON |
//! | [`leaf`] | the public, versioned commitment |
//! | [`seal`] | keys, encryption, commitments, blind index tags |
//! | [`store`] | the encrypted event store, which is the write-ahead log too |
//! | [`tree`], [`tiles`] | RFC 6962 hashing; the C2SP tlog-tiles directory |
//! | [`checkpoint`] | signed tree heads |
//! | [`proof`] | inclusion, consistency, receipts |
//! | [`log`] | the writer: group commit, integration, recovery |
//! | [`reader`] | tail and search |
//! | [`verify`] | the whole check, in plain language |
//!
//! On disk, under the log's directory: `checkpoint` and `tile/` are public and may be served as static files;
//! `events/` is encrypted and must not be served.

pub mod checkpoint;
pub mod disk;
pub mod event;
pub mod leaf;
pub mod log;
pub mod proof;
pub mod reader;
pub mod seal;
pub mod store;
pub mod tiles;
mod time;
pub mod tree;
pub mod verify;

pub use checkpoint::{Checkpoint, NoteSigner, VerifierKey};
pub use event::trace;
pub use event::{Class, Decision, Event, OutcomeCode, Stranger, Subject, Treated};
pub use log::{Closing, Erasure, Log, LogError, OpenError, Options, Slot, Status};
pub use reader::{Opened, Query, ReadError, Reader};
pub use seal::{EventSecret, Randomness, os_randomness};
pub use verify::{Exit, Fault, Report, verify};
