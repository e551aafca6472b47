//! Clients that send one byte at a time, on every listener and in every state of a connection:
//! each is closed, and honest clients are served meanwhile.

use std::time::Duration;

use bugle::Config;
use futures_util::future::join_all;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::either::Either;

use crate::support::frames::{http2, http2_begin, http2_head, websocket};
use crate::support::server::Server;
use crate::support::siege::{BOUND, Siege};
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;
use crate::tls::{connect, write_certificate};

/// Number of concurrent slow clients of each kind.
const SLOW: usize = 25;

fn short_timeouts(config: &mut Config) {
    let limit = Duration::from_secs(1);
    config.limits.handshake_timeout = limit;
    config.limits.body_timeout = limit;
    config.limits.idle_timeout = limit;
    config.user_agent.hello_timeout = limit;
}

/// Sends `first` at once and then `rest` byte by byte, repeatedly, until the service ends the
/// connection.
async fn trickle(stream: impl AsyncRead + AsyncWrite, first: &[u8], rest: &[u8]) {
    let (mut read, mut write) = split(stream);
    let say = async {
        if write.write_all(first).await.is_err() {
            return;
        }
        for octet in rest.iter().cycle() {
            if write.write_all(&[*octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let hear = async {
        let mut received = [0; 1024];
        while read
            .read(&mut received)
            .await
            .is_ok_and(|octets| octets > 0)
        {}
    };
    tokio::select! {
        () = say => {}
        () = hear => {}
    }
}

/// Connects to a listener: a unix socket or an authority.
async fn connect_to(listener: &str) -> Either<TcpStream, UnixStream> {
    if listener.starts_with('/') {
        Either::Right(UnixStream::connect(listener).await.unwrap())
    } else {
        Either::Left(TcpStream::connect(listener).await.unwrap())
    }
}

#[tokio::test]
async fn slow_clients_are_closed_on_every_listener_in_every_state() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["push.sock", "admin.sock"].map(|name| folder.path().join(name));
    let server = Server::start_program_with(None, |config| {
        short_timeouts(config);
        config.server.socket = Some(sockets[0].clone());
        config.admin.socket = Some(sockets[1].clone());
    })
    .await;
    let mut siege = Siege::of(&server).await;
    let host = "Host: a\r\n";
    let upgrade = format!(
        "GET / HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let post = format!("POST /subscribe HTTP/1.1\r\n{host}Content-Length: 4000\r\n\r\n");
    let head = http2_head(3, "/subscribe", &[]);
    let half = [http2_begin(&[]), http2(1, 0, 1, &head)].concat();
    let open = [http2_begin(&[]), http2(1, 4, 1, &head)].concat();
    let (public, admin) = (server.authority(), server.admin());
    let [public_socket, admin_socket] = sockets.each_ref().map(|path| path.to_str().unwrap());
    let get = format!("GET / HTTP/1.1\r\n{host}");
    let ways: &[(&str, &[u8], &[u8])] = &[
        (public, b"", get.as_bytes()),
        (public, get.as_bytes(), b"X-Slow: y\r\n"),
        (public, post.as_bytes(), b"a"),
        (public, b"P", b"R"),
        (public, b"PRI * HTTP/2.0\r\n\r\nS", b"M"),
        (public, &http2_begin(&[]), &http2(6, 1, 0, &[0; 8])),
        (public, &half, &http2(9, 0, 1, b"")),
        (public, &open, &http2(0, 0, 1, b"a")),
        (public, upgrade.as_bytes(), &websocket(0x01, b"{")),
        (admin, b"", get.as_bytes()),
        (admin, get.as_bytes(), b"X-Slow: y\r\n"),
        (admin, b"PRI * HTTP/2.0\r\n\r\nS", b"M"),
        (admin, &half, &http2(9, 0, 1, b"")),
        (public_socket, get.as_bytes(), b"X-Slow: y\r\n"),
        (public_socket, upgrade.as_bytes(), &websocket(0x01, b"{")),
        (admin_socket, get.as_bytes(), b"X-Slow: y\r\n"),
    ];
    let slow = ways.iter().flat_map(|way| [way; SLOW]);
    let slow = slow.map(|(address, first, rest)| async move {
        let stream = connect_to(address).await;
        let cut = timeout(3 * TIMEOUT, trickle(stream, first, rest)).await;
        let way = String::from_utf8_lossy(first);
        assert!(cut.is_ok(), "kept at {address}: {way:?}, {rest:?}");
    });
    siege.withstands(join_all(slow)).await;
    let all_gone = server.await_metric("bugle_connections", 2.0);
    all_gone.await;
}

#[tokio::test]
async fn slow_clients_are_closed_during_and_after_the_tls_handshake() {
    needs_ours!("its certificate");
    let folder = tempfile::tempdir().unwrap();
    let certificate = write_certificate(folder.path());
    let server = Server::start_program_with(None, |config| {
        short_timeouts(config);
        config.tls.cert_file = Some(folder.path().join("cert.pem"));
        config.tls.key_file = Some(folder.path().join("key.pem"));
    })
    .await;
    let before = server.resident();
    let cut = |what: &'static str, ended: Result<(), _>| {
        let _: () = ended.unwrap_or_else(|_: Elapsed| panic!("not closed {what}"));
    };
    let in_handshake = (0..10 * SLOW).map(|_| async {
        let stream = TcpStream::connect(server.authority()).await.unwrap();
        // A TLS record with a ClientHello that announces 512 bytes.
        let hello = trickle(stream, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc], &[3]);
        cut("in the handshake", timeout(3 * TIMEOUT, hello).await);
    });
    let behind = (0..SLOW).map(|_| async {
        let stream = connect(&server, &certificate, &[]).await.unwrap();
        let request = trickle(stream, b"GET / HTTP/1.1\r\n", b"X-Slow: y\r\n");
        cut("behind the handshake", timeout(3 * TIMEOUT, request).await);
    });
    let honest = async {
        let mut stream = connect(&server, &certificate, &[]).await.unwrap();
        let get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(get).await.unwrap();
        let mut answer = Vec::new();
        // The connection must end, with or without a TLS close_notify.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    };
    tokio::join!(join_all(in_handshake), join_all(behind), honest);
    let grown = server.resident().saturating_sub(before);
    assert!(grown < BOUND, "the program has grown by {grown} octets");
}
