//! Hostile HTTP/2 clients, frame by frame: floods that cost the sender little, endless headers
//! and closed windows. The memory stays bounded, and honest clients are served.

use std::time::Duration;

use bugle::Config;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::frames::{http2, http2_begin, http2_head, next_http2};
use crate::support::server::Server;
use crate::support::siege::{Siege, connect, drain, pour};
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

// Frames and flags (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const INITIAL_WINDOW: u16 = 4;

/// Indices of methods in the static table of HPACK.
const GET: u8 = 2;
const POST: u8 = 3;

fn short_timeouts(config: &mut Config) {
    config.limits.body_timeout = Duration::from_secs(1);
}

async fn begun(server: &Server, settings: &[(u16, u32)]) -> TcpStream {
    let mut stream = connect(server).await;
    stream.write_all(&http2_begin(settings)).await.unwrap();
    stream
}

/// A request on each of these streams, reset at once (CVE-2023-44487).
fn resets(path: &str, streams: std::ops::Range<u32>) -> Vec<u8> {
    let head = http2_head(GET, path, &[]);
    let reset = 8_u32.to_be_bytes();
    let request = |stream: u32| {
        let asked = http2(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [asked, http2(RST_STREAM, 0, stream, &reset)].concat()
    };
    streams.flat_map(|nth| request(2 * nth + 1)).collect()
}

#[tokio::test]
async fn rapid_resets_leave_no_resources() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, short_timeouts).await;
    let mut siege = Siege::of(&server).await;
    for path in ["/push/x", "/health", "/subscription-set/x"] {
        let mut stream = begun(&server, &[]).await;
        let flood = async {
            for round in 0..100 {
                let resets = resets(path, round * 100..(round + 1) * 100);
                if stream.write_all(&resets).await.is_err() {
                    break;
                }
            }
        };
        let flood = siege.withstands(timeout(2 * TIMEOUT, flood)).await;
        assert!(flood.is_ok(), "neither served nor cut");
    }
}

/// Frames that a client sends while it reads no responses. Those that require a response end
/// the connection; the others have no effect.
#[tokio::test]
async fn control_frame_floods_end_the_connection_or_have_no_effect() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, short_timeouts).await;
    let mut siege = Siege::of(&server).await;
    let open = http2(HEADERS, END_HEADERS, 1, &http2_head(POST, "/push/x", &[]));
    let window = [0, INITIAL_WINDOW.to_be_bytes()[1], 0, 0, 0xff, 0xff];
    for (name, before, frame) in [
        ("SETTINGS", vec![], http2(SETTINGS, 0, 0, &window)),
        ("PING", vec![], http2(PING, 0, 0, &[7; 8])),
        ("PING answers", vec![], http2(PING, 1, 0, &[7; 8])),
        ("PRIORITY", vec![], http2(PRIORITY, 0, 9, &[0, 0, 0, 0, 1])),
        ("unknown", vec![], http2(0xbe, 0, 0, &[0; 64])),
        ("windows", vec![], http2(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("no windows", vec![], http2(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("empty DATA", open, http2(DATA, 0, 1, &[])),
    ] {
        let mut stream = begun(&server, &[]).await;
        stream.write_all(&before).await.unwrap();
        let frames = frame.repeat(500);
        let flood = pour(&mut stream, &frames, 200);
        let poured = siege.withstands(timeout(3 * TIMEOUT, flood)).await;
        assert!(poured.is_ok(), "{name}: neither taken nor cut");
        println!("{name}: {poured:?} of 200");
    }
}

#[tokio::test]
async fn endless_headers_end_the_connection() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, short_timeouts).await;
    let mut siege = Siege::of(&server).await;
    let head = http2_head(GET, "/health", &[]);
    let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    for (name, more) in [
        ("full", http2(CONTINUATION, 0, 1, &field.repeat(150))),
        ("small", http2(CONTINUATION, 0, 1, &field)),
        ("empty", http2(CONTINUATION, 0, 1, &[])),
        // The same field as a table reference, one byte each.
        ("table", http2(CONTINUATION, 0, 1, &[0xbe; 16_000])),
    ] {
        let mut stream = begun(&server, &[]).await;
        // A literal that enters the table: RFC 7541 §6.2.1.
        let kept = [&[0x40, 1, b'x', 100][..], &[b'y'; 100]].concat();
        let first = http2(HEADERS, END_STREAM, 1, &[&head[..], &kept].concat());
        stream.write_all(&first).await.unwrap();
        let flood = timeout(3 * TIMEOUT, pour(&mut stream, &more, usize::MAX));
        assert!(siege.withstands(flood).await.is_ok(), "{name}: no end");
    }
}

#[tokio::test]
async fn responses_without_flow_control_window_time_out() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, short_timeouts).await;
    let mut siege = Siege::of(&server).await;
    let mut asked = Vec::new();
    for nth in 0..128 {
        let head = http2_head(GET, "/errors", &[]);
        let flags = END_HEADERS | END_STREAM;
        asked.extend(http2(HEADERS, flags, 2 * nth + 1, &head));
    }
    let hold = async {
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut stream = begun(&server, &[(INITIAL_WINDOW, 0)]).await;
            stream.write_all(&asked).await.unwrap();
            held.push(stream);
        }
        held
    };
    let mut held = siege.withstands(hold).await;
    for stream in &mut held {
        let resets = siege.withstands(timeout(2 * TIMEOUT, await_resets(stream, 128)));
        assert!(resets.await.is_ok(), "they are kept");
    }
}

