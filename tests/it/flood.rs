//! WebSockets that send without a pause: the service handles more important events before their
//! frames.

use std::time::Duration;

use bugle::config::StoreEngine;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::app_server::Push;
use crate::support::flood::Flood;
use crate::support::frames::websocket;
use crate::support::server::Server;
use crate::support::siege::{drain, upgrade};
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, TIMEOUT, UserAgent};

/// The first byte of a frame: FIN and the opcode (RFC 6455 §5.2).
const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A kind of flood: its first frame and the repeated frames.
struct Kind {
    name: &'static str,
    first: Vec<u8>,
    frames: Vec<u8>,
}

/// Frames of each kind. Their sizes divide the reads of a connection (256 bytes) and its budget
/// in the runtime (128 reads) evenly.
fn kinds() -> Vec<Kind> {
    let kind = |name, first, frames| Kind {
        name,
        first,
        frames,
    };
    let unknown = r#"{"messageType":"unknown","x":"#;
    let text = format!("{unknown}\"{}\"}}", "x".repeat(248 - unknown.len() - 3));
    let text = websocket(FIN | TEXT, text.as_bytes());
    assert_eq!(text.len(), 256);
    vec![
        kind("pings of 8", vec![], websocket(FIN | PING, b"xx")),
        kind("pongs of 8", vec![], websocket(FIN | PONG, b"xx")),
        kind("pongs of 128", vec![], websocket(FIN | PONG, &[0; 122])),
        kind("texts of 256", vec![], text),
        kind(
            "fragments without end",
            websocket(TEXT, b""),
            websocket(CONTINUATION, b""),
        ),
    ]
}

/// A service without a frame rate limit, which these tests do not need.
async fn start() -> Server {
    Server::start_with(|config| config.limits.frame_rate = 0).await
}

fn hello(uaid: &str) -> Vec<u8> {
    let hello = json!({ "messageType": "hello", "uaid": uaid, "use_webpush": true });
    websocket(FIN | TEXT, hello.to_string().as_bytes())
}

