//! Which certificates are trusted (the system's, or a bundle in their place), and what a failed
//! handshake means.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dgsm_leg::reason::Reason;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::failure::{Failure, FailureKind};

/// Why there is no TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The bundle could not be read.
    #[error("the CA bundle {path} could not be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The bundle, or the system's store, has no usable certificate.
    #[error("{0} has no certificate that could be used")]
    Empty(String),
    /// rustls refused the configuration.
    #[error("TLS could not be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Returns a client configuration that offers HTTP/2 and trusts `bundle`, or the system's store.
///
/// # Errors
/// When the bundle, or the system's store, has no usable certificate.
pub fn client_config(bundle: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    match bundle {
        Some(path) => with_roots(bundle_roots(path)?),
        None => system_config(),
    }
}

/// Returns the configuration for the system's store. Parsing the store takes milliseconds, so the
/// configuration is shared while it is in use.
fn system_config() -> Result<Arc<ClientConfig>, TrustError> {
    static SYSTEM: Mutex<Weak<ClientConfig>> = Mutex::new(Weak::new());
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = system.upgrade() {
        return Ok(config);
    }
    let mut roots = RootCertStore::empty();
    // A system's store may hold certificates that webpki cannot parse. The others are enough.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(TrustError::Empty("the system's certificate store".into()));
    }
    let config = with_roots(roots)?;
    *system = Arc::downgrade(&config);
    Ok(config)
}

fn bundle_roots(path: &Path) -> Result<RootCertStore, TrustError> {
    let unreadable = |reason: String| TrustError::Unreadable {
        path: path.display().to_string(),
        reason,
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| unreadable(error.to_string()))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(TrustError::Empty(format!(
            "the CA bundle {}",
            path.display()
        )));
    }
    Ok(roots)
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Judges an error of a TLS handshake.
pub(crate) fn verdict(error: &std::io::Error) -> (FailureKind, Reason) {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        // No TLS error: TCP broke or was closed.
        return (FailureKind::Connect, Reason::HandshakeCut);
    };
    match tls {
        rustls::Error::InvalidCertificate(error) => (FailureKind::TlsVerify, certificate(error)),
        rustls::Error::NoCertificatesPresented => (FailureKind::TlsVerify, Reason::TlsCertificate),
        // The proper refusal of a peer without HTTP/2.
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            (FailureKind::Http2, Reason::NoHttp2)
        }
        rustls::Error::AlertReceived(alert) if is_final(*alert) => {
            (FailureKind::Tls, Reason::TlsRefused)
        }
        rustls::Error::PeerIncompatible(_) => (FailureKind::Tls, Reason::TlsRefused),
        rustls::Error::InvalidMessage(_) => (FailureKind::Tls, Reason::NotTls),
        _ => (FailureKind::Tls, Reason::Tls),
    }
}

/// Judges an alert that comes after this side has finished the handshake: in TLS 1.3 the server
/// checks the client's part only then. `None`: it is no alert, or one that may pass.
pub(crate) fn refused_late(error: &std::io::Error) -> Option<Failure> {
    let (kind, reason) = verdict(error);
    (reason == Reason::TlsRefused).then(|| Failure::new(kind, error.to_string()).because(reason))
}

fn certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::TlsExpired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Reason::TlsName
        }
        // A trusted authority has this name and another key: the certificate is from another one.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Reason::TlsIssuer,
        // webpki's text: rustls has no variant for it.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            Reason::TlsOwnAuthority
        }
        _ => Reason::TlsCertificate,
    }
}

/// Returns whether the other side would send the same alert again.
const fn is_final(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::InappropriateFallback
            | AlertDescription::MissingExtension
            | AlertDescription::UnsupportedExtension
            | AlertDescription::UnrecognisedName
            | AlertDescription::AccessDenied
            | AlertDescription::UnknownCA
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
    )
}
