//! Mistakes with certificates in an operator's first hour.

use std::fs;
use std::path::Path;

use tempfile::tempdir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use crate::cli::bugle;
use crate::first_hour::{FREE, assert_refused, serve};
use crate::support::stand_in::{Authority, Identity};
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

/// Writes a certificate and its key.
fn write(folder: &Path, identity: &Identity) {
    fs::write(folder.join("cert.pem"), identity.chain.concat()).unwrap();
    fs::write(folder.join("key.pem"), &identity.key).unwrap();
}

#[tokio::test]
async fn missing_and_mismatched_certificate_files_are_reported() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let authority = Authority::new();
    write(folder.path(), &authority.certify("a.test", -1, 90));
    let other = authority.certify("a.test", -1, 90);
    fs::write(folder.path().join("other.pem"), other.key).unwrap();
    fs::write(folder.path().join("empty.pem"), "").unwrap();
    for (cert, key, parts) in [
        (
            "no.pem",
            "key.pem",
            [
                "cannot read the certificate no.pem (tls.cert_file, --tls-cert)",
                "No such file",
            ],
        ),
        (
            "cert.pem",
            "no.pem",
            [
                "cannot read the private key no.pem (tls.key_file, --tls-key)",
                "No such file",
            ],
        ),
        (
            "key.pem",
            "key.pem",
            ["the certificate key.pem", "it holds no certificate in PEM"],
        ),
        (
            "empty.pem",
            "key.pem",
            [
                "the certificate empty.pem",
                "it holds no certificate in PEM",
            ],
        ),
        (
            "cert.pem",
            "cert.pem",
            ["the private key cert.pem", "it holds no private key in PEM"],
        ),
        (
            "cert.pem",
            "other.pem",
            [
                "the key other.pem is not that of the certificate cert.pem",
                "tls.key_file",
            ],
        ),
    ] {
        let printed = serve(folder.path(), &["--tls-cert", cert, "--tls-key", key]).await;
        assert_refused(&printed, &parts);
    }
    let printed = serve(folder.path(), &["--tls-cert", "cert.pem"]).await;
    assert_refused(&printed, &["tls.cert_file and tls.key_file go together"]);
}

#[tokio::test]
async fn expired_certificates_are_reported_and_served() {
    needs_ours!("the program");
    let authority = Authority::new();
    for (from, until, parts) in [
        (-90, -3, ["cert.pem has expired on 2", "renew it"]),
        (
            3,
            90,
            ["cert.pem is valid from 2", "set the clock of this machine"],
        ),
    ] {
        let folder = tempdir().unwrap();
        write(folder.path(), &authority.certify("a.test", from, until));
        let arguments = [
            &FREE[..],
            &["--tls-cert", "cert.pem", "--tls-key", "key.pem"],
        ]
        .concat();
        let mut child = bugle(folder.path(), &arguments).spawn().unwrap();
        let mut printed = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = timeout(TIMEOUT, printed.next_line())
            .await
            .expect("the warning is logged");
        let line = line.unwrap().expect("the log continues");
        assert!(line.contains("ERROR"), "{line}");
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
        let mut greeting = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting = timeout(TIMEOUT, greeting.next_line())
            .await
            .expect("the service responds");
        assert!(greeting.unwrap().unwrap().contains("listens on"));
    }
}
