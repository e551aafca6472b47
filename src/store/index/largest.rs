//! The largest holders of stored messages.

use std::net::IpAddr;

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushEndpoint, SubscriptionId, Uaid, UnixTime,
};

use super::Index;
use crate::store::holders::Holder;
use crate::store::largest::{Held, Largest, Top};
use crate::store::log::Entry;
use crate::store::{Backlog, StoreError};

/// The oldest message of a holder. Its record has what the index lacks: its channel, and when it
/// was accepted.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Oldest {
    /// The user agent of its log.
    pub(in crate::store) uaid: Uaid,
    pub(in crate::store) id: MessageId,
    /// The number of records that store it.
    pub(in crate::store) parts: u16,
}

/// The largest logs and holders, the largest first, before their oldest messages are read.
#[derive(Debug)]
pub(in crate::store) struct LargestLogs {
    user_agents: Vec<(Backlog, Oldest)>,
    subscriptions: Vec<(SubscriptionId, Backlog, Oldest)>,
    senders: Vec<Held<PublicKey>>,
    addresses: Vec<Held<IpAddr>>,
}

impl Oldest {
    fn of(uaid: Uaid, entry: &Entry) -> Self {
        Self {
            uaid,
            id: entry.id,
            parts: entry.parts,
        }
    }
}

impl Index {
    /// Returns the largest holders of messages, at most `limit` of each kind.
    ///
    /// Visits every log once.
    pub(in crate::store) fn largest(&self, limit: usize) -> LargestLogs {
        let (mut user_agents, mut subscriptions) = (Top::new(limit), Top::new(limit));
        for (uaid, log) in &self.logs {
            let held = log.backlog();
            user_agents.add(held.bytes, (*uaid, log, held));
            if subscriptions.takes(held.bytes) {
                for (id, held) in log.by_subscription() {
                    subscriptions.add(held.bytes, (*uaid, log, id, held));
                }
            }
        }
        let user_agents = user_agents.into_sorted().filter_map(|(uaid, log, held)| {
            let oldest = log.entries().front()?;
            Some((held, Oldest::of(uaid, oldest)))
        });
        let subscriptions = subscriptions.into_sorted();
        let subscriptions = subscriptions.filter_map(|(uaid, log, subscription, held)| {
            let of_it = |entry: &&Entry| entry.subscription == subscription;
            let oldest = log.entries().iter().find(of_it)?;
            Some((subscription, held, Oldest::of(uaid, oldest)))
        });
        let (user_agents, subscriptions) = (user_agents.collect(), subscriptions.collect());
        let (senders, addresses) = self.largest_holders(limit);
        LargestLogs {
            user_agents,
            subscriptions,
            senders,
            addresses,
        }
    }

    fn largest_holders(&self, limit: usize) -> (Vec<Held<PublicKey>>, Vec<Held<IpAddr>>) {
        let (mut senders, mut addresses) = (Top::new(limit), Top::new(limit));
        for (holder, amount, since) in self.holders.iter() {
            let held = Backlog {
                messages: amount.items,
                bytes: amount.bytes,
            };
            match holder {
                Holder::Key(key) => senders.add(held.bytes, held.of(*key, since)),
                Holder::Network(network) => addresses.add(held.bytes, held.of(*network, since)),
            }
        }
        (
            senders.into_sorted().collect(),
            addresses.into_sorted().collect(),
        )
    }
}

impl LargestLogs {
    /// Adds these lists to `rest`. `read` returns the channel of a message and when it was
    /// accepted. A holder whose oldest message no longer exists is left out.
    ///
    /// # Errors
    /// The error of `read`.
    pub(in crate::store) fn read(
        self,
        rest: Largest,
        read: impl Fn(Oldest) -> Result<Option<(ChannelId, UnixTime)>, StoreError>,
    ) -> Result<Largest, StoreError> {
        let user_agents = self.user_agents.into_iter().map(|(held, oldest)| {
            let found = read(oldest)?;
            Ok(found.map(|(_, since)| held.of(oldest.uaid, since)))
        });
        let subscriptions = self.subscriptions.into_iter();
        let subscriptions = subscriptions.map(|(subscription, held, oldest)| {
            let found = read(oldest)?;
            Ok(found.map(|(channel, since)| {
                let endpoint = PushEndpoint {
                    uaid: oldest.uaid,
                    channel,
                    subscription,
                };
                held.of(endpoint, since)
            }))
        });
        Ok(Largest {
            user_agents: user_agents
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
            subscriptions: subscriptions
                .filter_map(Result::transpose)
                .collect::<Result<_, _>>()?,
            senders: self.senders,
            addresses: self.addresses,
            ..rest
        })
    }
}
