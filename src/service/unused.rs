//! Ends the subscriptions of user agents that have not connected for `expiry.unused`.

use bugle_protocol::{ChannelId, Uaid};

use super::{Error, PushService};
use crate::service::registry::Reader;
use crate::store::Sweep;

impl PushService {
    /// Records that a user agent reads one of its subscriptions, so that they do not end as unused.
    /// Call it before the reader is registered.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store cannot be read.
    pub async fn note_connected(&self, uaid: Uaid) -> Result<(), Error> {
        self.stored(self.store.connect(uaid).await).map(drop)
    }

    /// Checks the next `limits.expire_batch` user agents, and ends the unused ones with all their
    /// subscriptions. Their endpoints are gone; a user agent that reconnects gets another uaid and
    /// subscribes again (WS-H-9).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_unused(&self) -> Result<(), Error> {
        let is_connected = |uaid: Uaid, channels: &[ChannelId]| {
            let mut channels = channels.iter();
            self.clients.has(Reader::UserAgent(uaid))
                || channels.any(|channel| self.clients.has(Reader::Channel(uaid, *channel)))
        };
        let sweep = Sweep {
            now: self.now(),
            unused_days: self.config.expiry.unused_days(),
            limit: self.config.limits.expire_batch,
            is_connected: &is_connected,
        };
        let unused = self.stored(self.store.end_unused(sweep).await)?;
        if unused.user_agents > 0 {
            // Senders are asked to retry until this is durable, and get 410
            // afterwards: only then is it counted.
            self.stored(self.store.flush().await)?;
            self.metrics.unused.inc_by(unused.subscriptions as u64);
            // The audit log of the admin API has only the changes of operators.
            tracing::info!(
                target: "bugle::audit",
                action = "endUnused",
                user_agents = unused.user_agents,
                subscriptions = unused.subscriptions,
                "ended what was not used for expiry.unused"
            );
        }
        Ok(())
    }
}
