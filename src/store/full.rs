//! The answer of a bound that has no room for a change.

use bugle_protocol::UnixTime;

use super::holders::Holder;
use crate::config::Limit;

/// Who holds as much of a bound as they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All together: the bound itself is reached.
    All,
    /// The subscription that the push is for.
    Subscription,
    /// The user agent.
    UserAgent,
    /// The application server, by the key that signed.
    Sender,
    /// The peer, by its [network](crate::gate::network::network).
    Address,
}

/// A bound that a change would cross, or the share of it that one holder has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The bound.
    pub limit: Limit,
    /// Whose share of it is full.
    pub whose: Whose,
    /// When something expires that counts against the bound, if that is known:
    /// then there is room at the latest.
    pub until: Option<UnixTime>,
}

impl From<Limit> for Full {
    /// A bound that is reached as a whole.
    fn from(limit: Limit) -> Self {
        Self {
            limit,
            whose: match limit {
                Limit::SubscriptionsPerUserAgent => Whose::UserAgent,
                _ => Whose::All,
            },
            until: None,
        }
    }
}

impl From<Holder> for Whose {
    fn from(holder: Holder) -> Self {
        match holder {
            Holder::Key(_) => Self::Sender,
            Holder::Network(_) => Self::Address,
        }
    }
}
