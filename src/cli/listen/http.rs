//! Receives over HTTP/2 server push (RFC 8030 §6).

use bugle_client::{ClientError, HttpUserAgent};
use bugle_protocol::PublicKey;
use tokio::time::sleep;

use super::Listener;
use crate::cli::{Failure, retry};

/// Serves one connection to its end. Returns `Ok` when `--count` is reached.
pub(super) async fn session(listener: &mut Listener) -> Result<(), Failure> {
    let mut agent = HttpUserAgent::connect(&listener.dialer, listener.server.as_str()).await?;
    monitor(listener, &mut agent).await?;
    listener.retry.reset();
    while listener.wants_more() {
        match agent.receive().await {
            Ok(push) => {
                listener.take(&push)?;
                agent.acknowledge(&push).await?;
            }
            Err(ClientError::Gone) => {
                listener.start_over("The service no longer has this subscription");
                // Do not retry at full speed if the service forgets subscriptions at once.
                sleep(retry::FIRST_DELAY).await;
                monitor(listener, &mut agent).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Monitors the existing subscription, or creates one.
async fn monitor(listener: &mut Listener, agent: &mut HttpUserAgent) -> Result<(), Failure> {
    let subscription = match &listener.identity.subscription {
        Some(subscription) => subscription.clone(),
        None => {
            let key = listener.identity.vapid_key.as_deref();
            let key = key.map(PublicKey::from_base64url).transpose()?;
            agent.subscribe(key.as_ref(), None).await?
        }
    };
    agent.monitor(&subscription, listener.args.urgency);
    listener.identity.endpoint = Some(subscription.push.clone());
    listener.identity.subscription = Some(subscription);
    listener.is_connected()
}
