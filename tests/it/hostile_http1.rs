//! Hostile HTTP/1.1 clients: ambiguous requests, single bytes, and unread responses.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::app_server::Push;
use crate::support::http::raw;
use crate::support::server::Server;
use crate::support::siege::{Siege, connect, pour};
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, TIMEOUT, UserAgent};

#[tokio::test]
async fn a_client_that_does_not_read_its_responses_is_closed() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, |config| {
        config.limits.body_timeout = Duration::from_secs(1);
    })
    .await;
    let mut siege = Siege::of(&server).await;
    let request = format!(
        "GET /errors HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.authority()
    );
    let requests = request.repeat(100);
    let mut stream = connect(&server).await;
    let asking = timeout(3 * TIMEOUT, pour(&mut stream, requests.as_bytes(), 100_000));
    let asked = siege.withstands(asking).await;
    assert!(asked.is_ok_and(|times| times < 100_000), "it is kept");
}

/// A complete request that follows each of the requests below. If the service parses it, the
/// response is 200.
fn following_request(server: &Server) -> String {
    format!(
        "GET /health HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.authority()
    )
}

/// The number of responses, and the first one.
async fn answers(server: &Server, octets: &str) -> (usize, String) {
    let answer = raw(server.authority(), octets.as_bytes()).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let first = answer.lines().next().unwrap_or_default().to_owned();
    (answer.matches("HTTP/1.1 ").count(), first)
}

/// Bodies whose length two parsers may interpret differently (RFC 9112 §6.3, §11.2).
const FRAMINGS: &[&str] = &[
    // Two lengths.
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "Content-Length: 44\r\nContent-Length: 0\r\n\r\n",
    "Content-Length: 0, 44\r\n\r\n",
    "Content-Length: 0\r\ncontent-length: 0 \r\nContent-length: 1\r\n\r\n",
    // Invalid lengths.
    "Content-Length: +0\r\n\r\n",
    "Content-Length: -1\r\n\r\n",
    "Content-Length: 0x0\r\n\r\n",
    "Content-Length: 0 0\r\n\r\n",
    "Content-Length: \r\n\r\n",
    "Content-Length: 18446744073709551616\r\n\r\n",
    "Content-Length: 00000000000000000000000000\u{b2}\r\n\r\n",
    // Codings other than `chunked`.
    "Transfer-Encoding: identity\r\n\r\n",
    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: , chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    // Invalid field names.
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "Content-Length : 0\r\n\r\n",
    " Content-Length: 0\r\n\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: y\r\n\tContent-Length: 0\r\n\r\n",
    "Transfer\u{0}-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "X: y\rContent-Length: 0\r\n\r\n",
    "X: y\u{0}\r\nContent-Length: 0\r\n\r\n",
    // Invalid chunks.
    "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1\n a\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\n\n",
    "Transfer-Encoding: chunked\r\n\r\n0;\rx\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n1;a=\"\nGET\"\r\na\r\n0\r\n\r\n",
];

#[tokio::test]
async fn no_framing_hides_a_second_request() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        // A connection that waits for more bytes times out soon.
        config.limits.idle_timeout = Duration::from_millis(200);
        config.limits.body_timeout = Duration::from_millis(200);
    })
    .await;
    let (following, host) = (
        following_request(&server),
        format!("Host: {}", server.authority()),
    );
    // After a valid request, the next one is served.
    for plain in [
        "Content-Length: 2\r\n\r\nab",
        "Transfer-Encoding: Chunked\r\n\r\n1;a=b;c=\"d\"\r\na\r\n0\r\nX: trailer\r\n\r\n",
    ] {
        let last = following.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let octets = format!("POST /push/x HTTP/1.1\r\n{host}\r\n{plain}{last}");
        assert_eq!(answers(&server, &octets).await.0, 2, "{plain:?}");
    }
    for framing in FRAMINGS {
        for method in ["POST /push/x", "GET /health", "DELETE /message/x"] {
            let octets = format!("{method} HTTP/1.1\r\n{host}\r\n{framing}{following}");
            let (count, first) = answers(&server, &octets).await;
            assert_eq!(count, 1, "{method} {framing:?}: {first}");
        }
    }
}

#[tokio::test]
async fn a_request_with_an_ambiguous_end_is_refused() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.idle_timeout = Duration::from_millis(200);
        config.limits.body_timeout = Duration::from_millis(200);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nTTL: 60",
        server.authority()
    );
    for framing in FRAMINGS {
        let (_, first) = answers(&server, &format!("{head}\r\n{framing}")).await;
        // A request with both lengths is accepted but ends the connection.
        let is_both = framing.contains("Content-Length: 5");
        assert!(
            is_both || !first.starts_with("HTTP/1.1 2"),
            "{framing:?}: {first}"
        );
    }
    Push::to(&server, &endpoint).ttl(0).accepted().await;
}

/// Requests whose host two parsers may interpret differently (RFC 9112 §3.2), and bytes that
/// some parsers accept as line ends.
#[tokio::test]
async fn an_ambiguous_request_line_or_host_is_refused() {
    let server = Server::start().await;
    let authority = server.authority();
    for (octets, status) in [
        (
            format!("GET /health HTTP/1.1\r\nHost: a\r\nHost: {authority}\r\n\r\n"),
            400,
        ),
        ("GET /health HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET /health HTTP/1.1\r\nHost: a\r\n b\r\n\r\n".to_owned(),
            400,
        ),
        (" GET /health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1 \r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET  /health HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/1.1\r\nHo st: a\r\n\r\n".to_owned(), 400),
        ("GET /health HTTP/9.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /health\r\n\r\n".to_owned(), 400),
        (
            "GET /hea\u{0}lth HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
        ),
        ("GET /health\tHTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
    ] {
        let (count, first) = answers(&server, &octets).await;
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(first.starts_with(&wanted), "{octets:?}: {first}");
        assert_eq!(count, 1, "{octets:?}");
    }
    // RFC 9112 §3.2.2: an absolute URL takes precedence over Host.
    let absolute = format!(
        "GET http://{authority}/health HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(answers(&server, &absolute).await.1, "HTTP/1.1 200 OK");
}
