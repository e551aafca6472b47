//! All user agents reconnect at the same moment, as after a restart: Firefox always waits five
//! seconds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::app_server::{Push, decrypted};
use crate::support::file_limit::raise_file_limit;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

const USER_AGENTS: usize = 2000;

/// Timeout of each user agent on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(120);

/// Creates user agents with a subscription, disconnects them, and returns their uaids and
/// endpoints.
async fn subscribed(server: &Arc<Server>) -> Vec<(String, String)> {
    let at_once = Arc::new(Semaphore::new(64));
    let mut all = JoinSet::new();
    for _ in 0..USER_AGENTS {
        let (server, at_once) = (Arc::clone(server), Arc::clone(&at_once));
        all.spawn(async move {
            let _turn = at_once.acquire().await.unwrap();
            let mut user_agent = UserAgent::connect(&server).await;
            let endpoint = user_agent.register(CHANNEL, None).await;
            (user_agent.uaid.clone(), endpoint)
        });
    }
    all.join_all().await
}

/// Reconnects with a known uaid, without a timeout.
async fn come_back(server: &Server, uaid: &str) -> UserAgent {
    let stream = TcpStream::connect(server.authority()).await.unwrap();
    let (mut socket, _) = client_async(server.websocket(), stream).await.unwrap();
    let hello = json!({ "messageType": "hello", "uaid": uaid });
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    assert_eq!(answer["status"], 200, "{answer}");
    assert_eq!(answer["uaid"], uaid, "it is known");
    UserAgent {
        socket,
        uaid: uaid.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_reconnects_are_all_served() {
    needs_ours!("a restart");
    raise_file_limit(3 * USER_AGENTS as u64);
    let server = Server::start_with(|config| {
        // The user agents share the machine with the service and may be slow.
        config.user_agent.hello_timeout = CONNECT_TIMEOUT;
    });
    let mut server = Arc::new(server.await);
    let all = subscribed(&server).await;
    for (index, (_, endpoint)) in all.iter().enumerate().take(100) {
        let push = Push::to(&server, endpoint).text(&index.to_string());
        push.accepted().await;
    }
    Arc::get_mut(&mut server).unwrap().restart().await;

    let now = Arc::new(Barrier::new(USER_AGENTS + 1));
    let mut storm = JoinSet::new();
    for (index, (uaid, _)) in all.into_iter().enumerate() {
        let (server, now) = (Arc::clone(&server), Arc::clone(&now));
        storm.spawn(async move {
            now.wait().await;
            let mut user_agent = come_back(&server, &uaid).await;
            if index < 100 {
                let notification = user_agent.notification().await;
                assert_eq!(decrypted(&notification.data()), index.to_string());
            }
            user_agent
        });
    }
    now.wait().await;
    // Meanwhile a new user agent is served.
    let mut newcomer = UserAgent::connect(&server).await;
    newcomer.register(CHANNEL_2, None).await;
    assert_eq!(server.get("/health").await.status, 200);
    let all = timeout(CONNECT_TIMEOUT, storm.join_all())
        .await
        .expect("in time");
    assert_eq!(all.len(), USER_AGENTS);
    server
        .counts("bugle_user_agents", USER_AGENTS as f64 + 1.0)
        .await;
}