/// A flooding user agent with a subscription, and its endpoint.
async fn flooding(server: &Server, kind: &Kind) -> (Flood, String, String) {
    let mut user_agent = UserAgent::connect(server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    let first = [hello(&uaid), kind.first.clone()].concat();
    let flood = Flood::begin(server, &first, &kind.frames).await;
    assert_eq!(user_agent.closed().await, 1000, "superseded");
    flood.is_under_way().await;
    (flood, uaid, endpoint)
}

/// Asserts that a Close frame with this code and reason arrived.
fn was_closed(received: &[u8], code: u16, reason: &str) {
    let close = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
    let found = received.windows(close.len()).any(|window| window == close);
    assert!(found, "no Close {code} {reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_connection_is_superseded() {
    needs_ours!("its settings");
    let server = start().await;
    for kind in kinds() {
        println!("{}", kind.name);
        let (flood, uaid, _) = flooding(&server, &kind).await;
        let newer = UserAgent::reconnect(&server, &uaid).await;
        assert_eq!(newer.uaid, uaid);
        flood.read_until_cut().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_connection_is_dropped_by_the_operator() {
    needs_ours!("its admin listener");
    let server = start().await;
    for kind in kinds() {
        println!("{}", kind.name);
        let (flood, uaid, _) = flooding(&server, &kind).await;
        let subject = json!({ "subject": uaid });
        let dropped = server.operate("POST", "user-agents/drop", &subject).await;
        assert_eq!(dropped.status, 200);
        flood.read_until_cut().await;
    }
    server.await_metric("bugle_user_agents", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_connection_registers_nothing() {
    needs_ours!("its admin listener");
    let server = start().await;
    let register = |channel: &str| {
        let register = json!({ "messageType": "register", "channelID": channel });
        websocket(FIN | TEXT, register.to_string().as_bytes())
    };
    let kind = Kind {
        name: "registers",
        first: vec![],
        frames: [register(CHANNEL), register(CHANNEL_2)].concat(),
    };
    for _ in 0..5 {
        let (flood, uaid, _) = flooding(&server, &kind).await;
        let subject = json!({ "subject": uaid });
        let mut status = 503;
        for _ in 0..1000 {
            // 503 while a register waits for the disk.
            if status == 503 {
                let dropped = server.operate("POST", "user-agents/drop", &subject).await;
                status = dropped.status.as_u16();
            }
        }
        assert!(matches!(status, 200 | 404), "{status}");
        flood.read_until_cut().await;
        server.await_metric("bugle_user_agents", 0.0).await;
        assert_eq!(server.metric("bugle_subscriptions").await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooding_connection_ends_when_the_service_stops() {
    needs_ours!("its settings");
    let mut server = start().await;
    let mut floods = Vec::new();
    for kind in kinds() {
        floods.push(flooding(&server, &kind).await.0);
    }
    server.begin_stop();
    for flood in floods {
        flood.read_until_cut().await;
    }
    let stopped = timeout(TIMEOUT, server.stop()).await;
    assert!(stopped.is_ok(), "it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_reach_a_flooding_connection() {
    needs_ours!("its settings");
    let server = start().await;
    // An incomplete message does not block messages from the service.
    for kind in kinds() {
        println!("{}", kind.name);
        let (flood, _, endpoint) = flooding(&server, &kind).await;
        Push::to(&server, &endpoint).text("x").accepted().await;
        flood.hears(b"\"notification\"").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_before_hello_ends_the_connection() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.hello_timeout = Duration::from_millis(500);
        config.limits.frame_rate = 0;
    })
    .await;
    for kind in kinds() {
        println!("{}", kind.name);
        let flood = Flood::begin(&server, &kind.first, &kind.frames).await;
        flood.read_until_cut().await;
    }
    server.await_metric("bugle_user_agents", 0.0).await;
}

#[tokio::test]
async fn control_frames_before_hello_are_limited() {
    needs_ours!("its bounds");
    let server = Server::start().await;
    let ping = websocket(FIN | PING, b"");
    let hello = websocket(FIN | TEXT, br#"{"messageType":"hello","use_webpush":true}"#);
    let (mut stream, _) = upgrade(&server, "").await;
    let polite = [ping.repeat(16), hello.clone()].concat();
    stream.write_all(&polite).await.unwrap();
    // 16 pongs without a payload arrive first.
    let mut answer = [0; 16 * 2 + 4];
    let read = timeout(TIMEOUT, stream.read_exact(&mut answer)).await;
    read.expect("hello is answered").unwrap();
    assert_eq!(answer[..2], [FIN | PONG, 0]);
    assert_eq!(answer[32], FIN | TEXT);

    let (mut stream, _) = upgrade(&server, "").await;
    let loud = [ping.repeat(17), hello].concat();
    stream.write_all(&loud).await.unwrap();
    was_closed(&drain(&mut stream).await, 1008, "hello expected");
}

#[tokio::test]
async fn a_user_agent_over_its_frame_rate_is_delayed_and_still_served() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.frame_rate = 100;
        config.limits.frame_burst = 20;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    for _ in 0..60 {
        user_agent.say(json!({})).await;
    }
    for _ in 0..60 {
        assert_eq!(user_agent.hear().await, json!({}));
    }
    let paused = "bugle_websockets_paused_total";
    server.await_that(paused, |times| times > 0.0).await;
}

#[tokio::test]
async fn a_browser_with_500_channels_is_within_its_frame_rate() {
    needs_ours!("its metrics");
    let server = Server::start_with(|config| config.store.engine = StoreEngine::Memory).await;
    let mut user_agent = UserAgent::connect(&server).await;
    for channel in 0..500 {
        let channel = format!("acf30367-0632-4cc1-adef-{channel:012x}");
        user_agent.register(&channel, None).await;
    }
    server.counts("bugle_websockets_paused_total", 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_an_address_ends_its_connections() {
    needs_ours!("its admin listener");
    let server = start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    user_agent.register(CHANNEL, None).await;
    let mut floods = Vec::new();
    for kind in kinds() {
        floods.push(flooding(&server, &kind).await.0);
    }
    let elsewhere = "blocks/addresses/192.0.2.0%2F24";
    let here = "blocks/addresses/127.0.0.0%2F8";
    let blocked = server.operate("PUT", elsewhere, &json!({})).await;
    assert_eq!(blocked.status, 204);
    user_agent.receives_nothing().await;
    let blocked = server.operate("PUT", here, &json!({})).await;
    assert_eq!(blocked.status, 204);
    assert_eq!(user_agent.closed().await, 1008);
    for flood in floods {
        flood.read_until_cut().await;
    }
    server.await_metric("bugle_user_agents", 0.0).await;
    assert_eq!(UserAgent::try_silent(&server).await.unwrap_err(), 403);
}
