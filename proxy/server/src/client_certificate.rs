//! Client certificates: which authorities vouch for them, what names stand in them, and whom a tenant takes them for.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::callers::{CertificateName, CertificateRule};

/// The authorities that may vouch for clients, each by itself: which of them vouched for a certificate is told by asking
/// each.
#[derive(Debug)]
pub struct Authorities {
    all: Arc<dyn ClientCertVerifier>,
    each: Vec<([u8; 32], Arc<dyn ClientCertVerifier>)>,
}

/// The same authorities, asked of the same connections.
impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        let names = |a: &Self| a.each.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        names(self) == names(other) && self.all.client_auth_mandatory() == other.all.client_auth_mandatory()
    }
}

/// A certificate that was shown in a handshake and verified there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of all of it.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the certificates of the authorities that vouch for it.
    pub authorities: Vec<[u8; 32]>,
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uris: Vec<String>,
    /// The subject's common name, where there is exactly one.
    pub common_name: Option<String>,
    /// When it runs out, in seconds since the epoch.
    pub expires_at: u64,
}

/// More authorities than any listener needs; each connection asks all of them.
const AUTHORITIES_MAX: usize = 20;

impl Authorities {
    /// Reads them from a PEM file. `required`: a connection without a certificate is refused.
    pub fn read(file: &Path, required: bool) -> Result<Self, String> {
        let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<_, _>>)
            .map_err(|e| e.to_string())?;
        if certificates.is_empty() {
            return Err("it holds no certificate".into());
        }
        if certificates.len() > AUTHORITIES_MAX {
            return Err(format!("it holds more than {AUTHORITIES_MAX} certificates"));
        }
        let all = verifier(&certificates, required)?;
        let each = certificates
            .iter()
            .map(|c| Ok((Sha256::digest(c).into(), verifier(std::slice::from_ref(c), true)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self { all, each })
    }

    /// What verifies handshakes.
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.all)
    }

    /// What stands in the certificate of a client, the first of the chain that it showed. One that cannot be read makes
    /// nobody.
    pub fn read_shown(&self, chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let (own, between) = chain.split_first()?;
        let (_, parsed) = X509Certificate::from_der(own).ok()?;
        let now = UnixTime::now();
        let vouches =
            |verifier: &Arc<dyn ClientCertVerifier>| verifier.verify_client_cert(own, between, now).is_ok();
        let authorities = self.each.iter().filter(|(_, v)| vouches(v)).map(|(f, _)| *f).collect();
        let (mut dns, mut uris) = (Vec::new(), Vec::new());
        if let Some(names) = parsed.subject_alternative_name().ok()? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(name) => dns.push((*name).to_owned()),
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    _ => {}
                }
            }
        }
        let mut names = parsed.subject().iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (Some(one), None) => one.as_str().ok().map(str::to_owned),
            _ => None,
        };
        let expires_at = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        Some(ClientCertificate {
            fingerprint: Sha256::digest(own).into(),
            authorities,
            dns,
            uris,
            common_name,
            expires_at,
        })
    }
}

fn verifier(
    roots: &[CertificateDer<'static>],
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|e| e.to_string())
}

impl ClientCertificate {
    fn fits(&self, rule: &CertificateRule) -> bool {
        let by_name = match &rule.name {
            CertificateName::SanDns(name) => self.dns.contains(name),
            CertificateName::SanUri(uri) => self.uris.contains(uri),
            CertificateName::SubjectCn(name) => self.common_name.as_ref() == Some(name),
            // An SVID has exactly one URI (SPIFFE X.509-SVID, 2).
            CertificateName::Spiffe(id) => self.uris == [id.clone()],
        };
        by_name && rule.ca_fingerprint.is_none_or(|f| self.authorities.contains(&f))
    }
}

/// Whom a certificate makes. One that fits several rules could mean either, and makes nobody.
pub fn find<'a>(
    certificate: &ClientCertificate,
    rules: &'a [CertificateRule],
) -> Result<&'a CertificateRule, &'static str> {
    let mut fitting = rules.iter().filter(|rule| certificate.fits(rule));
    match (fitting.next(), fitting.next()) {
        (Some(rule), None) => Ok(rule),
        (Some(_), Some(_)) => Err("the client certificate fits several rules"),
        (None, _) => Err("the client certificate fits no rule"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::callers::CertificateCaller;

    fn rule(name: CertificateName, ca_fingerprint: Option<[u8; 32]>) -> CertificateRule {
        let caller = CertificateCaller {
            sub: "s".into(),
            name: None,
            client: None,
            organization: None,
            departments: Vec::new(),
            purposes: Vec::new(),
            scopes: None,
            purpose_header: None,
        };
        CertificateRule { name, ca_fingerprint, caller }
    }

    #[test]
    fn a_certificate_makes_whom_exactly_one_rule_takes_it_for() {
        let shown = ClientCertificate {
            fingerprint: [1; 32],
            authorities: vec![[2; 32]],
            dns: vec!["lab.example.org".into(), "lab2.example.org".into()],
            uris: vec!["spiffe://example.org/lab".into()],
            common_name: Some("lab".into()),
            expires_at: 0,
        };
        let fits = |name: CertificateName, ca| find(&shown, &[rule(name, ca)]).is_ok();
        let s = str::to_owned;
        assert!(fits(CertificateName::SanDns(s("lab2.example.org")), None));
        assert!(fits(CertificateName::Spiffe(s("spiffe://example.org/lab")), Some([2; 32])));
        assert!(fits(CertificateName::SubjectCn(s("lab")), None));
        for (name, ca) in [
            (CertificateName::SanDns(s("LAB2.example.org")), None),
            (CertificateName::SanDns(s("example.org")), None),
            (CertificateName::SanDns(s("lab")), None),
            (CertificateName::SanUri(s("spiffe://example.org/")), None),
            (CertificateName::SubjectCn(s("lab")), Some([3; 32])),
        ] {
            assert!(!fits(name.clone(), ca), "{name:?}");
        }
        let two = ClientCertificate {
            uris: vec![s("spiffe://example.org/lab"), s("spiffe://example.org/b")],
            ..shown.clone()
        };
        assert!(find(&two, &[rule(CertificateName::Spiffe(s("spiffe://example.org/lab")), None)]).is_err());
        let both = [
            rule(CertificateName::SubjectCn(s("lab")), None),
            rule(CertificateName::SanDns(s("lab.example.org")), None),
        ];
        assert_eq!(find(&shown, &both).unwrap_err(), "the client certificate fits several rules");
    }
}
