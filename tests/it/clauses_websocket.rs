//! Other parts of the push WebSocket protocol: control frames, and responses under load.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::support::server::Server;
use crate::support::user_agent::{TIMEOUT, UserAgent};

#[tokio::test]
async fn ws_t_9_ping_is_answered_with_pong_and_close_with_close() {
    let server = Server::start().await;
    for before_hello in [true, false] {
        let mut user_agent = match before_hello {
            true => UserAgent::silent(&server).await,
            false => UserAgent::connect(&server).await,
        };
        let ping = Message::Ping(vec![1, 2, 3].into());
        user_agent.socket.send(ping).await.unwrap();
        let answer = timeout(TIMEOUT, user_agent.socket.next()).await.unwrap();
        let pong = Message::Pong(vec![1, 2, 3].into());
        assert_eq!(answer.unwrap().unwrap(), pong);
        user_agent.socket.send(Message::Close(None)).await.unwrap();
        let answer = timeout(TIMEOUT, user_agent.socket.next()).await.unwrap();
        let answer = answer.unwrap().unwrap();
        assert!(answer.is_close(), "{answer:?}");
    }
}

#[tokio::test]
async fn ws_r_10_many_registers_are_answered_within_10_s() {
    let server = Server::start().await;
    let one = |_| async {
        let mut user_agent = UserAgent::connect(&server).await;
        let mut slowest = Duration::ZERO;
        for i in 0..20 {
            let channel = format!("00000000-0000-4000-8000-{i:012}");
            let asked = Instant::now();
            user_agent.register(&channel, None).await;
            slowest = slowest.max(asked.elapsed());
        }
        slowest
    };
    let slowest = join_all((0..20).map(one)).await.into_iter().max().unwrap();
    assert!(slowest.as_secs() < 10, "{slowest:?}");
}
