//! The error of a bound that has no room for a change.

use bugle_protocol::UnixTime;

use super::holders::Holder;
use crate::config::Limit;

/// The holder that has used up its share of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All holders together: the bound itself is reached.
    All,
    /// The subscription that the push is for.
    Subscription,
    /// The user agent.
    UserAgent,
    /// The application server, by its VAPID key.
    Sender,
    /// The peer, by its [network](crate::gate::network::network).
    Address,
}

/// A bound, or a holder's share of it, that a change would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The bound.
    pub limit: Limit,
    /// The holder whose share is full.
    pub scope: Scope,
    /// The time at which something that counts against the bound expires, if known: by then there
    /// is room.
    pub until: Option<UnixTime>,
}

impl From<Limit> for Full {
    /// A bound that is reached as a whole.
    fn from(limit: Limit) -> Self {
        Self {
            limit,
            scope: match limit {
                Limit::SubscriptionsPerUserAgent => Scope::UserAgent,
                _ => Scope::All,
            },
            until: None,
        }
    }
}

impl From<Holder> for Scope {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Key(_) => Self::Sender,
            Holder::Network(_) => Self::Address,
        }
    }
}
