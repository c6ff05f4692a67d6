//! Time and chance, handed in so that tests can hold them still.

use jiff::Timestamp;

/// Where the store and the issuer get the time and their random numbers from.
pub struct Ambient {
    /// The present moment.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// 128 random bits; `None` where the source fails.
    pub random: Box<dyn Fn() -> Option<u128> + Send + Sync>,
}

impl Ambient {
    /// The clock and the random source of the machine.
    pub fn system() -> Self {
        Self {
            now: Box::new(Timestamp::now),
            random: Box::new(|| {
                let mut bytes = [0; 16];
                aws_lc_rs::rand::fill(&mut bytes).ok()?;
                Some(u128::from_le_bytes(bytes))
            }),
        }
    }
}

/// The form of a version 4 UUID (RFC 9562).
pub(crate) fn uuid(bits: u128) -> String {
    let bits = (bits & !(0xf000 << 64) & !(0b11 << 62)) | (0x4000 << 64) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_say_their_version_and_variant() {
        assert_eq!(uuid(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
