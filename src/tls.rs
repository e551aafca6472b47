//! TLS from certificate files, read anew when they change.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::io::Socket;
use crate::metrics::Metrics;

/// What TLS negotiates; the order is our preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate with its key, as they are on disk now.
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: ArcSwap<ServerConfig>,
}

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is not there, not readable, or holds no certificate in PEM.
    #[error("the certificate file {}: {}", .0.display(), .1)]
    Certificate(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The file is not there, not readable, or holds no private key in PEM.
    #[error("the private key file {}: {}", .0.display(), .1)]
    Key(PathBuf, #[source] rustls::pki_types::pem::Error),
    /// The two do not belong together, or are of a kind that TLS cannot use.
    #[error("the certificate {} with the key {}: {}", .0.display(), .1.display(), .2)]
    Pair(PathBuf, PathBuf, #[source] rustls::Error),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or they do not make a pair.
    pub fn load(cert_file: PathBuf, key_file: PathBuf) -> Result<Self, TlsError> {
        let config = ArcSwap::new(read(&cert_file, &key_file)?);
        Ok(Self {
            cert_file,
            key_file,
            config,
        })
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// When the peer breaks it off, or wants what is not offered (only TLS 1.2
    /// and 1.3 are).
    pub async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        TlsAcceptor::from(self.config.load_full())
            .accept(stream)
            .await
    }

    /// Looks every `period` whether the files have changed and reads them
    /// anew, until it is cancelled. Files that cannot be used change nothing.
    pub async fn watch(&self, period: Duration, metrics: &Metrics) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.modified();
        loop {
            ticks.tick().await;
            let modified = self.modified();
            if modified == seen {
                continue;
            }
            seen = modified;
            match read(&self.cert_file, &self.key_file) {
                Ok(config) => {
                    self.config.store(config);
                    tracing::info!("the certificate has changed and was read anew");
                }
                Err(error) => {
                    metrics.refused_certificates.inc();
                    tracing::error!(%error, "the old certificate stays in use: the new one cannot be");
                }
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.cert_file, &self.key_file].map(|file| file.metadata().ok()?.modified().ok())
    }
}

fn read(cert_file: &PathBuf, key_file: &PathBuf) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect);
    let chain = chain.map_err(|error| TlsError::Certificate(cert_file.clone(), error))?;
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| TlsError::Key(key_file.clone(), error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Pair(cert_file.clone(), key_file.clone(), error))?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}
