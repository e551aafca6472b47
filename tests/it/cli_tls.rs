//! `bugle tls init`, as users run it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::cli::{run, text};
use crate::support::subject::needs_ours;

const INIT: &[&str] = &[
    "tls",
    "init",
    "--host",
    "push.test",
    "--host",
    "192.0.2.7",
    "--host",
    "::1",
];

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

/// Whether a client that trusts `ca.pem` accepts `cert.pem` for this name.
fn is_accepted_for(folder: &Path, name: &'static str) -> bool {
    let pem = |file| CertificateDer::from_pem_file(folder.join(file)).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(pem("ca.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from(name).unwrap();
    let verifier = verifier.build().unwrap();
    let verified = verifier.verify_server_cert(&pem("cert.pem"), &[], &name, &[], UnixTime::now());
    verified.is_ok()
}

#[tokio::test]
async fn tls_init_creates_an_authority_and_a_certificate_for_every_host() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let made = run(folder.path(), INIT).await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    for name in ["push.test", "192.0.2.7", "::1"] {
        assert!(is_accepted_for(folder.path(), name), "{name}");
    }
    assert!(!is_accepted_for(folder.path(), "other.test"));
    for key in ["ca-key.pem", "key.pem"] {
        let mode = fs::metadata(folder.path().join(key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let policies: Value = serde_json::from_slice(&made.stdout).unwrap();
    let policies = &policies["policies"];
    let url = &policies["Preferences"]["dom.push.serverURL"];
    assert_eq!(
        *url,
        json!({ "Value": "wss://push.test/", "Status": "locked" })
    );
    let ca = folder.path().canonicalize().unwrap().join("ca.pem");
    assert_eq!(policies["Certificates"]["Install"], json!([ca]));
}

#[tokio::test]
async fn tls_init_renews_the_certificate_under_the_same_authority() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    run(folder.path(), INIT).await;
    let (ca, certificate) = (
        read(folder.path(), "ca.pem"),
        read(folder.path(), "cert.pem"),
    );
    let again = run(
        folder.path(),
        &[
            "tls",
            "init",
            "--host",
            "new.test",
            "--port",
            "8443",
            "--ca-path",
            "/etc/ca.pem",
        ],
    )
    .await;
    let policies: Value = serde_json::from_slice(&again.stdout).unwrap();
    let url = &policies["policies"]["Preferences"]["dom.push.serverURL"]["Value"];
    assert_eq!(*url, "wss://new.test:8443/");
    assert_eq!(
        policies["policies"]["Certificates"]["Install"],
        json!(["/etc/ca.pem"])
    );
    assert_eq!(read(folder.path(), "ca.pem"), ca);
    assert_ne!(read(folder.path(), "cert.pem"), certificate);
    assert!(is_accepted_for(folder.path(), "new.test"));
    assert!(!is_accepted_for(folder.path(), "push.test"));
}

#[tokio::test]
async fn tls_init_reports_missing_and_invalid_files() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    run(folder.path(), INIT).await;
    fs::remove_file(folder.path().join("ca-key.pem")).unwrap();
    let certificate = read(folder.path(), "cert.pem");
    let half = run(folder.path(), INIT).await;
    assert!(!half.status.success());
    let printed = text(&half.stderr);
    assert!(
        printed.contains("only one of ./ca.pem and ./ca-key.pem is there"),
        "{printed}"
    );
    assert_eq!(read(folder.path(), "cert.pem"), certificate);

    fs::write(folder.path().join("ca-key.pem"), "no key").unwrap();
    let printed = text(&run(folder.path(), INIT).await.stderr);
    assert!(printed.starts_with("bugle: ./ca-key.pem: "), "{printed}");
    for host in ["a b", ""] {
        let refused = run(folder.path(), &["tls", "init", "--host", host]).await;
        assert_eq!(refused.status.code(), Some(2), "{host}");
    }
}
