//! An HTTP/2 connection survives refusals, however late the bodies of the refused requests
//! arrive (RFC 9113 §8.1): no stream is reset while its body may still arrive within the
//! limits.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::app_server::{encrypted, key_pair};
use crate::support::channels::subscribed;
use crate::support::frames::{Http2Frame, http2, http2_begin, http2_head, next_http2};
use crate::support::http::read;
use crate::support::server::Server;
use crate::support::siege::connect;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, TIMEOUT, UserAgent};

// Frames and flags (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Indices of methods in the static table of HPACK.
const GET: u8 = 2;
const POST: u8 = 3;

/// In total more stream errors than the h2 crate allows on a connection (1,024), in rounds
/// below the limit of concurrent streams (128).
const ROUNDS: u32 = 15;
const ROUND: u32 = 100;

/// Pushes that are refused before their body is read, with their statuses.
async fn refusals(server: &Server) -> Vec<(u16, Request<()>)> {
    let mut user_agent = UserAgent::connect(server).await;
    let key = key_pair(1).public_key().to_base64url();
    let restricted = user_agent.register(CHANNEL, Some(&key)).await;
    let gone = user_agent.register(CHANNEL_2, None).await;
    user_agent.unregister(CHANNEL_2).await;
    let never_issued = format!("{}/push/never-issued", server.origin());
    [(401, restricted), (410, gone), (404, never_issued)]
        .map(|(status, url)| (status, Request::post(url).header("ttl", "60")))
        .map(|(status, push)| (status, push.body(()).unwrap()))
        .into()
}

/// Sends a round of requests without their bodies; returns the streams once all responses have
/// arrived.
async fn ask(
    client: &SendRequest<Bytes>,
    refusals: &[(u16, Request<()>)],
) -> Vec<h2::SendStream<Bytes>> {
    let mut asked = Vec::new();
    for (status, push) in refusals.iter().cycle().take(ROUND as usize) {
        let mut client = client.clone().ready().await.unwrap();
        let (answer, body) = client.send_request(push.clone(), false).unwrap();
        asked.push((*status, answer, body));
    }
    let mut bodies = Vec::new();
    for (status, answer, body) in asked {
        assert_eq!(read(answer.await.unwrap()).await.status, status);
        bodies.push(body);
    }
    bodies
}

#[tokio::test]
async fn refused_pushes_with_late_bodies_keep_their_connection() {
    let server = Server::lenient().await;
    let refusals = refusals(&server).await;
    let (mut user_agent, good) = subscribed(&server).await;
    let (client, connection) = handshake(connect(&server).await).await.unwrap();
    tokio::spawn(connection);
    // In total 90 times the flow-control window.
    let body = Bytes::from(vec![b'x'; 4096]);
    for round in 0..ROUNDS {
        let answered = timeout(TIMEOUT, ask(&client, &refusals)).await;
        for mut stream in answered.expect("all responses arrive") {
            let sent = stream.send_data(body.clone(), true);
            assert_eq!(sent.map_err(|error| error.to_string()), Ok(()), "{round}");
        }
    }
    let mut client = client.ready().await.unwrap();
    let push = push_to(&good).body(()).unwrap();
    let (answer, mut stream) = client.send_request(push, false).unwrap();
    let body = encrypted("the connection lives");
    stream.send_data(body.clone().into(), true).unwrap();
    let answer = timeout(TIMEOUT, answer).await.expect("a response arrives");
    assert_eq!(answer.unwrap().status(), 201);
    assert_eq!(user_agent.notification().await.data(), body);
}

/// A connection with hand-written frames.
struct Raw(TcpStream);

impl Raw {
    async fn open(server: &Server) -> Self {
        Self::open_with(server, &[]).await
    }

    /// Opens a connection with these SETTINGS.
    async fn open_with(server: &Server, settings: &[(u16, u32)]) -> Self {
        let mut stream = connect(server).await;
        stream.write_all(&http2_begin(settings)).await.unwrap();
        // A window for all responses.
        let window = http2(WINDOW_UPDATE, 0, 0, &(1_u32 << 24).to_be_bytes());
        stream.write_all(&window).await.unwrap();
        Self(stream)
    }

