//! One TLS port for everything that a Chromium needs: HTTP, its connection, and CONNECT.

use std::path::Path;

use bugle::Config;
use bugle_client::{Dialer, McsDevice, McsUserAgent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::support::app_server::key_pair;
use crate::support::device::{chromium, registration, text};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;
use crate::tls::{connect, write_certificate};

async fn start(folder: &Path, change: impl FnOnce(&mut Config)) -> Server {
    Server::start_with(|config| {
        chromium(config);
        config.tls.cert_file = Some(folder.join("cert.pem"));
        config.tls.key_file = Some(folder.join("key.pem"));
        change(config);
    })
    .await
}

/// The address of the service under the name in its certificate.
fn named(server: &Server) -> Url {
    let (_, port) = server.authority().rsplit_once(':').unwrap();
    format!("https://localhost:{port}").parse().unwrap()
}

#[tokio::test]
async fn http_and_mcs_share_a_tls_port() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let server = start(folder.path(), |_| ()).await;
    let dialer = Dialer::new(Some(&folder.path().join("cert.pem"))).unwrap();
    let url = named(&server);
    let device = McsDevice::check_in(&dialer, &url, None).await.unwrap();
    let token = device
        .register(&dialer, &url, &registration(1, "1"))
        .await
        .unwrap();
    let mut agent = McsUserAgent::connect(&dialer, &url, &device, Vec::new())
        .await
        .unwrap();
    agent.ping().await.unwrap();
    // HTTP without ALPN, as a push from an old library.
    let mut stream = connect(&server, &certificate, &[]).await.unwrap();
    let expires_at = bugle_protocol::UnixTime::from_secs(server.now() + 3600);
    let origin = format!("https://{}", server.authority());
    let signed = key_pair(1).authorization(&origin, expires_at, None);
    let head = format!(
        "POST /fcm/send/{token} HTTP/1.1\r\nHost: a\r\nTTL: 60\r\nAuthorization: {signed}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(TIMEOUT, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert_eq!(text(&mut agent).await, "");
}

#[tokio::test]
async fn a_further_listener_serves_the_same() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let port = bugle_launch::free_port();
    let address = format!("127.0.0.1:{port}");
    let listen = address.parse().unwrap();
    let _server = start(folder.path(), |config| {
        config.chromium.listen = Some(listen)
    })
    .await;
    let dialer = Dialer::new(Some(&folder.path().join("cert.pem"))).unwrap();
    let url = format!("https://localhost:{port}").parse().unwrap();
    let device = McsDevice::check_in(&dialer, &url, None).await.unwrap();
    let agent = McsUserAgent::connect(&dialer, &url, &device, Vec::new()).await;
    agent.unwrap().ping().await.unwrap();
}

/// Asks for a tunnel; returns the connection and the status line of the answer.
async fn tunnel(server: &Server, target: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = timeout(TIMEOUT, stream.read_u8()).await.unwrap();
        match byte {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.lines().next().unwrap_or_default().to_owned();
    (stream, status)
}

#[tokio::test]
async fn a_tunnel_leads_to_the_service_itself_and_nowhere_else() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let server = start(folder.path(), |config| {
        config.server.audiences = ["https://jmt17.google.com".parse().unwrap()]
            .into_iter()
            .collect();
    });
    let server = server.await;
    for target in [
        "mtalk.google.com:5228",
        "android.clients.google.com:443",
        "jmt17.google.com:443",
    ] {
        let (stream, status) = tunnel(&server, target).await;
        assert!(status.starts_with("HTTP/1.1 200"), "{target}: {status}");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let read = timeout(TIMEOUT, stream.read_to_string(&mut answer)).await;
        read.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for target in [
        "example.org:443",
        "fcm.googleapis.com:443",
        "localhost:22",
        "x",
    ] {
        let (_, status) = tunnel(&server, target).await;
        assert!(status.starts_with("HTTP/1.1 403"), "{target}: {status}");
    }
}

#[tokio::test]
async fn a_service_without_chromium_offers_no_tunnel() {
    needs_ours!("its settings");
    let server = Server::start_with(|_| ()).await;
    let (_, status) = tunnel(&server, "mtalk.google.com:5228").await;
    assert!(!status.contains(" 200 "), "{status}");
}
