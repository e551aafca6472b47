//! Behind a proxy: whose word counts on where a client is, and what goes by it.

use std::os::unix::fs::PermissionsExt;

use ::http::header::HeaderName;
use bugle::{Clock, Config, Server as Bugle};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::admin::Token;
use crate::support::app_server::Push;
use crate::support::http::{self, Reply, Version};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, PATIENCE, UserAgent};

const VERSION_2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\x12\x67\x01\xbb";

/// A service of our own, with settings such as `SERVER__PROXY_PROTOCOL`.
async fn server(settings: &[(&str, &str)]) -> Server {
    let settings = settings.iter().map(|(key, value)| {
        let name = format!("BUGLE_{key}");
        (name.into(), (*value).into())
    });
    let changed = Config::load(None, settings, &[]).unwrap();
    Server::start_with(|config| {
        let (listen, data) = (config.server.listen, config.server.data.clone());
        config.server = changed.server;
        (config.server.listen, config.server.data) = (listen, data);
        config.admission = changed.admission;
        config.limits = changed.limits;
    })
    .await
}

/// A WebSocket with these header fields, or the status of the refusal.
async fn websocket<S>(io: S, fields: &[(&str, &str)]) -> Result<WebSocketStream<S>, u16>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = "ws://push.example/".into_client_request().unwrap();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    match client_async(request, io).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

async fn handshake(server: &Server, fields: &[(&str, &str)]) -> Result<UserAgent, u16> {
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let socket = websocket(stream, fields).await?;
    let uaid = String::new();
    Ok(UserAgent { socket, uaid })
}

async fn subscribe(server: &Server, version: Version, fields: &[(&str, &str)]) -> Reply {
    http::send(
        version,
        server.authority(),
        "POST",
        "/subscribe",
        fields,
        b"",
    )
    .await
}

/// What comes back until the service closes.
async fn exchange(mut io: impl AsyncRead + AsyncWrite + Unpin, octets: &[&[u8]]) -> String {
    for part in octets {
        io.write_all(part).await.unwrap();
    }
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, io.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = read.expect("the service closes");
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: push.example\r\nConnection: close\r\n\r\n")
}

async fn mistakes(server: &Server, kind: &str) -> f64 {
    let name = format!("bugle_proxy_mistakes_total{{reason=\"{kind}\"}}");
    server.metric(&name).await
}

#[tokio::test]
async fn admission_goes_by_the_address_that_a_trusted_proxy_forwards() {
    needs_ours!("its settings");
    for (header, field, inside, outside) in [
        (
            "x-forwarded-for",
            "x-forwarded-for",
            "192.0.2.7",
            "192.0.2.7, 203.0.113.1",
        ),
        (
            "forwarded",
            "forwarded",
            "for=\"[2001:db8::7]:80\"",
            "for=192.0.2.7, for=203.0.113.1",
        ),
    ] {
        let server = server(&[
            ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
            ("SERVER__FORWARDED_HEADER", header),
            ("ADMISSION__ADDRESSES", "192.0.2.0/24, 2001:db8::/32"),
        ])
        .await;
        let inside = [(field, inside)];
        let outside = [(field, outside)];
        handshake(&server, &inside).await.unwrap();
        assert_eq!(handshake(&server, &outside).await.unwrap_err(), 403);
        assert_eq!(handshake(&server, &[]).await.unwrap_err(), 403);
        for version in [Version::Http1, Version::Http2] {
            assert_eq!(subscribe(&server, version, &inside).await.status, 201);
            assert_eq!(subscribe(&server, version, &outside).await.status, 403);
        }
        assert_eq!(mistakes(&server, "no_address").await, 1.0);
        assert_eq!(mistakes(&server, "not_trusted").await, 0.0);
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    needs_ours!("its settings");
    // Nobody by default, and not the other field of a proxy.
    for settings in [
        &[("ADMISSION__ADDRESSES", "192.0.2.0/24")][..],
        &[
            ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
            ("SERVER__TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.2"),
        ],
    ] {
        let server = server(settings).await;
        for forged in [
            ("x-forwarded-for", "192.0.2.7"),
            ("forwarded", "for=192.0.2.7"),
        ] {
            assert_eq!(handshake(&server, &[forged]).await.unwrap_err(), 403);
            let refused = subscribe(&server, Version::of_run(), &[forged]).await;
            assert_eq!(refused.status, 403);
        }
        assert_eq!(mistakes(&server, "not_trusted").await, 4.0);
    }
}

#[tokio::test]
async fn a_block_is_one_of_the_client_and_not_of_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let path = "blocks/addresses/192.0.2.0%2F24";
    let blocked = server.operate("PUT", path, &json!({ "note": "" })).await;
    assert!(blocked.status.is_success(), "{}", blocked.text());
    for version in [Version::Http1, Version::Http2] {
        let theirs = subscribe(&server, version, &[("x-forwarded-for", "192.0.2.7")]).await;
        assert_eq!((theirs.status.as_u16(), theirs.errno()), (403, 999));
        let other = subscribe(&server, version, &[("x-forwarded-for", "192.0.3.7")]).await;
        assert_eq!(other.status, 201);
    }
}

