//! Sealed, stateless tokens: what a link carries so that only its owner can follow it, and only for a while.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::{Secret, length_prefixed};
use crate::{KeyError, xaes};

/// The key of a tenant's handles.
#[derive(Clone, Debug)]
pub struct HandleKey(Secret);

/// Why a handle does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Not made here, made for somebody else, or changed.
    #[error("the handle is not valid")]
    Forged,
    /// Its time is over.
    #[error("the handle has expired")]
    Expired,
}

impl HandleKey {
    /// From a derived secret.
    pub fn new(secret: Secret) -> Self {
        Self(secret)
    }
}

fn aad(owner: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = vec![b"handle/v1"];
    parts.extend_from_slice(owner);
    length_prefixed(&parts)
}

/// Seals `plain` for `owner` until `life_ms` from now.
pub fn seal(
    key: &HandleKey,
    owner: &[&[u8]],
    plain: &[u8],
    now_ms: u64,
    life_ms: u64,
) -> Result<String, KeyError> {
    let mut body = now_ms.saturating_add(life_ms).to_be_bytes().to_vec();
    body.extend_from_slice(plain);
    Ok(URL_SAFE_NO_PAD.encode(xaes::seal_fresh(&key.0, &aad(owner), &body)?))
}

/// What was sealed, if it was for this owner and its time is not over.
pub fn open(key: &HandleKey, owner: &[&[u8]], text: &str, now_ms: u64) -> Result<Vec<u8>, HandleError> {
    let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| HandleError::Forged)?;
    let body = xaes::open_fresh(&key.0, &aad(owner), &sealed).map_err(|_| HandleError::Forged)?;
    let (until, plain) = body.split_first_chunk::<8>().ok_or(HandleError::Forged)?;
    if now_ms >= u64::from_be_bytes(*until) {
        return Err(HandleError::Expired);
    }
    Ok(plain.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_opens_for_its_owner_until_it_expires_and_for_nobody_else() {
        let key = HandleKey::new(Secret::new([9; 32]));
        let text = seal(&key, &[b"iss", b"me"], b"page 2", 1_000, 500).unwrap();
        assert_eq!(open(&key, &[b"iss", b"me"], &text, 1_499).unwrap(), b"page 2");
        assert_eq!(open(&key, &[b"iss", b"me"], &text, 1_500), Err(HandleError::Expired));
        assert_eq!(open(&key, &[b"iss", b"you"], &text, 1_000), Err(HandleError::Forged));
        assert_eq!(open(&key, &[b"is", b"sme"], &text, 1_000), Err(HandleError::Forged));
        for cut in 0..text.len() {
            assert_eq!(open(&key, &[b"iss", b"me"], &text[..cut], 1_000), Err(HandleError::Forged));
        }
    }
}
