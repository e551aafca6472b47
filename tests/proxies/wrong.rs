//! Proxies, and settings for them, that are wrong: each ends in one clear
//! sentence, in the service's log and where it can be in the answer.

use crate::client::{UserAgent, connect, connect_tls, http1, public};
use crate::proxy::Kind;
use crate::service::{Service, settings_with};

fn settings() -> &'static str {
    settings_with("# The proxy does TLS.")
}

fn settings_of_pass_through() -> &'static str {
    settings_with("proxy_protocol = true")
}

/// A connection through a proxy that passes TCP through ends without an answer.
async fn is_closed(service: &Service) {
    let stream = connect(public(service), "127.0.0.5").await;
    let mut octets = [0; 1];
    // Without an octet from this side there is nothing to answer.
    stream
        .try_write(b"\x16\x03\x01 is how a handshake begins")
        .unwrap();
    loop {
        let readable = tokio::time::timeout(crate::service::PATIENCE, stream.readable()).await;
        readable.expect("it is closed").unwrap();
        match stream.try_read(&mut octets) {
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
            Ok(_) => panic!("an answer"),
        }
    }
}

#[tokio::test]
async fn a_proxy_that_keeps_the_upgrade_to_itself() {
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
async fn a_proxy_that_is_not_trusted() {
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
async fn a_proxy_that_does_not_say_where_its_clients_are() {
    let service = Service::start(settings(), &[]);
    let _proxy = Kind::Haproxy.start(&service, &[("option forwardfor", "")]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    UserAgent::hello(stream).await;
    service.wait_for_warning("this trusted proxy sends no X-Forwarded-For");
}

#[tokio::test]
async fn a_proxy_whose_public_url_is_not_set() {
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
async fn a_proxy_header_where_none_is_expected() {
    let without = [("SERVER__PROXY_PROTOCOL", "false")];
    for kind in [Kind::HaproxyTcp, Kind::NginxStream] {
        let service = Service::start(settings_of_pass_through(), &without);
        let _proxy = kind.start(&service, &[]);
        is_closed(&service).await;
        service.wait_for_warning("began with a PROXY header and was closed: set");
    }
}

#[tokio::test]
async fn no_proxy_header_where_one_is_expected() {
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
async fn tls_on_one_side_alone() {
    // The service has a certificate, and the proxy speaks plainly to it.
    let tls = format!("{}\n[tls]\ncert_file = \"\"\nkey_file = \"\"\n", settings());
    let service = Service::start(&tls, &[]);
    let _proxy = Kind::Nginx.start(&service, &[]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    let reply = http1(stream, "GET", "/health", &[], b"").await;
    assert_eq!(reply.status, 502);
    service.wait_for_warning("this listener speaks TLS alone: let the proxy speak https:// to it");
    // The other way round.
    let service = Service::start(settings(), &[]);
    let https = ("proxy_pass http://bugle;", "proxy_pass https://bugle;");
    let _proxy = Kind::Nginx.start(&service, &[https]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    let reply = http1(stream, "GET", "/health", &[], b"").await;
    assert_eq!(reply.status, 502);
    service.wait_for_warning("it began with TLS, which is not set up");
}
