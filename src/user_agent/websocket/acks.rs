//! Acknowledgements from user agents.

use bugle_protocol::websocket::AckUpdate;

use crate::service::Outcome;
use crate::user_agent::drain::Drain;

/// Processes an ack. Ignores a version that names no message of this user agent (WS-N-12).
pub(super) async fn acknowledge(drain: &mut Drain, updates: &[AckUpdate]) {
    let messages: Vec<_> = match drain.registration.reader().messages() {
        Some((uaid, _)) => {
            let named = |update: &AckUpdate| {
                let version = update.version.as_deref()?;
                let id = drain.app.service.of_version(uaid, version)?;
                Some((id, Outcome::from(update.code)))
            };
            updates.iter().filter_map(named).collect()
        }
        None => Vec::new(),
    };
    drain.acknowledge(messages).await;
}
