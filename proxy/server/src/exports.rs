//! The links of a bulk export as sealed, stateless handles: bound to the caller who began it, and expiring.

use drape_fhir::definitions::r4;
use drape_keys::handle::{self, HandleError, HandleKey};
use drape_view::Caller;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::page::owner;

/// What stands in the address of an export: everything needed to judge it afresh each time it is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The kick-off as the caller asked it, path and query below the base.
    #[serde(rename = "k")]
    pub address: String,
    /// Its parameters stood in a body.
    #[serde(rename = "b")]
    pub posted: bool,
    /// Where the upstream tells how far it is, relative to its base where it lies there; none where nothing can match.
    #[serde(rename = "s")]
    pub status: Option<String>,
    /// The types that were granted: a bit for each of R4's, in their order, so that all of them take little room.
    #[serde(rename = "t")]
    types: String,
}

/// What stands in the address of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Of which export.
    #[serde(rename = "j")]
    pub job: Job,
    /// The type of its records.
    #[serde(rename = "r")]
    pub resource_type: String,
    /// Which of the upstream's files of that type; none for all of them, one after the other.
    #[serde(rename = "n")]
    pub place: Option<usize>,
}

impl Job {
    /// An export of these types.
    pub fn new(address: String, posted: bool, status: Option<String>, types: &[String]) -> Self {
        let digits: Vec<bool> = r4().resource_types().map(|t| types.iter().any(|g| g == t)).collect();
        let types = digits
            .chunks(4)
            .map(|bits| bits.iter().rev().fold(0, |digit, bit| digit * 2 + u32::from(*bit)))
            .filter_map(|digit| char::from_digit(digit, 16))
            .collect();
        Self { address, posted, status, types }
    }

    /// The types that were granted.
    pub fn types(&self) -> Vec<&'static str> {
        let digits: Vec<u32> = self.types.chars().filter_map(|c| c.to_digit(16)).collect();
        let granted = |n: usize| digits.get(n / 4).is_some_and(|digit| digit >> (n % 4) & 1 == 1);
        r4().resource_types().enumerate().filter(|(n, _)| granted(*n)).map(|(_, t)| t).collect()
    }
}

/// Seals and opens the handles of one tenant.
#[derive(Debug)]
pub struct Exports {
    key: HandleKey,
    public_base: String,
    lifetime_ms: u64,
}

impl Exports {
    /// With the tenant's key for them; replicas that share the root key open each other's.
    pub fn new(key: HandleKey, public_base: &str, lifetime_ms: u64) -> Self {
        Self { key, public_base: public_base.to_owned(), lifetime_ms }
    }

    /// The public address of an export.
    pub fn seal_job(&self, job: &Job, caller: &Caller, now_ms: u64) -> Option<String> {
        self.seal("_export", job, caller, now_ms)
    }

    /// The public address of one of its files.
    pub fn seal_file(&self, file: &File, caller: &Caller, now_ms: u64) -> Option<String> {
        self.seal("_export-file", file, caller, now_ms)
    }

    /// The export that a handle stands for, if it is this caller's and has not expired.
    pub fn open_job(&self, text: &str, caller: &Caller, now_ms: u64) -> Result<Job, HandleError> {
        self.open(text, caller, now_ms)
    }

    /// The file that a handle stands for, if it is this caller's and has not expired.
    pub fn open_file(&self, text: &str, caller: &Caller, now_ms: u64) -> Result<File, HandleError> {
        self.open(text, caller, now_ms)
    }

    fn seal<T: Serialize>(&self, what: &str, of: &T, caller: &Caller, now_ms: u64) -> Option<String> {
        let plain = serde_json::to_vec(of).ok()?;
        let sealed = handle::seal(&self.key, &owner(caller), &plain, now_ms, self.lifetime_ms).ok()?;
        Some(format!("{}/{what}/{sealed}", self.public_base))
    }

    fn open<T: DeserializeOwned>(&self, text: &str, caller: &Caller, now_ms: u64) -> Result<T, HandleError> {
        let plain = handle::open(&self.key, &owner(caller), text, now_ms)?;
        serde_json::from_slice(&plain).map_err(|_| HandleError::Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_granted_types_take_little_room_and_are_read_again() {
        let all: Vec<String> = r4().resource_types().map(str::to_owned).collect();
        for types in [&all[..], &all[3..9], &all[145..], &[]] {
            let job = Job::new("/$export".into(), false, None, types);
            assert_eq!(job.types(), types);
            let text = serde_json::to_string(&job).unwrap();
            assert!(text.len() < 120, "{text}");
            assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
            let file = File { job, resource_type: "Patient".into(), place: Some(1) };
            let text = serde_json::to_string(&file).unwrap();
            assert!(serde_json::from_str::<Job>(&text).is_err(), "a file is no export");
        }
    }
}
