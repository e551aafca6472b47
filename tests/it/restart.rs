//! Graceful restarts, and `kill -9` of the real program.

use crate::support::app_server::{Push, decrypted, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn a_restart_keeps_subscriptions_endpoints_and_messages() {
    needs_ours!("a restart");
    let mut server = Server::start().await;
    let keys = key_pair(1);
    let key = keys.public_key().to_base64url();
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
    let push = Push::to(&server, &endpoint).text("one").signed(&keys);
    push.accepted().await;
    let before = user_agent.notification().await;
    let (_, code) = tokio::join!(server.restart(), user_agent.closed());
    assert_eq!(code, 1001);
    Push::to(&server, &endpoint)
        .text("two")
        .signed(&keys)
        .accepted()
        .await;
    let mut again = UserAgent::reconnect(&server, &user_agent.uaid).await;
    assert_eq!(again.uaid, user_agent.uaid);
    assert_eq!(again.notification().await, before, "with the same version");
    assert_eq!(decrypted(&again.notification().await.data()), "two");
    assert_eq!(again.register(CHANNEL, Some(&key)).await, endpoint);
}