    async fn write(&mut self, octets: &[u8]) {
        self.0.write_all(octets).await.unwrap();
    }

    /// Starts a push that is refused.
    async fn push(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let head = http2_head(POST, "/push/never-issued", fields);
        self.write(&http2(HEADERS, END_HEADERS, stream, &head))
            .await;
    }

    /// Reads until a frame satisfies `is_wanted`; fails on GOAWAY.
    async fn until(&mut self, is_wanted: impl Fn(&Http2Frame) -> bool) -> Http2Frame {
        let found = async {
            loop {
                let frame = next_http2(&mut self.0).await;
                let text = String::from_utf8_lossy(&frame.payload);
                assert_ne!(frame.kind, GOAWAY, "{text}");
                if is_wanted(&frame) {
                    return frame;
                }
            }
        };
        timeout(TIMEOUT, found).await.expect("such a frame arrives")
    }

    /// Reads until this many responses are complete; fails if a stream is reset.
    async fn answers(&mut self, count: u32) {
        for _ in 0..count {
            let end = |frame: &Http2Frame| {
                let (stream, code) = (frame.stream, &frame.payload);
                assert_ne!(frame.kind, RST_STREAM, "stream {stream}: {code:?}");
                matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0
            };
            self.until(end).await;
        }
    }

    /// Reads a response until its stream is reset, and opens its window again for each frame.
    /// Returns its body, whether it was complete, and the error code.
    async fn response_until_reset(&mut self, stream: u32) -> (Vec<u8>, bool, Vec<u8>) {
        let (mut body, mut is_complete) = (Vec::new(), false);
        loop {
            let frame = self.until(|frame| frame.stream == stream).await;
            if frame.kind == RST_STREAM {
                return (body, is_complete, frame.payload);
            }
            is_complete |= frame.flags & END_STREAM != 0;
            if frame.kind == DATA && !frame.payload.is_empty() {
                let bytes = u32::try_from(frame.payload.len()).unwrap();
                let window = http2(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
                self.write(&window).await;
                body.extend(frame.payload);
            }
        }
    }

    /// Reads until this stream is reset; returns the error code.
    async fn reset(&mut self, stream: u32) -> Vec<u8> {
        let is_reset = |frame: &Http2Frame| (frame.kind, frame.stream) == (RST_STREAM, stream);
        self.until(is_reset).await.payload
    }

    /// Asserts that the connection still serves a request.
    async fn still_serves(&mut self, stream: u32) {
        let head = http2_head(GET, "/health", &[]);
        let flags = END_HEADERS | END_STREAM;
        self.write(&http2(HEADERS, flags, stream, &head)).await;
        let is_answer = |frame: &Http2Frame| (frame.kind, frame.stream) == (HEADERS, stream);
        // Status 200 in the static table of HPACK.
        assert_eq!(self.until(is_answer).await.payload[0], 0x88);
    }
}

#[tokio::test]
async fn a_late_body_after_a_refusal_causes_no_stream_reset() {
    let server = Server::start().await;
    let mut raw = Raw::open(&server).await;
    // The bodies of one round fit into the flow-control window.
    let body = [b'x'; 30];
    for round in 0..ROUNDS {
        let streams = (0..ROUND).map(|nth| 2 * (round * ROUND + nth) + 1);
        for stream in streams.clone() {
            raw.push(stream, &[("ttl", "60")]).await;
        }
        raw.answers(ROUND).await;
        for stream in streams {
            raw.write(&http2(DATA, END_STREAM, stream, &body)).await;
        }
    }
    let next = 2 * ROUNDS * ROUND + 1;
    let head = http2_head(GET, "/health", &[]);
    raw.write(&http2(HEADERS, END_HEADERS | END_STREAM, next, &head))
        .await;
    raw.answers(1).await;
}

#[tokio::test]
async fn a_refused_body_that_is_too_long_or_unwanted_is_reset_with_no_error() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = 8 * TIMEOUT;
    })
    .await;
    let mut raw = Raw::open(&server).await;
    raw.push(1, &[("content-length", "5000")]).await;
    assert_eq!(raw.reset(1).await, [0; 4], "NO_ERROR");
    raw.push(3, &[("content-length", "50"), ("expect", "100-continue")])
        .await;
    assert_eq!(raw.reset(3).await, [0; 4]);
    raw.push(5, &[]).await;
    raw.answers(1).await;
    for _ in 0..5 {
        raw.write(&http2(DATA, 0, 5, &[b'x'; 1000])).await;
    }
    assert_eq!(raw.reset(5).await, [0; 4]);
    raw.still_serves(7).await;
}

