//! What the gate says to those whom it does not let through.

use std::time::Duration;

use crate::config::{Holder, Limit};

/// The words for a path that names nothing, so that a path that is kept secret
/// reads the same.
pub const NOT_HERE: &str = "there is nothing at this path, or no longer: check that the URL is \
                            whole";

/// Why a peer, or one of its requests, is not let through.
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
    /// The secret path is missing; it is not given away that there is one.
    #[error("{}", NOT_HERE)]
    Path,
    /// A user agent without the token.
    #[error(
        "this service takes user agents that know its token: add ?token=TOKEN to the URL \
             (admission.token)"
    )]
    Token,
    /// A user agent without the password (RFC 7617 §2).
    #[error("this service asks user agents for user and password (admission.basic)")]
    Password,
    /// A bound is reached.
    #[error("over the limit {}: try again later", .0.setting())]
    Limit(Limit),
    /// One holder has its share of what a bound allows to all.
    #[error("{holder} holds its share of {}: try again when one of its others has ended", .limit.setting())]
    Share {
        /// The bound that all share.
        limit: Limit,
        /// Whose share is full.
        holder: Holder,
    },
    /// Too many requests in too short a time.
    #[error("more requests than {setting} allows: try again in {} s", whole_secs(*wait))]
    Rate {
        /// The setting that says how many.
        setting: &'static str,
        /// Until there is room for one more.
        wait: Duration,
    },
}

/// Whole seconds that are not over too early: 1 and more.
pub fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}
