//! A certificate authority for one run of a server, and the server's certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Apple's verifier refuses certificates that are valid for more than 825 days.
const VALID_FOR: Duration = Duration::from_secs(397 * 86_400);
/// Allows for a client's clock that is behind.
const VALID_SINCE: Duration = Duration::from_secs(86_400);

/// Why no certificates could be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A name cannot be in a certificate, or no key could be generated.
    #[error("the server's certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refuses the certificate.
    #[error("the server's TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The authority's public part, and the server's TLS configuration under it.
///
/// The authority's key is dropped after its one signature, so no further certificate can be made
/// that a client of this server would trust.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pub(crate) ca_pem: String,
    pub(crate) tls: Arc<ServerConfig>,
}

impl Authority {
    /// Makes an authority, and a certificate for `names` (host names and IP addresses).
    pub(crate) fn issue(names: Vec<String>, now: SystemTime) -> Result<Self, AuthorityError> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.distinguished_name = distinguished_name("deepgram-sagemaker local endpoint CA");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut ca, now);
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let leaf_key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(names)?;
        leaf.distinguished_name = distinguished_name("deepgram-sagemaker local endpoint");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python verifies strictly: it refuses a chain without key identifiers.
        leaf.use_authority_key_identifier_extension = true;
        set_validity(&mut leaf, now);
        let certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?;

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
            )?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            ca_pem,
            tls: Arc::new(tls),
        })
    }
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(certificate: &mut CertificateParams, now: SystemTime) {
    certificate.not_before = (now - VALID_SINCE).into();
    certificate.not_after = (now + VALID_FOR).into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_is_its_own() {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let one = Authority::issue(names.clone(), SystemTime::now()).unwrap();
        let other = Authority::issue(names, SystemTime::now()).unwrap();
        assert!(one.ca_pem.starts_with("-----BEGIN CERTIFICATE-----"));
        assert_ne!(one.ca_pem, other.ca_pem);
        assert_eq!(one.tls.alpn_protocols, [b"h2".to_vec()]);
    }

    #[test]
    fn a_name_that_no_certificate_can_carry_is_an_error() {
        let error = Authority::issue(vec!["smörgås".to_owned()], SystemTime::now()).unwrap_err();
        assert!(matches!(error, AuthorityError::Certificate(_)), "{error}");
    }
}
