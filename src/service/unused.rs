//! The end of subscriptions that nobody uses any more (`expiry.unused`).

use bugle_protocol::{ChannelId, Uaid};

use super::{Error, PushService};
use crate::service::registry::Reader;
use crate::store::Sweep;

impl PushService {
    /// Notes that a user agent reads one of its subscriptions. Call it before
    /// the reader is registered: what is noted does not end.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the store cannot be read.
    pub async fn note_connected(&self, uaid: Uaid) -> Result<(), Error> {
        self.stored(self.store.connect(uaid).await).map(drop)
    }

    /// Looks at the next `limits.expire_batch` user agents, and ends those
    /// that are unused with all their subscriptions: their endpoints are gone,
    /// and a user agent that comes back gets another uaid and subscribes anew
    /// (WS-H-9).
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
            // Until the disk has it, senders are told to try again: it counts
            // as done when they get 410.
            self.stored(self.store.flush().await)?;
            self.metrics.unused.inc_by(unused.subscriptions as u64);
            // No operator has done it, so the audit log of the API lacks it.
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
