//! Proxies that terminate TLS and speak HTTP to the service, over TCP and over a unix socket.

use tokio::net::TcpStream;

use crate::client::{self, Reply, UserAgent, connect, connect_tls, http1, http2};
use crate::proxy::Kind;
use crate::service::{Service, settings_with};

const BODY: &[u8] = b"hello";

/// The page's settings for a proxy that terminates TLS.
fn settings() -> &'static str {
    settings_with("# The proxy does TLS.")
}

/// The page's settings for a proxy on the unix socket.
fn settings_of_socket() -> &'static str {
    settings_with("socket = ")
}

/// The change that makes each proxy use the unix socket.
fn over_socket(kind: Kind, service: &Service) -> (&'static str, String) {
    let socket = service.socket();
    let socket = socket.display();
    match kind {
        Kind::Nginx => ("server 127.0.0.1:8080;", format!("server unix:{socket};")),
        Kind::Caddy => (
            "reverse_proxy 127.0.0.1:8080",
            format!("reverse_proxy unix/{socket}"),
        ),
        _ => ("bugle 127.0.0.1:8080", format!("bugle unix@{socket}")),
    }
}

/// Sends a push from this address over HTTP/1.1.
async fn push(service: &Service, from: &str, endpoint: &str, more: &[(&str, &str)]) -> Reply {
    let path = endpoint.strip_prefix(&service.origin()).unwrap();
    let fields = [&[("ttl", "60")], more].concat();
    let stream = connect_tls(service, from, "http/1.1").await;
    http1(stream, "POST", path, &fields, BODY).await
}

/// Performs hello, register, push over both versions of HTTP, notification and acknowledgement
/// through the proxy.
async fn carries_a_push(service: &Service) -> String {
    let stream = connect_tls(service, "127.0.0.5", "http/1.1").await;
    let mut user_agent = UserAgent::hello(stream).await;
    let endpoint = user_agent.register().await;
    assert!(endpoint.starts_with(&service.origin()), "{endpoint}");
    let accepted = push(service, "127.0.0.6", &endpoint, &[]).await;
    assert_eq!(accepted.status, 201, "{accepted:?}");
    user_agent.take(BODY).await;
    let stream = connect_tls(service, "127.0.0.6", "h2").await;
    let accepted = http2(stream, "POST", &endpoint, &[("ttl", "60")], BODY).await;
    assert_eq!(accepted.status, 201, "{accepted:?}");
    user_agent.take(BODY).await;
    let acknowledged = "bugle_messages_acknowledged_total{code=\"100\"}";
    service.wait_for_metric(acknowledged, "2").await;
    endpoint
}

/// Asserts that the service, not the proxy, refuses a body over the limit.
async fn assert_service_refuses_large_bodies(service: &Service, endpoint: &str) {
    let path = endpoint.strip_prefix(&service.origin()).unwrap();
    let stream = connect_tls(service, "127.0.0.6", "http/1.1").await;
    let refused = http1(stream, "POST", path, &[("ttl", "60")], &[b'x'; 5000]).await;
    assert_eq!(refused.refusal(), (413, 104));
    let stream = connect_tls(service, "127.0.0.6", "h2").await;
    let refused = http2(stream, "POST", endpoint, &[("ttl", "60")], &[b'x'; 5000]).await;
    assert_eq!(refused.refusal(), (413, 104));
}

/// Asserts that the service knows its clients by their addresses and ignores forged ones.
async fn assert_client_addresses(service: &Service, endpoint: &str) {
    service.block("127.0.0.5").await;
    let honest = push(service, "127.0.0.6", endpoint, &[]).await;
    assert_eq!(honest.status, 201);
    let honest = [
        ("x-forwarded-for", "127.0.0.5"),
        ("forwarded", "for=127.0.0.5"),
    ];
    let honest = push(service, "127.0.0.6", endpoint, &honest).await;
    assert_eq!(honest.status, 201);
    for forged in [
        &[][..],
        &[("x-forwarded-for", "127.0.0.6")],
        &[("forwarded", "for=127.0.0.6")],
    ] {
        let refused = push(service, "127.0.0.5", endpoint, forged).await;
        assert_eq!(refused.refusal(), (403, 999), "{forged:?}");
    }
    let stream = connect_tls(service, "127.0.0.5", "http/1.1").await;
    let (status, _) = UserAgent::handshake(stream).await.err().unwrap();
    assert_eq!(status, 403);
}

/// Asserts that forwarded addresses from clients beside the proxy are ignored.
async fn assert_direct_clients_are_untrusted(service: &Service, endpoint: &str) {
    let path = endpoint.strip_prefix(&service.origin()).unwrap();
    let fields = [("ttl", "60"), ("x-forwarded-for", "127.0.0.6")];
    let stream = connect(([127, 0, 0, 1], service.port()).into(), "127.0.0.5").await;
    let refused = http1(Box::new(stream), "POST", path, &fields, BODY).await;
    assert_eq!(refused.refusal(), (403, 999));
}

