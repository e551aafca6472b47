//! A private certificate authority with one certificate for loopback.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
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
    /// Makes an authority and a certificate for `localhost` and 127.0.0.1.
    pub(crate) fn new() -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        root.distinguished_name
            .push(DnType::CommonName, "Test authority");
        let root_key = KeyPair::generate().unwrap();
        let root_certificate = root.self_signed(&root_key).unwrap();

        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut leaf = CertificateParams::new(names).unwrap();
        // Firefox refuses an authority's certificate as that of a server.
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.use_authority_key_identifier_extension = true;
        leaf.distinguished_name
            .push(DnType::CommonName, "localhost");
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = leaf
            .signed_by(&leaf_key, &Issuer::from_params(&root, &root_key))
            .unwrap();

        let mut authority = Self::empty();
        fs::write(authority.root(), root_certificate.pem()).unwrap();
        fs::write(authority.certificate(), leaf.pem()).unwrap();
        fs::write(authority.key(), leaf_key.serialize_pem()).unwrap();
        authority.load_root();
        authority
    }

    /// The authority that these shell commands make in their folder.
    pub(crate) fn from_commands(commands: &str) -> Self {
        let mut authority = Self::empty();
        let output = Command::new("sh")
            .args(["-euc", commands])
            .current_dir(authority.directory.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{errors}");
        authority.load_root();
        authority
    }

    fn empty() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            roots: RootCertStore::empty(),
        }
    }

    fn load_root(&mut self) {
        let root = CertificateDer::from_pem_file(self.root()).unwrap();
        self.roots.add(root).unwrap();
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
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }
}
