//! A private certificate authority with one certificate for loopback.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

/// The authority's certificate, and the service's certificate and key, as files.
pub(crate) struct Authority {
    directory: TempDir,
    roots: RootCertStore,
}

impl Authority {
    /// Has `bugle` make an authority, and a certificate for `localhost` and
    /// 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::from_commands("bugle tls init --host localhost --host 127.0.0.1")
    }

    /// The authority that these shell commands make in their folder; `bugle` is
    /// the program under test.
    pub(crate) fn from_commands(commands: &str) -> Self {
        let commands = commands.replace("bugle", env!("CARGO_BIN_EXE_bugle"));
        let directory = TempDir::new().unwrap();
        let output = Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{errors}");
        let root = CertificateDer::from_pem_file(directory.path().join("ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        Self { directory, roots }
    }

    /// The authority's own certificate, which clients must trust.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The service's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// The key to the service's certificate.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// A TLS client's side of one connection to the service.
    pub(crate) fn client(&self) -> ClientConnection {
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(self.client_config()), name).unwrap()
    }

    /// What a TLS client is that trusts this authority alone.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth()
    }
}
