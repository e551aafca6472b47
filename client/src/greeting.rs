//! Inspects a TLS handshake: the certificate chain and the outcome, whether the chain is
//! trusted or not.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{self, CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::certificate::Certificate;
use crate::{ClientError, Dialer};

/// Maximum number of certificates of a chain that are parsed.
const LONGEST_CHAIN: usize = 16;

/// The result of a TLS handshake.
#[derive(Debug)]
pub struct Greeting {
    /// The chain that the service sent, its own certificate first, without malformed
    /// certificates.
    pub chain: Vec<Certificate>,
    /// Why the chain is not trusted; `None` also if the handshake failed before
    /// verification.
    pub objection: Option<CertificateError>,
    /// Whether the handshake succeeded.
    pub outcome: Result<(), ClientError>,
}

impl Dialer {
    /// Performs a TLS handshake with the host of `url` and closes the connection.
    ///
    /// # Errors
    /// When neither the system nor this dialer has a trusted certificate.
    pub async fn greet(&self, url: &Url) -> Result<Greeting, ClientError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::clone(&self.roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| ClientError::Protocol(error.to_string()))?;
        let recorder = Arc::new(Recorder {
            verifier,
            seen: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Protocol(error.to_string()))?
            .dangerous()
            // The recorder rejects everything that the inner verifier rejects.
            .with_custom_certificate_verifier(Arc::<Recorder>::clone(&recorder))
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let outcome = self.connect(url, &connector).await.map(|_| ());
        let mut seen = recorder.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Greeting {
            chain: std::mem::take(&mut seen.chain),
            objection: seen.objection.take(),
            outcome,
        })
    }
}

#[derive(Debug, Default)]
struct Seen {
    chain: Vec<Certificate>,
    objection: Option<CertificateError>,
}

/// Delegates to `verifier` and records the chain and its objection.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Mutex<Seen>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .verifier
            .verify_server_cert(own, others, name, ocsp, now);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = std::iter::once(own).chain(others).take(LONGEST_CHAIN);
        seen.chain = chain.filter_map(|der| Certificate::of(der)).collect();
        if let Err(Error::InvalidCertificate(objection)) = &verified {
            seen.objection = Some(objection.clone());
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
