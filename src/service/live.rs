//! Sent messages with TTL 0 whose receipt awaits the acknowledgement of the user agent. No log
//! holds such a message, so this remembers it for a minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use crate::store::Origin;
use crate::store::headroom::Headroom;
use crate::store::holders::{Amount, Charged, Holders};

/// How long a message waits for its acknowledgement.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// The charge of one message to its sender and its address.
const ONE: Amount = Amount {
    items: 1,
    bytes: 0,
    receipts: 0,
};

/// Identifies a message by its user agent and its id.
pub(super) type Name = (Uaid, MessageId);

/// The messages that wait for their acknowledgement.
#[derive(Default)]
pub(super) struct Live {
    waiting: Mutex<Waiting>,
    capacity: usize,
}

#[derive(Default)]
struct Waiting {
    messages: HashMap<Name, Handed>,
    /// The number of messages per sender and per address.
    holders: Holders,
}

/// A message that was handed to a connection.
struct Handed {
    receipt: ReceiptSubscriptionId,
    /// When it stops waiting.
    until: UnixTime,
    charged: Charged,
}

impl Live {
    /// Remembers at most `capacity` messages.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            capacity,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // No critical section of this lock can panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a message until its acknowledgement. Returns `false` if the maximum is reached, or
    /// if its sender or its address already holds more than would remain free. It never evicts
    /// another message.
    pub(super) fn add(
        &self,
        name: Name,
        receipt: ReceiptSubscriptionId,
        origin: &Origin,
        now: UnixTime,
    ) -> bool {
        let mut waiting = self.waiting();
        let used = waiting.messages.len() as u64;
        let Some(headroom) = Headroom::after(self.capacity as u64, used, 1, 0) else {
            return false;
        };
        let mut holders = origin.holders();
        if !holders.all(|holder| headroom.admits(waiting.holders.held(holder).items)) {
            return false;
        }
        let handed = Handed {
            receipt,
            until: now + ACK_TIMEOUT,
            charged: waiting.holders.charge(origin, ONE, now),
        };
        waiting.messages.insert(name, handed);
        true
    }

    /// Removes a message that was acknowledged, or that was not handed over after all. Returns its
    /// receipt subscription.
    pub(super) fn take(&self, name: Name) -> Option<ReceiptSubscriptionId> {
        let mut waiting = self.waiting();
        let handed = waiting.messages.remove(&name)?;
        waiting.holders.discharge(handed.charged, ONE);
        Some(handed.receipt)
    }

    /// Removes and returns the messages that have waited for a minute.
    pub(super) fn given_up(&self, now: UnixTime) -> Vec<(Name, ReceiptSubscriptionId)> {
        let waiting = &mut *self.waiting();
        let late = |_: &Name, handed: &mut Handed| handed.until <= now;
        let mut given_up = Vec::new();
        for (name, handed) in waiting.messages.extract_if(late) {
            waiting.holders.discharge(handed.charged, ONE);
            given_up.push((name, handed.receipt));
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1000);
    const RECEIPTS: ReceiptSubscriptionId = ReceiptSubscriptionId::from_bytes([3; 16]);

    fn name(n: u64) -> Name {
        (Uaid::from_bytes([1; 16]), MessageId::new(n))
    }

    fn from(n: u8) -> Origin {
        Origin {
            key: None,
            network: Some([192, 0, 2, n].into()),
        }
    }

    /// Adds messages until one is rejected. Returns how many were added.
    fn fill(live: &Live, first: u64, origin: &Origin) -> u64 {
        let add = |n: &u64| live.add(name(first + n), RECEIPTS, origin, NOW);
        (0..1000).take_while(add).count() as u64
    }

    #[test]
    fn one_sender_leaves_a_share_for_the_receipts_of_others() {
        let live = Live::new(100);
        assert_eq!(fill(&live, 0, &from(1)), 50);
        assert_eq!(fill(&live, 1000, &from(2)), 25);
        assert_eq!(live.take(name(1001)), Some(RECEIPTS));
        assert_eq!(fill(&live, 2000, &from(2)), 1);
        assert!(live.add(name(3000), RECEIPTS, &from(3), NOW));
    }

    #[test]
    fn a_timed_out_message_frees_its_share() {
        let live = Live::new(100);
        fill(&live, 0, &from(1));
        assert_eq!(live.given_up(NOW), []);
        assert_eq!(live.given_up(NOW + ACK_TIMEOUT).len(), 50);
        assert_eq!(fill(&live, 0, &from(1)), 50);
        assert_eq!(live.take(name(99)), None);
    }
}
