//! A private certificate authority with one certificate for loopback.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::ServerName;
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

        let mut roots = RootCertStore::empty();
        roots.add(root_certificate.der().clone()).unwrap();
        let authority = Self {
            directory: TempDir::new().unwrap(),
            roots,
        };
        fs::write(authority.root(), root_certificate.pem()).unwrap();
        fs::write(authority.certificate(), leaf.pem()).unwrap();
        fs::write(authority.key(), leaf_key.serialize_pem()).unwrap();
        authority
    }

    /// The authority's own certificate, which clients must trust.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("authority.pem")
    }

    /// The service's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
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