#[tokio::test]
async fn a_rate_is_one_of_the_client_and_not_of_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("LIMITS__ADDRESS_RATE", "1"),
        ("LIMITS__ADDRESS_BURST", "2"),
    ])
    .await;
    for client in ["192.0.2.7", "192.0.2.8", "2001:db8::1"] {
        // What a client writes itself makes no other of it.
        let asked = async |made_up: &str| {
            let field = format!("{made_up}, {client}");
            let field = [("x-forwarded-for", &*field)];
            subscribe(&server, Version::of_run(), &field)
                .await
                .status
                .as_u16()
        };
        let statuses = [
            asked("1.1.1.1").await,
            asked("1.1.1.2").await,
            asked("::1").await,
        ];
        assert_eq!(statuses, [201, 201, 429], "{client}");
    }
}

#[tokio::test]
async fn places_are_counted_for_each_client_behind_the_proxy() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
    ])
    .await;
    let one = [("x-forwarded-for", "192.0.2.7")];
    let other = [("x-forwarded-for", "192.0.2.8")];
    let made = subscribe(&server, Version::of_run(), &one).await;
    assert_eq!(made.status, 201);
    // A WebSocket holds the place of its client, and that alone.
    let first = handshake(&server, &one).await.unwrap();
    assert_eq!(handshake(&server, &one).await.unwrap_err(), 429);
    for version in [Version::Http1, Version::Http2] {
        let refused = subscribe(&server, version, &one).await;
        assert_eq!(refused.status, 429);
        let body: Value = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(body["setting"], "limits.connections_per_address");
        assert_eq!(subscribe(&server, version, &other).await.status, 201);
    }
    handshake(&server, &other).await.unwrap();
    // And gives it back.
    first.leave(&server).await;
    let set = made
        .header("location")
        .split_once("/subscription")
        .unwrap()
        .1;
    let path = format!("/subscription{set}");
    let held = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nX-Forwarded-For: \
         192.0.2.7\r\n\r\n"
    );
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(held.as_bytes()).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'H');
    // So does a GET that is held.
    assert_eq!(handshake(&server, &one).await.unwrap_err(), 429);
    drop(stream);
    server.await_metric("bugle_monitors", 0.0).await;
    handshake(&server, &one).await.unwrap();
}