#[tokio::test]
async fn an_endless_refused_body_is_reset() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = Duration::from_millis(200);
    })
    .await;
    let mut raw = Raw::open(&server).await;
    raw.push(1, &[]).await;
    raw.answers(1).await;
    raw.write(&http2(DATA, 0, 1, b"part")).await;
    assert_eq!(raw.reset(1).await, [0; 4], "NO_ERROR");
    raw.still_serves(3).await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_unwanted_bodies() {
    needs_ours!("its settings");
    let mut server = Server::start_with(|config| {
        config.limits.body_timeout = 8 * TIMEOUT;
        config.server.drain = 8 * TIMEOUT;
    })
    .await;
    let (client, connection) = handshake(connect(&server).await).await.unwrap();
    tokio::spawn(connection);
    let push = Request::post(format!("{}/push/never-issued", server.origin()));
    let mut client = client.ready().await.unwrap();
    let (answer, _body) = client.send_request(push.body(()).unwrap(), false).unwrap();
    assert_eq!(read(answer.await.unwrap()).await.status, 404);
    let stopped = timeout(TIMEOUT, server.stop()).await;
    assert!(stopped.is_ok(), "the stream ends with its answer");
}

/// The header of a push to a live subscription.
fn push_to(endpoint: &str) -> http::request::Builder {
    Request::post(endpoint)
        .header("ttl", "60")
        .header("content-encoding", "aes128gcm")
}

/// A server may reset a stream with NO_ERROR once it has sent a complete response (RFC 9113 §8.1).
/// Here the window of the client is far smaller than the response, and the client has already sent
/// more of its body than is accepted.
#[tokio::test]
async fn a_413_is_complete_before_its_stream_is_reset() {
    const INITIAL_WINDOW_SIZE: u16 = 4;
    let server = Server::start().await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let path = endpoint.strip_prefix(&server.origin()).unwrap();
    let mut raw = Raw::open_with(&server, &[(INITIAL_WINDOW_SIZE, 16)]).await;
    for (stream, length) in [(1, Some("5000")), (3, None)] {
        let mut fields = vec![("ttl", "60"), ("content-encoding", "aes128gcm")];
        fields.extend(length.map(|length| ("content-length", length)));
        let head = http2_head(POST, path, &fields);
        raw.write(&http2(HEADERS, END_HEADERS, stream, &head)).await;
        for _ in 0..5 {
            raw.write(&http2(DATA, 0, stream, &[b'x'; 1000])).await;
        }
        let (body, is_complete, code) = raw.response_until_reset(stream).await;
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["code"], &body["errno"]), (&413.into(), &104.into()));
        assert_eq!((is_complete, code), (true, vec![0; 4]), "NO_ERROR");
    }
    raw.still_serves(5).await;
}

/// The same, as a client library sees it.
#[tokio::test]
async fn a_413_arrives_whole_although_its_stream_is_reset() {
    let server = Server::start().await;
    let (_user_agent, endpoint) = subscribed(&server).await;
    let (client, connection) = handshake(connect(&server).await).await.unwrap();
    tokio::spawn(connection);
    for length in [5000, 65_535].repeat(20) {
        let push = push_to(&endpoint).body(()).unwrap();
        let mut client = client.clone().ready().await.unwrap();
        let (answer, mut stream) = client.send_request(push, false).unwrap();
        // The reset may arrive before all of it is sent.
        let _ = stream.send_data(vec![b'x'; length].into(), true);
        let answer = timeout(TIMEOUT, answer).await.expect("a response arrives");
        let reply = read(answer.unwrap()).await;
        assert_eq!(
            (reply.status.as_u16(), reply.errno()),
            (413, 104),
            "{length}"
        );
    }
}
