//! The session of a WebSocket as a state machine.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod bounds;
mod states;

use std::time::Duration;

use bugle_protocol::session::SessionSettings;

const HELLO: &str = r#"{"messageType":"hello","use_webpush":true}"#;

fn settings() -> SessionSettings {
    SessionSettings {
        hello_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(300),
        pong_timeout: Duration::from_secs(10),
        min_ping_interval: Duration::from_secs(10),
        frame_rate: 10,
        frame_burst: 20,
        hello_bytes: 1000,
    }
}
