//! What a user agent acknowledges.

use bugle_protocol::websocket::AckUpdate;

use crate::service::Outcome;
use crate::user_agent::drain::Drain;

/// Does what an ack says. A version that names none of this user agent's
/// messages is passed over (WS-N-12).
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
