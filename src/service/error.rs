//! The errors of the service, independent of the transport. [`app::refusal`](crate::app::refusal)
//! has the response to each.

use bugle_protocol::vapid::VapidError;

use super::full::FullShare;
use crate::gate::Refusal;
use crate::gate::refusal::NOT_HERE;

/// Why the service refuses an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The gate refuses it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The subscription, set or receipt subscription does not exist.
    #[error("{}", NOT_HERE)]
    NotFound,
    /// The set to subscribe in does not exist (8030-4.1-f).
    #[error("the subscription set in the Link header is not one of this service, or is gone")]
    NoSet,
    /// The receipt subscription to use does not exist (8030-5.1-i).
    #[error("the receipt subscription in the Link header is not one of this service, or is gone")]
    NoReceipts,
    /// This service has not issued the endpoint.
    #[error("this service has never issued this endpoint: check that the URL is whole")]
    UnknownEndpoint,
    /// This service issued the endpoint, and its subscription has ended (RFC 8030 §7.3, A-4).
    #[error("the subscription is gone: delete it, and let the user agent subscribe anew")]
    Gone,
    /// The message was delivered, expired, replaced or withdrawn, or never existed.
    #[error("no such message: delivered, expired, replaced or withdrawn")]
    NoMessage,
    /// The subscription is restricted, and the request has no credentials (RFC 8292 §4.2).
    #[error(
        "the subscription is restricted to an application server key: sign the request by VAPID \
         (Authorization: vapid t=<token>, k=<key>, RFC 8292)"
    )]
    Unauthorized,
    /// The subscription is restricted to another application server.
    #[error(
        "the subscription is restricted to another application server key: sign with the key \
         that was given to subscribe() (applicationServerKey)"
    )]
    OtherKey,
    /// The credentials are invalid (RFC 8292 §4.2).
    #[error("{0}")]
    Vapid(#[from] VapidError),
    /// A subscription without a key where `push.require_vapid` is on.
    #[error("this service needs an application server key for every subscription")]
    KeyRequired,
    /// A limit of stored data is reached, or a holder's share of it.
    #[error("{0}")]
    Full(FullShare),
    /// The service cannot do this now.
    #[error("the service cannot do this now, try again later")]
    Unavailable,
}
