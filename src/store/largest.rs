//! Who holds most of what is stored, for the operator who looks for the one
//! that fills a bound.

use std::cmp::Reverse;
use std::net::IpAddr;

use bugle_protocol::{PublicKey, PushEndpoint, ReceiptSubscriptionId, Uaid, UnixTime};

use super::Backlog;
use super::holders::Holder;

/// No list is longer, however long it was asked for.
pub(super) const MOST: usize = 1000;

/// Somebody, with the stored messages that count for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// Whose messages they are.
    pub holder: T,
    /// Number of messages.
    pub messages: u64,
    /// Octets of those messages, as `PushMessage::size` counts them.
    pub bytes: u64,
    /// The oldest of the messages was accepted at this time, or later: of user
    /// agents and subscriptions it was accepted then; senders and addresses
    /// have had messages waiting since then without a break.
    pub since: UnixTime,
}

/// Somebody, with the receipts that count for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldReceipts<T> {
    /// Whose receipts they are.
    pub holder: T,
    /// Number of receipt subscriptions.
    pub subscriptions: u64,
    /// Number of receipts that are not yet taken.
    pub receipts: u64,
    /// The oldest receipt was left at this time, or later: of a receipt
    /// subscription it was left then; senders and addresses have had receipt
    /// subscriptions since then without a break.
    pub since: UnixTime,
}

/// The largest holders of a store, the largest first.
///
/// Senders and addresses are known of what was stored since the start. What
/// was stored before counts for the key that its subscription is restricted
/// to, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// By octets of their logs.
    pub user_agents: Vec<Held<Uaid>>,
    /// By octets of the messages that were sent to them.
    pub subscriptions: Vec<Held<PushEndpoint>>,
    /// The application servers that signed, by octets of their messages.
    pub senders: Vec<Held<PublicKey>>,
    /// The [networks](crate::gate::network::network) of peers that sent, by octets
    /// of their messages.
    pub addresses: Vec<Held<IpAddr>>,
    /// By receipts. A receipt subscription that holds none is not listed.
    pub receipt_subscriptions: Vec<HeldReceipts<ReceiptSubscriptionId>>,
    /// Who made receipt subscriptions, by their number together with their
    /// receipts.
    pub receipt_holders: Vec<HeldReceipts<Holder>>,
}

impl Backlog {
    /// The same, with whose it is.
    pub(super) fn of<T>(self, holder: T, since: UnixTime) -> Held<T> {
        Held {
            holder,
            messages: self.messages,
            bytes: self.bytes,
            since,
        }
    }
}

/// Collects the `most` items with the greatest weights, in memory for twice as
/// many.
#[derive(Debug)]
pub(super) struct Top<T> {
    most: usize,
    /// What is not above this does not get in.
    floor: u64,
    items: Vec<(u64, T)>,
}

impl<T> Top<T> {
    /// Of `most` items, and never more than [`MOST`].
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.min(MOST),
            floor: 0,
            items: Vec::new(),
        }
    }

    /// Whether something of this weight would get in.
    pub(super) fn takes(&self, weight: u64) -> bool {
        self.most > 0 && weight > self.floor
    }

    /// Adds an item, unless there are enough with greater weights.
    pub(super) fn add(&mut self, weight: u64, item: T) {
        if !self.takes(weight) {
            return;
        }
        self.items.push((weight, item));
        if self.items.len() >= 2 * self.most {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.items.sort_by_key(|(weight, _)| Reverse(*weight));
        self.items.truncate(self.most);
        if self.items.len() == self.most {
            self.floor = self.items.last().map_or(0, |(weight, _)| *weight);
        }
    }

    /// All of them, the greatest first.
    pub(super) fn into_sorted(mut self) -> impl Iterator<Item = T> {
        self.cut();
        self.items.into_iter().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_order_whatever_came_first() {
        for step in [1, 3, 7, 99] {
            let mut top = Top::new(5);
            for n in 0..100 {
                top.add(n * step % 100 + 1, n * step % 100 + 1);
            }
            assert!(top.items.len() < 10);
            assert!(top.into_sorted().eq([100, 99, 98, 97, 96]), "step {step}");
        }
    }

    #[test]
    fn fewer_than_asked_for_are_all_there_and_none_can_be_asked_for() {
        let mut top = Top::new(5);
        top.add(1, 'a');
        top.add(2, 'b');
        assert!(top.into_sorted().eq(['b', 'a']));
        let mut none = Top::new(0);
        none.add(1, 'a');
        assert_eq!(none.into_sorted().count(), 0);
    }
}
