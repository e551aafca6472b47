//! Operations on all connections, or on those of a range of addresses.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;

use super::{Clients, Ended, Mail, Mailbox};

/// The interval between two batches of connections.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);

/// The number of connections woken per batch, thus 6,400 per second. Each of them reads the store
/// or writes a frame.
const BATCH: usize = 64;

impl Clients {
    /// Wakes all connections to compare their broadcasts, in batches, so that they do not all write
    /// at once.
    pub async fn announce(&self) {
        self.spread(|mail| mail.broadcasts = true).await;
    }

    /// Wakes all connections to read everything again, in batches, so that they do not all read the
    /// store at once.
    pub async fn wake_all(&self) {
        self.spread(|mail| {
            mail.log = true;
            mail.broadcasts = true;
        })
        .await;
    }

    /// Updates all registered mailboxes in batches. A connection that registers meanwhile reads
    /// everything anyway.
    async fn spread(&self, put: impl Fn(&mut Mail)) {
        for (at, portion) in self.mailboxes().chunks(BATCH).enumerate() {
            if at > 0 {
                sleep(BATCH_INTERVAL).await;
            }
            for mailbox in portion {
                mailbox.put(&put);
            }
        }
    }

    /// Closes all connections. Later registrations are closed immediately.
    pub fn close_all(&self, why: Ended) {
        // Keeps the reason of an earlier call.
        let _ = self.ended.set(why);
        for mailbox in self.mailboxes() {
            mailbox.close(why);
        }
    }

    /// Like [`close_all`](Self::close_all), but spreads the closes evenly over `window`, in the
    /// random order of the registry, so that clients do not all reconnect at once. The window is at
    /// most 1 ms per connection.
    pub async fn close_within(&self, why: Ended, window: Duration) {
        const APART: Duration = Duration::from_millis(1);
        let all = self.mailboxes();
        let most = APART.saturating_mul(u32::try_from(all.len()).unwrap_or(u32::MAX));
        let steps = window.min(most).as_millis() / BATCH_INTERVAL.as_millis();
        let at_once = all
            .len()
            .div_ceil(usize::try_from(steps).unwrap_or(usize::MAX).max(1));
        for portion in all.chunks(at_once.max(1)) {
            for mailbox in portion {
                mailbox.close(why);
            }
            if steps > 0 {
                sleep(BATCH_INTERVAL).await;
            }
        }
        // Connections that registered meanwhile.
        self.close_all(why);
    }

    /// Closes the connections from a range of addresses. Takes time linear in the number of all
    /// connections.
    pub fn close_addresses(&self, range: &IpNet, why: Ended) {
        for mailbox in self.mailboxes() {
            if range.contains(&mailbox.address) {
                mailbox.close(why);
            }
        }
    }

    /// All registered mailboxes. They are copied, because a task must not be woken under the
    /// registry's locks.
    fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let all = self.connected.iter();
        all.map(|it| Arc::clone(it.value())).collect()
    }
}