#[tokio::test]
async fn the_proxy_protocol_says_where_a_connection_comes_from() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SERVER__PROXY_PROTOCOL", "true"),
        ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "1"),
    ])
    .await;
    let connect = async || TcpStream::connect(server.authority()).await.unwrap();
    let ask = request("POST", "/subscribe");
    let inside = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";
    let outside = b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n";
    for (header, status) in [
        (&inside[..], "201"),
        (VERSION_2, "201"),
        (outside, "403"),
        // The proxy itself.
        (b"PROXY UNKNOWN\r\n", "403"),
    ] {
        let answer = exchange(connect().await, &[header, ask.as_bytes()]).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    // A client is no proxy, so what it claims is not believed.
    let forged = ask.replace("Host", "X-Forwarded-For: 192.0.2.7\r\nHost");
    let answer = exchange(connect().await, &[outside, forged.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    // The connection has the place of its client.
    let mut stream = connect().await;
    stream.write_all(VERSION_2).await.unwrap();
    let first = websocket(stream, &[]).await.unwrap();
    let answer = exchange(connect().await, &[inside, ask.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 429 "), "{answer}");
    assert!(
        answer.contains("limits.connections_per_address"),
        "{answer}"
    );
    drop(first);
    server.await_metric("bugle_user_agents", 0.0).await;
    // HTTP/2 by prior knowledge.
    let mut stream = connect().await;
    stream.write_all(inside).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let post = ::http::Request::post("http://push.example/subscribe");
    let (response, _) = client.send_request(post.body(()).unwrap(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 201);
}

#[tokio::test]
async fn a_connection_without_its_proxy_header_is_closed() {
    needs_ours!("its settings");
    let server = server(&[
        ("SERVER__TRUSTED_PROXIES", "127.0.0.1"),
        ("SERVER__PROXY_PROTOCOL", "true"),
        ("LIMITS__HANDSHAKE_TIMEOUT", "1s"),
    ])
    .await;
    let ask = request("GET", "/health");
    for (octets, kind) in [
        (&b""[..], "no_header"),
        (b"PROXY TCP4 192.0.2.7\r\n", "bad_header"),
        (
            b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\nPROXY UNKNOWN\r\n",
            "unexpected_header",
        ),
    ] {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        assert_eq!(exchange(stream, &[octets, ask.as_bytes()]).await, "");
        assert_eq!(mistakes(&server, kind).await, 1.0, "{kind}");
    }
    // Nor is one that never ends waited for.
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    assert_eq!(exchange(stream, &[b"PROXY TCP4 19"]).await, "");
    let cut = "bugle_connections_cut_total{reason=\"limits.handshake_timeout\"}";
    assert_eq!(server.metric(cut).await, 1.0);
    server.await_metric("bugle_connections", 1.0).await;
}

#[tokio::test]
async fn a_proxy_header_is_taken_where_it_is_set_and_from_whom_is_trusted_alone() {
    needs_ours!("its settings");
    for settings in [
        &[("SERVER__TRUSTED_PROXIES", "127.0.0.1")][..],
        &[
            ("SERVER__TRUSTED_PROXIES", "127.0.0.2"),
            ("SERVER__PROXY_PROTOCOL", "true"),
        ],
    ] {
        let server = server(settings).await;
        let ask = request("GET", "/health");
        for header in [&b"PROXY TCP4 192.0.2.7 127.0.0.1 1 2\r\n"[..], VERSION_2] {
            let stream = TcpStream::connect(server.authority()).await.unwrap();
            assert_eq!(exchange(stream, &[header, ask.as_bytes()]).await, "");
        }
        assert_eq!(mistakes(&server, "unexpected_header").await, 2.0);
        assert_eq!(server.get("/health").await.status, 200);
    }
}

#[tokio::test]
async fn a_unix_socket_is_a_listener_whose_peers_are_trusted() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    let mut server = server(&[
        ("SERVER__SOCKET", path.to_str().unwrap()),
        ("ADMISSION__ADDRESSES", "192.0.2.0/24"),
    ])
    .await;
    let mode = path.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let client = [("x-forwarded-for", "192.0.2.7")];
    let connect = async || UnixStream::connect(&path).await.unwrap();
    websocket(connect().await, &client).await.unwrap();
    assert_eq!(websocket(connect().await, &[]).await.unwrap_err(), 403);
    let (client, connection) = h2::client::handshake(connect().await).await.unwrap();
    tokio::spawn(connection);
    let post = ::http::Request::post("http://push.example/subscribe");
    let post = post
        .header("x-forwarded-for", "192.0.2.7")
        .body(())
        .unwrap();
    let mut client = client.ready().await.unwrap();
    let (response, _) = client.send_request(post, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 201);
    // The other listener goes on beside it, and trusts nobody.
    assert_eq!(
        handshake(&server, &[("x-forwarded-for", "192.0.2.7")])
            .await
            .unwrap_err(),
        403
    );
    server.stop().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn only_a_unix_socket_that_nobody_listens_at_is_replaced() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let _first = server(&[
        ("SERVER__SOCKET", path.to_str().unwrap()),
        ("SERVER__SOCKET_MODE", "0600"),
    ])
    .await;
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for (taken, said) in [(&path, "server.socket"), (&file, "no socket")] {
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = None;
        config.server.data = folder.path().join("other");
        config.server.socket = Some(taken.clone());
        let refused = Bugle::bind(config, Clock::system()).await.err().unwrap();
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    assert!(UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn a_whole_push_goes_over_the_unix_socket() {
    needs_ours!("its settings");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("push.sock");
    let server = server(&[("SERVER__SOCKET", path.to_str().unwrap())]).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let path_of_push = endpoint.strip_prefix(&server.origin()).unwrap();
    let stream = UnixStream::connect(&path).await.unwrap();
    let post = request("POST", path_of_push).replace("Host", "TTL: 60\r\nHost");
    let answer = exchange(stream, &[post.as_bytes()]).await;
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    Push::to(&server, &endpoint).accepted().await;
}

#[tokio::test]
async fn the_audit_log_has_the_address_of_an_operator_behind_the_proxy_too() {
    needs_ours!("its settings");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Full));
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.9, 192.0.2.7"),
    ];
    let path = "/admin/v1/blocks/addresses/198.51.100.1";
    let version = Version::of_run();
    let changed = http::send(
        version,
        server.admin(),
        "PUT",
        path,
        &fields,
        b"{\"note\":\"\"}",
    )
    .await;
    assert!(changed.status.is_success(), "{}", changed.text());
    let audit = server.look("audit").await;
    let peer = "127.0.0.1 (forwarded for 192.0.2.7)";
    assert_eq!(audit["entries"][0]["peer"], peer);
    // Nor are operators told about what proxies of theirs lack.
    assert_eq!(mistakes(&server, "no_address").await, 0.0);
}

#[tokio::test]
async fn the_audit_log_names_the_connection_besides_what_a_proxy_says() {
    needs_ours!("its admin listener");
    let server = server(&[("SERVER__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Full));
    let body = br#"{"version":"1"}"#;
    let path = "/admin/v1/broadcasts/a";
    let fields = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("x-forwarded-for", "203.0.113.7"),
    ];
    for fields in [&fields[..], &fields[..2]] {
        let reply = http::http1(server.admin(), "PUT", path, fields, body).await;
        assert!(reply.status.is_success(), "{}", reply.text());
    }
    let entries = server.look("audit").await["entries"].clone();
    assert_eq!(entries[0]["peer"], "127.0.0.1");
    assert_eq!(entries[1]["peer"], "127.0.0.1 (forwarded for 203.0.113.7)");
}
