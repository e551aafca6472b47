//! TLS from certificate files, reloaded when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{io, mem};

use arc_swap::ArcSwap;
use bugle_client::certificate::{Certificate, day, moment};
use bugle_protocol::UnixTime;
use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::io::Socket;
use crate::observe::metrics::Metrics;
use crate::time::Clock;

/// Protocols offered by ALPN, in order of preference.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate and its key, as last loaded.
pub struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    config: ArcSwap<ServerConfig>,
    /// Modification times of the files at the last load.
    seen: Mutex<Modified>,
}

/// Modification times of the certificate and the key; `None` if unknown.
type Modified = [Option<SystemTime>; 2];

/// Why a certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing or unreadable, or holds no certificate in PEM.
    #[error(
        "cannot read the certificate {} (tls.cert_file, --tls-cert): {}",
        .0.display(), pem_problem(.1, "certificate")
    )]
    Certificate(PathBuf, #[source] pem::Error),
    /// The file is missing or unreadable, or holds no private key in PEM.
    #[error(
        "cannot read the private key {} (tls.key_file, --tls-key): {}",
        .0.display(), pem_problem(.1, "private key")
    )]
    Key(PathBuf, #[source] pem::Error),
    /// The key does not match the certificate.
    #[error(
        "the key {} is not that of the certificate {}: set tls.key_file (--tls-key) to the one \
         that it was made with; the service's own certificate stands first in its file",
        .1.display(), .0.display()
    )]
    OtherKey(PathBuf, PathBuf),
    /// TLS does not support this kind of certificate or key.
    #[error("the certificate {} with the key {} cannot be used: {}", .0.display(), .1.display(), .2)]
    Pair(PathBuf, PathBuf, #[source] rustls::Error),
}

/// Explains why a file does not contain `what` in PEM.
fn pem_problem(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => format!("it holds no {what} in PEM"),
        other => format!("it is no {what} in PEM: {other}"),
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If a file cannot be read, or the key does not match the certificate.
    pub fn load(cert_file: PathBuf, key_file: PathBuf) -> Result<Self, TlsError> {
        // Read first, so that a change during the load triggers another load.
        let seen = Mutex::new(modified(&cert_file, &key_file));
        let config = ArcSwap::new(read(&cert_file, &key_file)?);
        Ok(Self {
            cert_file,
            key_file,
            config,
            seen,
        })
    }

    /// Performs the TLS handshake.
    ///
    /// # Errors
    /// If the peer aborts it, or offers neither TLS 1.2 nor 1.3.
    pub async fn accept(&self, stream: Socket) -> io::Result<TlsStream<Socket>> {
        TlsAcceptor::from(self.config.load_full())
            .accept(stream)
            .await
    }

    /// Checks every `period` whether the files have changed, and reloads them, until cancelled. If
    /// the new files are unusable, the old certificate stays in use.
    pub async fn watch(&self, period: Duration, metrics: &Metrics) {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !self.have_changed() {
                continue;
            }
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

    /// Whether the files have changed since the last call.
    fn have_changed(&self) -> bool {
        let now = modified(&self.cert_file, &self.key_file);
        // No code can panic while it holds this lock.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut *seen, now) != now
    }
}

fn modified(cert_file: &Path, key_file: &Path) -> Modified {
    [cert_file, key_file].map(|file| file.metadata().ok()?.modified().ok())
}

fn read(cert_file: &PathBuf, key_file: &PathBuf) -> Result<Arc<ServerConfig>, TlsError> {
    let no_certificate = |error| TlsError::Certificate(cert_file.clone(), error);
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect);
    let chain = chain.map_err(no_certificate)?;
    let own = chain.first().ok_or(pem::Error::NoItemsFound);
    let own = Certificate::of(own.map_err(no_certificate)?);
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| TlsError::Key(key_file.clone(), error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::OtherKey(cert_file.clone(), key_file.clone())
            }
            error => TlsError::Pair(cert_file.clone(), key_file.clone(), error),
        })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    if let Some(own) = own {
        warn_about_dates(cert_file, &own, Clock::system().now());
    }
    Ok(Arc::new(config))
}

/// Logs an error if clients will reject the certificate for its dates. It is served all the same: a
/// renewed one is loaded without a restart, and a wrong clock may be set.
fn warn_about_dates(file: &Path, own: &Certificate, now: UnixTime) {
    let file = file.display();
    if own.not_after < now {
        tracing::error!(
            "the certificate {file} has expired on {}, and nobody accepts it: renew it; the new \
             one is taken without a restart",
            day(own.not_after)
        );
    } else if now < own.not_before {
        tracing::error!(
            "the certificate {file} is valid from {} on, and it is {}: set the clock of this \
             machine, or make the certificate again",
            moment(own.not_before),
            moment(now)
        );
    }
}
