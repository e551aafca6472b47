//! TLS in the process: negotiation, and reloading of a changed certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::http::raw;
use crate::support::server::Server;
use crate::support::subject::needs_ours;

/// Writes a new certificate with its key and returns it.
pub fn write_certificate(folder: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
    cert.der().clone()
}

async fn start(folder: &Path) -> Server {
    Server::start_with(|config| {
        config.tls.cert_file = Some(folder.join("cert.pem"));
        config.tls.key_file = Some(folder.join("key.pem"));
        config.tls.check_every = Duration::from_millis(20);
    })
    .await
}

/// A connection that trusts only this certificate.
pub async fn connect(
    server: &Server,
    certificate: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn both_versions_of_http_are_negotiated() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let server = start(folder.path()).await;
    let cases: [(&[&[u8]], &str); 3] = [
        (&[b"h2", b"http/1.1"], "h2"),
        (&[b"http/1.1"], "http/1.1"),
        (&[], ""),
    ];
    for (offered, chosen) in cases {
        let stream = connect(&server, &certificate, offered).await.unwrap();
        let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default();
        assert_eq!(std::str::from_utf8(protocol).unwrap(), chosen);
        let status = if chosen == "h2" {
            let (client, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("https://localhost/health")
                .body(())
                .unwrap();
            let mut client = client.ready().await.unwrap();
            client
                .send_request(request, true)
                .unwrap()
                .0
                .await
                .unwrap()
                .status()
        } else {
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            let request = http::Request::get("/health").header("host", "localhost");
            let request = request
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap();
            client.send_request(request).await.unwrap().status()
        };
        assert_eq!(status, 200, "{chosen}");
    }
}

#[tokio::test]
async fn a_changed_certificate_is_reloaded_and_a_broken_one_ignored() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let server = start(folder.path()).await;
    connect(&server, &first, &[]).await.unwrap();

    // A partly written file must not be loaded.
    let new = folder.path().join("new.pem");
    std::fs::write(&new, "broken").unwrap();
    std::fs::rename(new, folder.path().join("cert.pem")).unwrap();
    server
        .await_metric("bugle_certificates_refused_total", 1.0)
        .await;
    connect(&server, &first, &[]).await.unwrap();

    let second = write_certificate(folder.path());
    let changed = async {
        while connect(&server, &second, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), changed)
        .await
        .unwrap();
    assert!(connect(&server, &first, &[]).await.is_err());
}

#[tokio::test]
async fn rfc8030_3_a_with_a_certificate_only_current_tls_is_accepted() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let server = start(folder.path()).await;
    let plain = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = raw(server.authority(), plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    for (version, answer) in [([3, 1], 0x15), ([3, 2], 0x15), ([3, 3], 0x16)] {
        let mut stream = TcpStream::connect(server.authority()).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        // An alert, or the next handshake record.
        assert_eq!(stream.read_u8().await.unwrap(), answer, "{version:?}");
    }
}

/// The first message of a client whose highest version is this.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; no compression.
    let suites = [0, 2, 0xc0, 0x2b, 1, 0];
    // P-256; ecdsa_secp256r1_sha256; uncompressed points.
    let extensions = [
        [0, 10, 0, 4, 0, 2, 0, 23].as_slice(),
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 11, 0, 2, 1, 0],
    ]
    .concat();
    let length = u8::try_from(extensions.len()).unwrap();
    let random = [[7; 32].as_slice(), &[0]].concat();
    let hello = [&version, &random[..], &suites, &[0, length], &extensions].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let head = [0x16, 3, 1, 0, length + 4, 1, 0, 0, length];
    [&head[..], &hello].concat()
}
