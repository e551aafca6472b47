//! Wakes the connections that are affected by a change in the store.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::service::registry::{Clients, Ended, Reader};
use crate::store::{Event, Listener};

/// The listener of the store. It passes changes on to the registry of connections.
///
/// A change for one reader is passed on at once. Waking all readers takes time, so a task does it
/// ([`wake_everybody`](Self::wake_everybody)).
pub struct Wakes {
    clients: Arc<Clients>,
    broadcasts: Notify,
    gap: Notify,
}

impl Wakes {
    /// Creates an empty registry, in which each connection queues at most `live_queue` messages
    /// with TTL 0.
    pub fn new(live_queue: usize) -> Arc<Self> {
        Arc::new(Self {
            clients: Clients::new(live_queue),
            broadcasts: Notify::new(),
            gap: Notify::new(),
        })
    }

    /// The registry of connections.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Wakes all connections whenever a broadcast has changed or the store has recovered. Runs
    /// until it is cancelled.
    pub async fn wake_everybody(&self) {
        loop {
            tokio::select! {
                () = self.broadcasts.notified() => self.clients.announce().await,
                () = self.gap.notified() => self.clients.wake_all().await,
            }
        }
    }
}

impl Listener for Wakes {
    fn changed(&self, event: Event) {
        match event {
            Event::Message { uaid, channel } => self.clients.wake(uaid, channel, Instant::now()),
            Event::Receipts(id) => self.clients.wake_receipts(id),
            Event::Ended {
                uaid,
                channel,
                is_last,
            } => {
                let channel = Reader::Channel(uaid, channel);
                self.clients.close(channel, Ended::Removed);
                if is_last {
                    self.clients.close(Reader::UserAgent(uaid), Ended::Removed);
                }
            }
            Event::Broadcasts => self.broadcasts.notify_one(),
            Event::Gap => self.gap.notify_one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bugle_protocol::{ChannelId, ReceiptSubscriptionId, Uaid};

    use super::*;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);
    const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([3; 16]);

    #[tokio::test]
    async fn each_event_wakes_its_readers() {
        let wakes = Wakes::new(1);
        let readers = [
            Reader::UserAgent(UAID),
            Reader::Channel(UAID, CHANNEL),
            Reader::Receipts(RECEIPTS),
        ];
        let [set, subscription, receipts] = readers.map(|it| wakes.clients().register(it, HERE));
        let (uaid, channel) = (UAID, CHANNEL);
        wakes.changed(Event::Message { uaid, channel });
        assert!(set.mail().await.log && subscription.mail().await.log);
        wakes.changed(Event::Receipts(RECEIPTS));
        assert!(receipts.mail().await.log);
        let ended = |is_last| Event::Ended {
            uaid,
            channel,
            is_last,
        };
        wakes.changed(ended(false));
        assert_eq!(subscription.mail().await.ended, Some(Ended::Removed));
        wakes.changed(Event::Message { uaid, channel });
        assert_eq!(set.mail().await.ended, None);
        wakes.changed(ended(true));
        assert_eq!(set.mail().await.ended, Some(Ended::Removed));
    }

    #[tokio::test]
    async fn broadcasts_and_gaps_wake_every_reader() {
        let wakes = Wakes::new(1);
        let reader = wakes.clients().register(Reader::UserAgent(UAID), HERE);
        let check = async {
            wakes.changed(Event::Broadcasts);
            let mail = reader.mail().await;
            assert!(mail.broadcasts && !mail.log);
            wakes.changed(Event::Gap);
            assert!(reader.mail().await.log);
        };
        tokio::select! {
            () = wakes.wake_everybody() => {}
            () = check => {}
        }
    }
}
