//! Hostile WebSockets: floods, endless frames and expensive offers. The memory stays bounded,
//! and honest clients are served.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::frames::websocket;
use crate::support::server::Server;
use crate::support::siege::{Siege, drain, pour, upgrade};
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

const HELLO: &[u8] = br#"{"messageType":"hello","use_webpush":true}"#;

/// The first byte of a frame: FIN, RSV1 and the opcode (RFC 6455 §5.2).
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const PING: u8 = 9;

/// The close code at the end of the received frames.
fn close_code(received: &[u8]) -> u16 {
    // Frames from the service are short: 2 bytes of header, then the payload.
    let mut rest = received;
    while rest[0] != FIN | 8 {
        rest = match rest[1] {
            126 => &rest[4 + usize::from(u16::from_be_bytes([rest[2], rest[3]]))..],
            length => &rest[2 + usize::from(length)..],
        };
    }
    u16::from_be_bytes([rest[2], rest[3]])
}

#[tokio::test]
async fn pings_without_reading_the_pongs_end_the_connection() {
    needs_ours!("the program");
    let limit = Duration::from_secs(1);
    let change = |config: &mut bugle::Config| config.user_agent.write_timeout = limit;
    let server = Server::start_program_with(None, change).await;
    let mut siege = Siege::of(&server).await;
    let pings = websocket(FIN | PING, &[b'x'; 125]).repeat(500);
    for hello in [&websocket(FIN | TEXT, HELLO), &Vec::new()] {
        let (mut stream, _) = upgrade(&server, "").await;
        stream.write_all(hello).await.unwrap();
        let flood = timeout(3 * TIMEOUT, pour(&mut stream, &pings, 5000));
        let poured = siege.withstands(flood).await;
        assert!(poured.is_ok_and(|times| times < 5000), "it is never cut");
    }
}

#[tokio::test]
async fn endless_fragments_end_the_connection() {
    needs_ours!("the program");
    let server = Server::start_program_with(None, |config| {
        config.user_agent.ping_interval = Duration::from_secs(1);
        config.user_agent.pong_timeout = Duration::from_secs(3);
    })
    .await;
    let mut siege = Siege::of(&server).await;
    // Empty fragments: the message neither grows nor ends.
    let (mut stream, _) = upgrade(&server, "").await;
    stream
        .write_all(&websocket(FIN | TEXT, HELLO))
        .await
        .unwrap();
    stream.write_all(&websocket(TEXT, b"")).await.unwrap();
    let nothing = websocket(CONTINUATION, b"").repeat(1000);
    let flood = timeout(3 * TIMEOUT, pour(&mut stream, &nothing, usize::MAX));
    assert!(siege.withstands(flood).await.is_ok(), "it is never cut");
    // Fragments with data: the message grows up to `limits.frame_bytes`.
    let (mut stream, _) = upgrade(&server, "").await;
    stream.write_all(&websocket(TEXT, HELLO)).await.unwrap();
    let something = websocket(CONTINUATION, &[b' '; 1000]);
    let flood = async {
        pour(&mut stream, &something, 200).await;
        close_code(&drain(&mut stream).await)
    };
    assert_eq!(siege.withstands(flood).await, 1009);
}

#[tokio::test]
async fn unfinished_messages_on_many_connections_are_bounded() {
    needs_ours!("the program");
    let server = Server::start_program(None).await;
    let mut siege = Siege::of(&server).await;
    let most = 500;
    let hold = async {
        let mut held = Vec::new();
        for _ in 0..most {
            let (mut stream, _) = upgrade(&server, "").await;
            // Announces 64 KiB and sends one.
            let mut half = websocket(FIN | TEXT, &[b' '; 65_535]);
            half.truncate(1024);
            stream.write_all(&half).await.unwrap();
            held.push(stream);
        }
        held
    };
    let held = siege.withstands(hold).await;
    assert_eq!(held.len(), most);
}

#[tokio::test]
async fn compression_is_not_negotiated() {
    let server = Server::start().await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=15; \
                 server_no_context_takeover, x-webkit-deflate-frame\r\n";
    let (mut stream, answer) = upgrade(&server, offer).await;
    let answer = answer.to_ascii_lowercase();
    assert!(!answer.contains("sec-websocket-extensions"), "{answer}");
    // A message of a thousand bytes that decompresses to a million.
    let bomb = [&[0xed, 0xc1, 0x01, 0x01][..], &[0; 1000]].concat();
    let bomb = websocket(FIN | RSV1 | TEXT, &bomb);
    stream.write_all(&bomb).await.unwrap();
    assert_eq!(close_code(&drain(&mut stream).await), 1002);
}

#[tokio::test]
async fn a_hello_sent_too_slowly_ends_the_connection() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.hello_timeout = Duration::from_millis(200);
    })
    .await;
    let (mut stream, _) = upgrade(&server, "").await;
    // Each byte shows that the client is alive, but `hello` never completes.
    let trickle = async {
        for octet in websocket(FIN | TEXT, HELLO).iter().cycle() {
            if stream.write_all(&[*octet]).await.is_err() {
                break;
            }
            let mut answer = [0; 64];
            let pause = Duration::from_millis(20);
            if let Ok(Ok(_)) = timeout(pause, stream.read(&mut answer)).await {
                return u16::from_be_bytes([answer[2], answer[3]]);
            }
        }
        panic!("the connection was reset without a response")
    };
    assert_eq!(timeout(TIMEOUT, trickle).await, Ok(1008));
}
