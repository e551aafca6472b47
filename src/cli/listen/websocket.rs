//! Receives over the push WebSocket protocol.

use bugle_client::{PING_INTERVAL, UserAgent};
use bugle_protocol::PublicKey;
use tokio::time::timeout;

use super::Listener;
use crate::cli::Failure;

/// The acknowledgement code of a message that is not delivered (WS-N-8).
const NOT_DELIVERED: u16 = 102;

/// Serves one connection to its end. Returns `Ok` when `--count` is reached.
pub(super) async fn session(listener: &mut Listener) -> Result<(), Failure> {
    let mut agent = UserAgent::connect(&listener.dialer, &listener.server).await?;
    introduce(listener, &mut agent).await?;
    listener.retry.reset();
    while listener.wants_more() {
        let Ok(push) = timeout(PING_INTERVAL, agent.receive()).await else {
            agent.ping().await?;
            continue;
        };
        let push = push?;
        let is_mine = push.channel == listener.identity.channel.to_string();
        let code = match is_mine {
            true => listener.take(&push)?,
            false => NOT_DELIVERED,
        };
        agent.acknowledge(&push, code).await?;
    }
    agent.close().await;
    Ok(())
}

/// Sends hello and register, with the stored identity if the service still knows it.
async fn introduce(listener: &mut Listener, agent: &mut UserAgent) -> Result<(), Failure> {
    let before = listener.identity.uaid.clone();
    let known = before.as_ref().and_then(|uaid| uaid.parse().ok());
    let uaid = agent.hello(known).await?.to_string();
    if before.as_ref().is_some_and(|before| *before != uaid) {
        listener.start_over("The service no longer knows this user agent");
    }
    let key = listener.identity.vapid_key.as_deref();
    let key = key.map(PublicKey::from_base64url).transpose()?;
    let endpoint = agent
        .register(listener.identity.channel, key.as_ref())
        .await?;
    listener.identity.uaid = Some(uaid);
    listener.identity.endpoint = Some(endpoint);
    listener.is_connected()
}