async fn works_over_tcp(kind: Kind) {
    let service = Service::start(settings(), &[]);
    let _proxy = kind.start(&service, &[]);
    let endpoint = carries_a_push(&service).await;
    assert_service_refuses_large_bodies(&service, &endpoint).await;
    assert_client_addresses(&service, &endpoint).await;
    assert_direct_clients_are_untrusted(&service, &endpoint).await;
    assert_eq!(
        service.log().matches("docs/proxies.md").count(),
        1,
        "of the last"
    );
}

async fn works_over_a_unix_socket(kind: Kind) {
    let service = Service::start(settings_of_socket(), &[]);
    let (from, to) = over_socket(kind, &service);
    let _proxy = kind.start(&service, &[(from, &to)]);
    let endpoint = carries_a_push(&service).await;
    assert_service_refuses_large_bodies(&service, &endpoint).await;
    assert_client_addresses(&service, &endpoint).await;
    assert_eq!(service.log().matches("docs/proxies.md").count(), 0);
}

/// Asserts that the service's pings keep a WebSocket open for longer than the proxy's idle
/// timeout, which is shortened here, and that it ends without them.
async fn assert_pings_keep_websockets_open(kind: Kind, shorter: &[(&str, &str)]) {
    let pinged = async {
        let pings = [("USER_AGENT__PING_INTERVAL", "1s")];
        let service = Service::start(settings(), &pings);
        let _proxy = kind.start(&service, shorter);
        let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
        let mut user_agent = UserAgent::hello(stream).await;
        let endpoint = user_agent.register().await;
        user_agent.is_pinged(7).await;
        let accepted = push(&service, "127.0.0.6", &endpoint, &[]).await;
        assert_eq!(accepted.status, 201);
        user_agent.take(BODY).await;
    };
    let not_pinged = async {
        let service = Service::start(settings(), &[]);
        let _proxy = kind.start(&service, shorter);
        let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
        UserAgent::hello(stream).await.is_cut().await;
    };
    tokio::join!(pinged, not_pinged);
}

#[tokio::test]
async fn nginx_over_tcp() {
    works_over_tcp(Kind::Nginx).await;
}

#[tokio::test]
async fn nginx_over_a_unix_socket() {
    works_over_a_unix_socket(Kind::Nginx).await;
}

#[tokio::test]
async fn quiet_websockets_stay_through_nginx() {
    let shorter = [("proxy_read_timeout 10m", "proxy_read_timeout 5s")];
    assert_pings_keep_websockets_open(Kind::Nginx, &shorter).await;
}

#[tokio::test]
async fn caddy_over_tcp() {
    works_over_tcp(Kind::Caddy).await;
}

#[tokio::test]
async fn caddy_over_a_unix_socket() {
    works_over_a_unix_socket(Kind::Caddy).await;
}

#[tokio::test]
async fn haproxy_over_tcp() {
    works_over_tcp(Kind::Haproxy).await;
}

#[tokio::test]
async fn haproxy_over_a_unix_socket() {
    works_over_a_unix_socket(Kind::Haproxy).await;
}

#[tokio::test]
async fn quiet_websockets_stay_through_haproxy() {
    let shorter = [("timeout tunnel 10m", "timeout tunnel 5s")];
    assert_pings_keep_websockets_open(Kind::Haproxy, &shorter).await;
}

/// Caddy has no idle timeout for upgraded connections.
#[tokio::test]
async fn quiet_websockets_stay_through_caddy() {
    let pings = [("USER_AGENT__PING_INTERVAL", "1s")];
    let service = Service::start(settings(), &pings);
    let _proxy = Kind::Caddy.start(&service, &[]);
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    let mut user_agent = UserAgent::hello(stream).await;
    user_agent.is_pinged(3).await;
    user_agent.register().await;
}

/// Firefox uses WebSockets over HTTP/2 if a proxy offers them (RFC 8441).
#[tokio::test]
async fn haproxy_translates_websockets_of_http2() {
    let service = Service::start(settings(), &[]);
    let _proxy = Kind::Haproxy.start(&service, &[]);
    let stream = connect_tls(&service, "127.0.0.5", "h2").await;
    let status = client::extended_connect(stream, &service.origin()).await;
    assert_eq!(status, 200);
    service.wait_for_metric("bugle_user_agents", "1").await;
}

/// Events arrive one by one, without buffering.
#[tokio::test]
async fn events_are_not_buffered_by_any_proxy() {
    for kind in [Kind::Nginx, Kind::Caddy, Kind::Haproxy] {
        let service = Service::start(settings(), &[]);
        let _proxy = kind.start(&service, &[]);
        let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
        let made = http1(stream, "POST", "/subscribe", &[], b"").await;
        let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
        let mut events = client::events(stream, &made).await;
        let accepted = push(&service, "127.0.0.6", &made.link("push"), &[]).await;
        assert_eq!(accepted.status, 201);
        client::wait_for_event(&mut events, "message").await;
    }
}

/// A process that outlives its proxy would keep the port.
#[tokio::test]
async fn a_proxy_ends_with_all_its_processes() {
    for kind in [Kind::Nginx, Kind::Caddy, Kind::Haproxy] {
        let service = Service::start(settings(), &[]);
        drop(kind.start(&service, &[]));
        let listens = TcpStream::connect(client::public(&service)).await.is_ok();
        assert!(!listens, "{kind:?} still listens");
    }
}
