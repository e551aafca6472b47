//! Proxies that pass TCP through to a service with TLS, as server push requires: no proxy
//! forwards server push over HTTP. A PROXY header carries the client's address.

use h2::client::PushPromises;

use crate::client::{UserAgent, connect_tls, http1, read, request};
use crate::proxy::Kind;
use crate::service::{Service, TIMEOUT, settings_with};

fn settings() -> &'static str {
    settings_with("proxy_protocol = true")
}

/// The body of the next server push.
async fn pushed(pushes: &mut PushPromises) -> Vec<u8> {
    let promise = tokio::time::timeout(TIMEOUT, pushes.push_promise()).await;
    let (_, response) = promise.unwrap().unwrap().unwrap().into_parts();
    let reply = read(response.await.unwrap()).await;
    assert_eq!(reply.status, 200);
    reply.body.to_vec()
}

/// Receives a push over HTTP/2 (RFC 8030): subscribe, a held GET, a push.
async fn server_push_arrives(service: &Service) {
    let stream = connect_tls(service, "127.0.0.5", "http/1.1").await;
    let made = http1(stream, "POST", "/subscribe", &[], b"").await;
    assert_eq!(made.status, 201, "{made:?}");
    let subscription = made.headers["location"].to_str().unwrap();
    let stream = connect_tls(service, "127.0.0.5", "h2").await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let held = request("GET", subscription, &[]).body(()).unwrap();
    let mut client = client.ready().await.unwrap();
    let (mut held, _) = client.send_request(held, true).unwrap();
    let mut pushes = held.push_promises();

    let endpoint = made.link("push");
    let path = endpoint.strip_prefix(&service.origin()).unwrap();
    let stream = connect_tls(service, "127.0.0.6", "http/1.1").await;
    let accepted = http1(stream, "POST", path, &[("ttl", "60")], b"hello").await;
    assert_eq!(accepted.status, 201);
    assert_eq!(pushed(&mut pushes).await, b"hello");
}

async fn works(kind: Kind, upstream: Option<(&str, &str)>, settings: &str) {
    let service = Service::start(settings, &[]);
    let socket = service.socket().display().to_string();
    let changes = upstream.map(|(from, to)| (from, to.replace("SOCKET", &socket)));
    let changes: Vec<_> = changes.iter().map(|(from, to)| (*from, &**to)).collect();
    let _proxy = kind.start(&service, &changes);
    server_push_arrives(&service).await;
    let stream = connect_tls(&service, "127.0.0.5", "http/1.1").await;
    UserAgent::hello(stream).await.register().await;
    // The PROXY header carries the addresses of the clients.
    service.block("127.0.0.5").await;
    for (from, status) in [("127.0.0.5", 403), ("127.0.0.6", 201)] {
        let fields = [("x-forwarded-for", "127.0.0.6")];
        let stream = connect_tls(&service, from, "http/1.1").await;
        let reply = http1(stream, "POST", "/subscribe", &fields, b"").await;
        assert_eq!(reply.status, status, "{from}");
    }
}

#[tokio::test]
async fn haproxy_passes_server_push_through() {
    works(Kind::HaproxyTcp, None, settings()).await;
}

#[tokio::test]
async fn nginx_passes_server_push_through() {
    works(Kind::NginxStream, None, settings()).await;
}

#[tokio::test]
async fn a_unix_socket_accepts_passed_through_connections() {
    let settings = settings().replace("proxy_protocol", "socket = \"push.sock\"\nproxy_protocol");
    let upstream = ("bugle 127.0.0.1:8443", "bugle unix@SOCKET");
    works(Kind::HaproxyTcp, Some(upstream), &settings).await;
    let upstream = ("server 127.0.0.1:8443;", "server unix:SOCKET;");
    works(Kind::NginxStream, Some(upstream), &settings).await;
}