/// Reads until this many streams have been reset.
async fn await_resets(stream: &mut TcpStream, mut count: usize) {
    while count > 0 {
        count -= usize::from(next_http2(stream).await.kind == RST_STREAM);
    }
}

#[tokio::test]
async fn incomplete_headers_on_many_connections_are_bounded() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, |config| {
        config.limits.handshake_timeout = Duration::from_secs(1);
        config.limits.idle_timeout = Duration::from_secs(1);
    })
    .await;
    let mut siege = Siege::of(&server).await;
    let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    let block = [http2_head(GET, "/", &[]), field.repeat(100)].concat();
    let half = http2(HEADERS, END_STREAM, 1, &block);
    let hold = async {
        let mut held = Vec::new();
        for _ in 0..300 {
            let mut stream = begun(&server, &[]).await;
            stream.write_all(&half).await.unwrap();
            held.push(stream);
        }
        for stream in &mut held {
            drain(stream).await;
        }
    };
    siege.withstands(hold).await;
}

#[tokio::test]
async fn a_client_may_reset_all_its_requests_at_once() {
    let server = Server::start().await;
    for path in ["/push/x", "/health"] {
        let mut stream = begun(&server, &[]).await;
        // All allowed streams, nearly as many again, then one to wait for.
        let mut octets = resets(path, 0..128);
        octets.extend(resets(path, 128..250));
        let head = http2_head(GET, "/health", &[]);
        octets.extend(http2(HEADERS, END_HEADERS | END_STREAM, 513, &head));
        stream.write_all(&octets).await.unwrap();
        let answered = timeout(TIMEOUT, await_frame(&mut stream, HEADERS, 513)).await;
        answered.expect("the last request gets a response");
    }
}

/// Reads until a frame of this type and stream arrives; fails on GOAWAY.
async fn await_frame(stream: &mut TcpStream, kind: u8, of: u32) {
    loop {
        let frame = next_http2(stream).await;
        let text = String::from_utf8_lossy(&frame.payload);
        assert_ne!(frame.kind, GOAWAY, "{text}");
        if (frame.kind, frame.stream) == (kind, of) {
            return;
        }
    }
}

#[tokio::test]
async fn an_idle_connection_ends_with_goaway_and_without_ping() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.idle_timeout = Duration::from_millis(100);
    })
    .await;
    let mut stream = begun(&server, &[]).await;
    let head = http2_head(GET, "/health", &[]);
    let ask = http2(HEADERS, END_HEADERS | END_STREAM, 1, &head);
    stream.write_all(&ask).await.unwrap();
    let goaway = async {
        loop {
            let frame = next_http2(&mut stream).await;
            assert_ne!(
                frame.kind, PING,
                "python-h2 treats it as an error after GOAWAY"
            );
            if frame.kind == GOAWAY {
                return frame.payload;
            }
        }
    };
    let payload = timeout(TIMEOUT, goaway).await.expect("GOAWAY arrives");
    // The last stream id, and NO_ERROR.
    assert_eq!(payload, [0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(drain(&mut stream).await.is_empty(), "nothing after it");
}
