//! Peers that break the protocol of Chromium's connection: each is closed, and nothing else is
//! harmed.

use std::time::Duration;

use bugle_client::{McsDevice, McsUserAgent};
use bugle_protocol::mcs::frame::{Frame, Tag, VERSION};
use bugle_protocol::mcs::message::{Heartbeat, LoginRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::device::{Device, HEARTBEAT, chromium, closed, confirm, is_quiet, next, text};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

async fn start() -> Server {
    Server::start_with(chromium).await
}

fn login(device: &McsDevice) -> Vec<u8> {
    let login = LoginRequest {
        user: Some(device.id.to_string()),
        auth_token: Some(device.security_token.to_string()),
        received_persistent_id: Vec::new(),
    };
    let mut bytes = vec![VERSION];
    bytes.extend(Frame::print(Tag::LoginRequest, &login));
    bytes
}

/// Sends bytes and returns what the service sends until it closes the connection.
async fn exchange(server: &Server, parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    for part in parts {
        // The service may have closed already.
        let _ = stream.write_all(part).await;
    }
    let mut answer = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    // A reset counts as an end.
    let _ = read.expect("the service closes");
    answer
}

#[tokio::test]
async fn what_is_no_login_is_closed() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let login = login(&device.device);
    let long = [8, 0xff, 0xff, 0xff, 0xff, 0x0f];
    for bytes in [
        // A heartbeat, a message, an unknown type before the login.
        &[VERSION, 0, 0][..],
        &[VERSION, 8, 0],
        &[VERSION, 99, 0],
        // A login that is no message; lengths that are none or too long.
        &[VERSION, 2, 1, 0xff],
        &[VERSION, 2, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[&[VERSION], &long[..]].concat(),
        // The version twice.
        &[&[VERSION], login.as_slice()].concat(),
    ] {
        let answer = exchange(&server, &[bytes]).await;
        // The version and a Close.
        assert_eq!(answer, [VERSION, 4, 0], "{bytes:?}");
    }
    server.await_metric("bugle_mcs_connections", 0.0).await;
}

#[tokio::test]
async fn a_login_may_arrive_byte_by_byte() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in login(&device.device) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = [0; 2];
    let read = timeout(TIMEOUT, stream.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
    assert_eq!(answer, [VERSION, Tag::LoginResponse as u8]);
}

#[tokio::test]
async fn a_connection_without_a_login_is_closed_in_time() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.user_agent.hello_timeout = HEARTBEAT;
    });
    let server = server.await;
    assert_eq!(exchange(&server, &[&[VERSION]]).await, [VERSION, 4, 0]);
    let cut = "bugle_connections_cut_total{reason=\"user_agent.hello_timeout\"}";
    server.counts(cut, 1.0).await;
}

#[tokio::test]
async fn a_login_with_a_wrong_token_is_refused_with_a_reason() {
    needs_ours!("its settings");
    let server = start().await;
    let mut device = Device::new(&server).await.device;
    device.security_token += 1;
    let answer = exchange(&server, &[&login(&device)]).await;
    assert_eq!(answer[..2], [VERSION, Tag::LoginResponse as u8]);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("unknown device"), "{text}");
    let refused = "bugle_refused_total{reason=\"unknown_device\"}";
    server.counts(refused, 1.0).await;
}

#[tokio::test]
async fn frames_that_lie_are_closed_and_lose_no_message() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    device.push(&server).ttl(600).text("kept").accepted().await;
    let beat = |up_to: i32| {
        let beat = Heartbeat {
            last_stream_id_received: Some(up_to),
        };
        Frame::print(Tag::HeartbeatPing, &beat)
    };
    for bytes in [
        // Confirms what was never sent, or less than nothing.
        beat(99),
        beat(i32::MAX),
        beat(-1),
        // A message that is none, a second login, a frame that is too long.
        vec![7, 1, 0xff],
        login(&device.device)[1..].to_vec(),
        vec![8, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let mut agent = device.connect(&server).await;
        assert_eq!(text(&mut agent).await, "kept");
        agent.write(&bytes).await.unwrap();
        closed(&mut agent).await;
    }
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "kept");
    // Unknown types are skipped.
    for tag in [3, 5, 9, 99] {
        agent.write(&[tag, 2, 0xff, 0xff]).await.unwrap();
    }
    confirm(&mut agent).await;
    is_quiet(&mut agent).await;
}

#[tokio::test]
async fn a_device_cannot_confirm_the_messages_of_another() {
    needs_ours!("its settings");
    let server = start().await;
    let (one, other) = (Device::new(&server).await, Device::new(&server).await);
    one.push(&server).ttl(600).text("for one").accepted().await;
    let mut agent = one.connect(&server).await;
    let message = next(&mut agent).await;
    drop(agent);
    let names = [message.version, "nonsense".to_owned(), String::new()];
    let mut agent = other.reconnect(&server, &names).await;
    is_quiet(&mut agent).await;
    let mut agent = one.connect(&server).await;
    assert_eq!(text(&mut agent).await, "for one");
}

#[tokio::test]
async fn a_device_that_is_silent_is_closed() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.user_agent.ping_interval = HEARTBEAT;
        config.user_agent.pong_timeout = HEARTBEAT;
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let mut stream = TcpStream::connect(server.authority()).await.unwrap();
    stream.write_all(&login(&device.device)).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the service closes");
    // It asks once, then closes.
    assert!(answer.ends_with(&[0, 2, 0x10, 1, 4, 0]), "{answer:?}");
    let cut = "bugle_connections_cut_total{reason=\"user_agent.pong_timeout\"}";
    server.counts(cut, 1.0).await;
    // A device that answers stays.
    let mut agent = device.connect(&server).await;
    let lasting = timeout(10 * HEARTBEAT, agent.receive()).await;
    assert!(lasting.is_err(), "still connected");
}

#[tokio::test]
async fn a_flood_of_frames_is_read_at_the_rate_of_all_user_agents() {
    needs_ours!("its limits");
    let server = Server::start_with(|config| {
        chromium(config);
        config.limits.frame_rate = 100;
        config.limits.frame_burst = 50;
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    let flood: Vec<u8> = [99, 0].repeat(200);
    agent.write(&flood).await.unwrap();
    agent.ping().await.unwrap();
    assert!(server.metric("bugle_websockets_paused_total").await >= 1.0);
}

#[tokio::test]
async fn a_message_arrives_while_the_device_floods() {
    needs_ours!("its limits");
    let server = Server::start_with(|config| {
        chromium(config);
        config.limits.frame_rate = 10;
        config.limits.frame_burst = 10;
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let mut agent: McsUserAgent = device.connect(&server).await;
    let flood: Vec<u8> = [99, 0].repeat(10_000);
    agent.write(&flood).await.unwrap();
    device.push(&server).text("through").accepted().await;
    assert_eq!(text(&mut agent).await, "through");
}

#[tokio::test]
async fn a_shutdown_closes_devices_with_a_message() {
    needs_ours!("a shutdown");
    let mut server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    server.begin_stop();
    let end = timeout(TIMEOUT, agent.receive()).await.unwrap();
    assert!(matches!(end, Err(bugle_client::ClientError::Closed { .. })));
    drop(agent);
    timeout(Duration::from_secs(60), server.ended())
        .await
        .unwrap();
}
