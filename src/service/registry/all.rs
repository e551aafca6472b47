//! What concerns all connections at once, or all of a range of addresses.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::sleep;

use super::{Clients, Ended, Mail, Mailbox};

/// From one portion of the connections to the next.
const STEP: Duration = Duration::from_millis(10);

/// How many connections one portion has when all of them look again: 6,400 per
/// second, each of which reads the store or writes a frame.
const AT_ONCE: usize = 64;

impl Clients {
    /// Says to all connections that a broadcast may have another version: a
    /// portion at a time, so that they do not all write in one moment.
    pub async fn announce(&self) {
        self.spread(|mail| mail.broadcasts = true).await;
    }

    /// Says to all connections that whatever they read may have changed: a
    /// portion at a time, so that they do not all read the store in one moment.
    pub async fn wake_all(&self) {
        self.spread(|mail| {
            mail.log = true;
            mail.broadcasts = true;
        })
        .await;
    }

    /// Puts something into all mailboxes that are there. A connection that comes
    /// meanwhile reads everything anyway.
    async fn spread(&self, put: impl Fn(&mut Mail)) {
        for (at, portion) in self.mailboxes().chunks(AT_ONCE).enumerate() {
            if at > 0 {
                sleep(STEP).await;
            }
            for mailbox in portion {
                mailbox.put(&put);
            }
        }
    }

    /// Closes all connections, those that are here and those that come.
    pub fn close_all(&self, why: Ended) {
        // The first reason counts.
        let _ = self.ended.set(why);
        for mailbox in self.mailboxes() {
            mailbox.close(why);
        }
    }

    /// The same, spread evenly over `window` in the order of the registry,
    /// which is a random one: they come back, and not all at one time. Few are
    /// closed sooner, a millisecond apart.
    pub async fn close_within(&self, why: Ended, window: Duration) {
        const APART: Duration = Duration::from_millis(1);
        let all = self.mailboxes();
        let most = APART.saturating_mul(u32::try_from(all.len()).unwrap_or(u32::MAX));
        let steps = window.min(most).as_millis() / STEP.as_millis();
        let at_once = all
            .len()
            .div_ceil(usize::try_from(steps).unwrap_or(usize::MAX).max(1));
        for portion in all.chunks(at_once.max(1)) {
            for mailbox in portion {
                mailbox.close(why);
            }
            if steps > 0 {
                sleep(STEP).await;
            }
        }
        // Those that have come meanwhile.
        self.close_all(why);
    }

    /// Closes the connections of these addresses. Takes a step for each
    /// connection there is.
    pub fn close_addresses(&self, range: &IpNet, why: Ended) {
        for mailbox in self.mailboxes() {
            if range.contains(&mailbox.address) {
                mailbox.close(why);
            }
        }
    }

    /// All there are now. Taken out first: to tell one wakes its task, which is
    /// not done under the registry's locks.
    fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let all = self.connected.iter();
        all.map(|it| Arc::clone(it.value())).collect()
    }
}
