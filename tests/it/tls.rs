//! TLS in the process: what it negotiates, and a certificate that changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::server::Server;
use crate::support::subject::needs_ours;

/// Writes a new certificate with its key, and gives it.
fn write_certificate(folder: &Path) -> CertificateDer<'static> {
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

/// A connection that trusts this certificate alone.
async fn connect(
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
async fn a_certificate_that_changes_is_read_anew_and_a_broken_one_is_not_used() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let first = write_certificate(folder.path());
    let server = start(folder.path()).await;
    connect(&server, &first, &[]).await.unwrap();

    std::fs::write(folder.path().join("cert.pem"), "broken").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    connect(&server, &first, &[]).await.unwrap();

    let second = write_certificate(folder.path());
    let changed = async {
        while connect(&server, &second, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), changed)
        .await
        .unwrap();
    assert!(connect(&server, &first, &[]).await.is_err());
}
