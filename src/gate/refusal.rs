//! Why the gate refuses a peer or a request.

use std::time::Duration;

use crate::config::{Holder, Limit};

/// The message for an unknown path. A missing secret path gets the same one.
pub const NOT_HERE: &str = "there is nothing at this path, or no longer: check that the URL is \
                            whole";

/// Why a peer, or one of its requests, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The operator has blocked the application server.
    #[error("the operator of this service has blocked this application server key")]
    BlockedKey,
    /// The operator has blocked the address.
    #[error("the operator of this service has blocked this address")]
    BlockedAddress,
    /// User agents are not admitted from this address.
    #[error("this service takes no user agents from your address (admission.addresses)")]
    Address,
    /// The secret path is missing; the message does not reveal that there is one.
    #[error("{}", NOT_HERE)]
    Path,
    /// The user agent did not send the token.
    #[error(
        "this service takes user agents that know its token: add ?token=TOKEN to the URL \
             (admission.token)"
    )]
    Token,
    /// The user agent did not send the password (RFC 7617 §2).
    #[error("this service asks user agents for user and password (admission.basic)")]
    Password,
    /// A limit is reached.
    #[error("over the limit {}: try again later", .0.setting())]
    Limit(Limit),
    /// The share of one holder in a limit is used up.
    #[error("{holder} holds its share of {}: try again when one of its others has ended", .limit.setting())]
    Share {
        /// The limit.
        limit: Limit,
        /// The kind of holder.
        holder: Holder,
    },
    /// A rate limit is exceeded.
    #[error("more requests than {} allows: try again in {} s", .limit.setting(), whole_secs(*wait))]
    Rate {
        /// The setting of the rate.
        limit: Limit,
        /// When the bucket has room again.
        wait: Duration,
    },
}

impl Refusal {
    /// Whether the address of the client is over a limit of its own, so that its response is
    /// delayed: a client that tries again at once would otherwise take as much CPU time as it can
    /// get. A limit by key or by subscription delays nothing, because its sender may share the
    /// address with others.
    pub const fn is_delayed(&self) -> bool {
        matches!(
            self,
            Self::Rate {
                limit: Limit::AddressRate | Limit::FailedSignatureRate,
                ..
            }
        )
    }
}

/// Rounds up to whole seconds, to at least 1.
pub fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}
