//! The certificate that a listener shows. A renewed one is shown to new connections, while those that are open go on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::client_certificate::Authorities;
use crate::config::ServerTls;
use crate::listen::ListenError;

/// What a listener shows, and how to exchange it.
#[derive(Debug)]
pub struct Certificate {
    shown: ArcSwap<Shown>,
}

/// One chain with its key, ready to serve.
#[derive(Debug)]
pub(crate) struct Shown {
    config: Arc<rustls::ServerConfig>,
    /// SHA-256 of the leaf, in hex.
    pub(crate) name: String,
    /// Who may vouch for the certificates of clients; `None`: none is asked for.
    pub(crate) authorities: Option<Arc<Authorities>>,
    /// From when to when it is valid, in seconds since the epoch, where that can be told.
    pub(crate) valid: Option<(i64, i64)>,
}

impl Certificate {
    /// Reads the files. One that has expired is taken at the start, and told: there is no other to go on with.
    pub(crate) fn open(files: &ServerTls) -> Result<Self, ListenError> {
        Ok(Self { shown: ArcSwap::from_pointee(read(files)?) })
    }

    /// What is shown now, to the next connection.
    pub(crate) fn shown(&self) -> Arc<Shown> {
        self.shown.load_full()
    }

    /// What stands in `files`, if it may take the place of what is shown. `None`: it is the same.
    pub(crate) fn candidate(&self, files: &ServerTls, now_s: i64) -> Result<Option<Shown>, String> {
        let next = read(files).map_err(|e| e.to_string())?;
        let same = |now: &Shown| next.name == now.name && next.authorities == now.authorities;
        if same(&self.shown.load()) {
            return Ok(None);
        }
        let place = files.certificate_file.display();
        match next.valid {
            None => Err(format!("`{place}`: it cannot be told until when the certificate is valid")),
            Some((_, until)) if until <= now_s => {
                Err(format!("`{place}`: the certificate expired at {}", when(until)))
            }
            Some((from, _)) if from > now_s => {
                Err(format!("`{place}`: the certificate is not valid before {}", when(from)))
            }
            Some(_) => Ok(Some(next)),
        }
    }

    /// Shows `next` from now on.
    pub(crate) fn show(&self, next: Shown) {
        self.shown.store(Arc::new(next));
    }
}

impl Shown {
    /// What makes a connection of a socket.
    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        tokio_rustls::TlsAcceptor::from(Arc::clone(&self.config))
    }
}

/// A moment, for messages.
pub(crate) fn when(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|t| t.to_string()).unwrap_or_default()
}

fn read(tls: &ServerTls) -> Result<Shown, ListenError> {
    let fault = |what: String| ListenError::Tls {
        certificate: tls.certificate_file.display().to_string(),
        key: tls.key_file.display().to_string(),
        what,
    };
    let chain = CertificateDer::pem_file_iter(&tls.certificate_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| fault(e.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key_file).map_err(|e| fault(e.to_string()))?;
    let leaf = chain.first().ok_or_else(|| fault("the file holds no certificate".into()))?;
    let name = Sha256::digest(leaf).iter().map(|b| format!("{b:02x}")).collect();
    let valid = validity(leaf);
    let authorities = match &tls.clients {
        None => None,
        Some(clients) => {
            Some(Arc::new(Authorities::read(&clients.ca_file, clients.required).map_err(|what| {
                ListenError::Clients { file: clients.ca_file.display().to_string(), what }
            })?))
        }
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Whether the key is the certificate's is checked here.
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| {
            match &authorities {
                Some(authorities) => b.with_client_cert_verifier(authorities.verifier()),
                None => b.with_no_client_auth(),
            }
            .with_single_cert(chain, key)
        })
        .map_err(|e| fault(e.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Shown { config: Arc::new(config), name, authorities, valid })
}

/// `Validity` of an X.509 certificate (RFC 5280 section 4.1.2.5), in seconds since the epoch.
fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, whole, _) = tlv(certificate)?;
    let (_, mut rest, _) = tlv(whole)?;
    // version (optional), serialNumber, signature, issuer
    for expected in [0xa0, 0x02, 0x30, 0x30] {
        let (tag, _, after) = tlv(rest)?;
        if tag == expected {
            rest = after;
        } else if expected != 0xa0 {
            return None;
        }
    }
    let (_, validity, _) = tlv(rest)?;
    let (tag, from, after) = tlv(validity)?;
    let from = moment(tag, from)?;
    let (tag, until, _) = tlv(after)?;
    Some((from, moment(tag, until)?))
}

/// The first DER element of `bytes`: its tag, its content, and what follows it.
fn tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.is_empty() || digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |all, digit| all << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// UTCTime or GeneralizedTime, to the second and in UTC, as RFC 5280 wants them.
fn moment(tag: u8, text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (0x17, 12) => {
            let (year, rest) = text.split_at(2);
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        (0x18, 14) => {
            let (year, rest) = text.split_at(4);
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let civil = jiff::civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that is valid in these years, and its key.
    pub(crate) fn pair(years: std::ops::Range<i32>) -> (String, String) {
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (parameters.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    fn put(folder: &std::path::Path, name: &str, certificate: &str, key: &str) -> ServerTls {
        let files = ServerTls {
            certificate_file: folder.join(format!("{name}.crt")),
            key_file: folder.join(format!("{name}.key")),
            clients: None,
        };
        std::fs::write(&files.certificate_file, certificate).unwrap();
        std::fs::write(&files.key_file, key).unwrap();
        files
    }

    #[test]
    fn a_pair_that_does_not_match_or_is_not_valid_now_never_takes_the_place_of_one_that_is() {
        let folder = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::now().as_second();
        let (first, second) = (pair(2020..2060), pair(2021..2061));
        let files = put(folder.path(), "a", &first.0, &first.1);
        let certificate = Certificate::open(&files).unwrap();
        assert!(certificate.candidate(&files, now).unwrap().is_none(), "the same is no change");
        let mixed = put(folder.path(), "mixed", &second.0, &first.1);
        assert!(certificate.candidate(&mixed, now).unwrap_err().contains("mixed.crt"));
        let (old, young) = (pair(2001..2002), pair(2055..2060));
        let old = put(folder.path(), "old", &old.0, &old.1);
        let error = certificate.candidate(&old, now).unwrap_err();
        assert!(error.contains("expired at 2002-01-01T00:00:00Z"), "{error}");
        let young = put(folder.path(), "young", &young.0, &young.1);
        let error = certificate.candidate(&young, now).unwrap_err();
        assert!(error.contains("is not valid before 2055-01-01"), "{error}");
        let empty = put(folder.path(), "empty", "", "");
        assert!(certificate.candidate(&empty, now).is_err());
        let renewed = put(folder.path(), "b", &second.0, &second.1);
        let next = certificate.candidate(&renewed, now).unwrap().unwrap();
        let before = certificate.shown().name.clone();
        certificate.show(next);
        assert_ne!(certificate.shown().name, before);
    }

    #[test]
    fn no_bytes_make_the_reader_of_validity_panic() {
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", b"\x30\x02\x30\x00"] {
            assert_eq!(validity(bytes), None);
        }
    }
}
