//! Misconfigured proxies and settings: each gives one clear sentence in the service's log and,
//! where possible, in the response.

use crate::client::{UserAgent, connect, connect_tls, http1, public};
use crate::proxy::Kind;
use crate::service::{Service, settings_with};

fn settings() -> &'static str {
    settings_with("# The proxy does TLS.")
}

fn settings_of_pass_through() -> &'static str {
    settings_with("proxy_protocol = true")
}

/// Asserts that a connection through a TCP proxy ends without a response.
async fn is_closed(service: &Service) {
    let stream = connect(public(service), "127.0.0.5").await;
    let mut octets = [0; 1];
    // The service responds only after the first byte.
    stream
        .try_write(b"\x16\x03\x01 is how a handshake begins")
        .unwrap();
    loop {
        let readable = tokio::time::timeout(crate::service::TIMEOUT, stream.readable()).await;
        readable.expect("the connection is closed").unwrap();
        match stream.try_read(&mut octets) {
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
            Ok(_) => panic!("an answer"),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_drops_the_upgrade_is_reported() {
    for removed in [
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $connection_upgrade;",
    ] {
        let service = Service::start(settings(), &[]);
        let _proxy = Kind::Nginx.start(&service, &[(removed, "")]);
        let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
        let (status, body) = UserAgent::handshake(stream).await.err().unwrap();
        assert_eq!(status, 400, "{body}");
        assert!(
            body.contains("a proxy in front has to pass both on"),
            "{body}"
        );
        service.wait_for_warning("let the proxy pass Upgrade and Connection on");
    }
}

#[tokio::test]
async fn an_untrusted_proxy_is_reported() {
    let nobody = [("SERVER__TRUSTED_PROXIES", "")];
    let service = Service::start(settings(), &nobody);
    let _proxy = Kind::Haproxy.start(&service, &[]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    UserAgent::hello(stream).await;
    service.wait_for_warning(
        "its X-Forwarded-For is not believed: if it is your proxy, name its address in \
         server.trusted_proxies",
    );
}

#[tokio::test]
async fn a_proxy_without_client_addresses_is_reported() {
    let service = Service::start(settings(), &[]);
    let _proxy = Kind::Haproxy.start(&service, &[("option forwardfor", "")]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    UserAgent::hello(stream).await;
    service.wait_for_warning("this trusted proxy sends no X-Forwarded-For");
}

#[tokio::test]
async fn a_missing_public_url_is_reported() {
    let service = Service::start(settings(), &[]);
    let host = (
        "proxy_set_header Host $http_host;",
        "proxy_set_header Host push.example.org;",
    );
    let _proxy = Kind::Nginx.start(&service, &[host]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    UserAgent::hello(stream).await;
    service.wait_for_warning("set that to what clients reach, or let the proxy pass Host on");
}

#[tokio::test]
async fn an_unexpected_proxy_header_is_reported() {
    let without = [("SERVER__PROXY_PROTOCOL", "false")];
    for kind in [Kind::HaproxyTcp, Kind::NginxStream] {
        let service = Service::start(settings_of_pass_through(), &without);
        let _proxy = kind.start(&service, &[]);
        is_closed(&service).await;
        service.wait_for_warning("began with a PROXY header and was closed: set");
    }
}

#[tokio::test]
async fn a_missing_proxy_header_is_reported() {
    for (kind, removed) in [
        (Kind::HaproxyTcp, "send-proxy-v2 check"),
        (Kind::NginxStream, "proxy_protocol on;"),
    ] {
        let service = Service::start(settings_of_pass_through(), &[]);
        let _proxy = kind.start(&service, &[(removed, "")]);
        is_closed(&service).await;
        service.wait_for_warning("began without a PROXY header and was closed: let it send one");
    }
}

#[tokio::test]
async fn tls_on_one_side_only_is_reported() {
    // The service has a certificate, and the proxy uses plain HTTP.
    let tls = format!("{}\n[tls]\ncert_file = \"\"\nkey_file = \"\"\n", settings());
    let service = Service::start(&tls, &[]);
    let _proxy = Kind::Nginx.start(&service, &[]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    let reply = http1(stream, "GET", "/health", &[], b"").await;
    assert_eq!(reply.status, 502);
    service.wait_for_warning("this listener speaks TLS alone: let the proxy speak https:// to it");
    // The opposite: the proxy uses TLS, and the service has no certificate.
    let service = Service::start(settings(), &[]);
    let https = ("proxy_pass http://bugle;", "proxy_pass https://bugle;");
    let _proxy = Kind::Nginx.start(&service, &[https]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    let reply = http1(stream, "GET", "/health", &[], b"").await;
    assert_eq!(reply.status, 502);
    service.wait_for_warning("it began with TLS, which is not set up");
}
