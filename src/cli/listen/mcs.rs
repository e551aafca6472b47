//! Receives over the push protocol of Chromium.

use std::time::Duration;

use bugle_client::{ClientError, McsDevice, McsRegistration, McsUserAgent, PING_INTERVAL};
use bugle_protocol::PublicKey;
use tokio::time::timeout;

use super::Listener;
use crate::cli::Failure;

/// How long to wait at the end until the service has confirmed the acknowledgements.
const LAST: Duration = Duration::from_secs(1);

/// Serves one connection to its end. Returns `Ok` when `--count` is reached.
pub(super) async fn session(listener: &mut Listener) -> Result<(), Failure> {
    let (device, registration) = introduce(listener).await?;
    let received = listener.seen.iter().cloned().collect();
    let url = listener.server.clone();
    let mut agent = McsUserAgent::connect(&listener.dialer, &url, &device, received).await?;
    listener.is_connected()?;
    listener.retry.reset();
    let interval = agent
        .heartbeat_interval()
        .and_then(|ms| u64::try_from(ms).ok());
    let quiet = interval.map_or(PING_INTERVAL, |ms| {
        PING_INTERVAL.min(Duration::from_millis(ms))
    });
    while listener.wants_more() {
        let Ok(push) = timeout(quiet, agent.receive()).await else {
            agent.beat().await?;
            continue;
        };
        let push = push?;
        if push.channel == registration.subtype() {
            listener.take(&push)?;
        }
        agent.acknowledge().await?;
    }
    // The pushes are printed, whatever comes of this.
    let _ = timeout(LAST, agent.ping()).await;
    Ok(())
}

/// Checks in and registers, with the stored identity if the service still knows it.
async fn introduce(listener: &mut Listener) -> Result<(McsDevice, McsRegistration), Failure> {
    let url = listener.server.clone();
    let known = listener.identity.device.clone();
    let device = match McsDevice::check_in(&listener.dialer, &url, known.as_ref()).await {
        Err(ClientError::Refused { status: 401, .. }) if known.is_some() => {
            listener.start_over("The service no longer knows this device");
            McsDevice::check_in(&listener.dialer, &url, None).await?
        }
        device => device?,
    };
    let key = listener.identity.vapid_key.as_deref();
    let key = key.ok_or("a Chromium subscribes with a key only: name it by --vapid-key")?;
    let registration = McsRegistration {
        site: listener.args.site.clone(),
        id: listener.identity.channel.to_string(),
        key: PublicKey::from_base64url(key)?,
    };
    let token = device
        .register(&listener.dialer, &url, &registration)
        .await?;
    let endpoint = url.join(&format!("/push/{token}"))?;
    listener.identity.device = Some(device.clone());
    listener.identity.endpoint = Some(endpoint.to_string());
    Ok((device, registration))
}
