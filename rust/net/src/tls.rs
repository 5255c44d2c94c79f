//! Whom we trust: the system's certificates, or a bundle in their place.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Why no TLS configuration could be made.
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
    /// There was nothing in it, or nothing on the system.
    #[error("{0} has no certificate that could be used")]
    Empty(String),
    /// rustls refused.
    #[error("TLS could not be set up: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A client configuration that offers HTTP/2 and trusts `bundle`, or the system's store.
///
/// # Errors
/// When the bundle, or the system's store, has nothing that can be used.
pub fn client_config(bundle: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    match bundle {
        Some(path) => with_roots(bundle_roots(path)?),
        None => system_config(),
    }
}

/// The system's store takes milliseconds to parse: once while anybody uses it.
fn system_config() -> Result<Arc<ClientConfig>, TrustError> {
    static SYSTEM: Mutex<Weak<ClientConfig>> = Mutex::new(Weak::new());
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(config) = system.upgrade() {
        return Ok(config);
    }
    let mut roots = RootCertStore::empty();
    // A system's store may hold certificates that webpki cannot parse; the others are enough.
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
