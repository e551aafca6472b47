//! Lists of the largest holders, for an operator who looks for the one that fills a bound.

use std::cmp::Reverse;
use std::net::IpAddr;

use bugle_protocol::{PublicKey, PushEndpoint, ReceiptSubscriptionId, Uaid, UnixTime};

use super::Backlog;
use super::holders::Holder;

/// The maximum length of a list, whatever length was requested.
pub(super) const MAX_LISTED: usize = 1000;

/// A holder, with the stored messages that are charged to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<T> {
    /// The holder of the messages.
    pub holder: T,
    /// Number of messages.
    pub messages: u64,
    /// Bytes of those messages, as `PushMessage::size` counts them.
    pub bytes: u64,
    /// For a user agent or a subscription: when its oldest message was accepted. For a sender or an
    /// address: since when it has had stored messages without interruption; its oldest message was
    /// accepted then or later.
    pub since: UnixTime,
}

/// A holder, with the receipts that are charged to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldReceipts<T> {
    /// The holder of the receipts.
    pub holder: T,
    /// Number of receipt subscriptions.
    pub subscriptions: u64,
    /// Number of receipts that its application server has not received yet.
    pub receipts: u64,
    /// For a receipt subscription: when its oldest receipt was created. For a sender or an address:
    /// since when it has had receipt subscriptions without interruption; its oldest receipt was
    /// created then or later.
    pub since: UnixTime,
}

/// The largest holders of a store, the largest first.
///
/// Senders and addresses are known only for items stored since the start of the service. Older
/// messages are charged to the key that their subscription is restricted to, if there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Largest {
    /// By the bytes of their logs.
    pub user_agents: Vec<Held<Uaid>>,
    /// By the bytes of the messages sent to them.
    pub subscriptions: Vec<Held<PushEndpoint>>,
    /// Application servers that signed, by the bytes of their messages.
    pub senders: Vec<Held<PublicKey>>,
    /// The [networks](crate::gate::network::network) of peers, by the bytes of the messages they
    /// sent.
    pub addresses: Vec<Held<IpAddr>>,
    /// By their receipts. A receipt subscription without receipts is not listed.
    pub receipt_subscriptions: Vec<HeldReceipts<ReceiptSubscriptionId>>,
    /// Creators of receipt subscriptions, by the number of these plus their receipts.
    pub receipt_holders: Vec<HeldReceipts<Holder>>,
}

impl Backlog {
    /// Adds the holder.
    pub(super) fn of<T>(self, holder: T, since: UnixTime) -> Held<T> {
        Held {
            holder,
            messages: self.messages,
            bytes: self.bytes,
            since,
        }
    }
}

/// Collects the `limit` items with the greatest weights, in memory for twice as many.
#[derive(Debug)]
pub(super) struct Top<T> {
    limit: usize,
    /// An item must have a greater weight than this to be added.
    floor: u64,
    items: Vec<(u64, T)>,
}

impl<T> Top<T> {
    /// Creates a collector of `limit` items, at most [`MAX_LISTED`].
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.min(MAX_LISTED),
            floor: 0,
            items: Vec::new(),
        }
    }

    /// Returns whether an item of this weight would be added.
    pub(super) fn takes(&self, weight: u64) -> bool {
        self.limit > 0 && weight > self.floor
    }

    /// Adds an item, unless enough items have greater weights.
    pub(super) fn add(&mut self, weight: u64, item: T) {
        if !self.takes(weight) {
            return;
        }
        self.items.push((weight, item));
        if self.items.len() >= 2 * self.limit {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.items.sort_by_key(|(weight, _)| Reverse(*weight));
        self.items.truncate(self.limit);
        if self.items.len() == self.limit {
            self.floor = self.items.last().map_or(0, |(weight, _)| *weight);
        }
    }

    /// Returns all items, the greatest first.
    pub(super) fn into_sorted(mut self) -> impl Iterator<Item = T> {
        self.cut();
        self.items.into_iter().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_are_kept_in_order() {
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
    fn a_list_may_be_shorter_than_requested_or_empty() {
        let mut top = Top::new(5);
        top.add(1, 'a');
        top.add(2, 'b');
        assert!(top.into_sorted().eq(['b', 'a']));
        let mut none = Top::new(0);
        none.add(1, 'a');
        assert_eq!(none.into_sorted().count(), 0);
    }
}
