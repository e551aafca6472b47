//! Why the service does not do what it is asked. Knows no transport: what is
//! answered to each error, [`app::refusal`](crate::app::refusal) says.

use bugle_protocol::vapid::VapidError;

use super::full::FullShare;
use crate::gate::Refusal;
use crate::gate::refusal::NOT_HERE;

/// Why the service does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The gate does not let it through.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The subscription, set or receipt subscription is not there.
    #[error("{}", NOT_HERE)]
    NotFound,
    /// The set in which to subscribe is not there (8030-4.1-f).
    #[error("the subscription set in the Link header is not one of this service, or is gone")]
    NoSet,
    /// The receipt subscription to use is not there (8030-5.1-i).
    #[error("the receipt subscription in the Link header is not one of this service, or is gone")]
    NoReceipts,
    /// The endpoint was not issued here.
    #[error("this service has never issued this endpoint: check that the URL is whole")]
    UnknownEndpoint,
    /// The endpoint was issued here, and its subscription is gone (RFC 8030
    /// §7.3, A-4).
    #[error("the subscription is gone: delete it, and let the user agent subscribe anew")]
    Gone,
    /// The message was delivered, expired, replaced or withdrawn, or never was.
    #[error("no such message: delivered, expired, replaced or withdrawn")]
    NoMessage,
    /// A restricted subscription, and no credentials (RFC 8292 §4.2).
    #[error(
        "the subscription is restricted to an application server key: sign the request by VAPID \
         (Authorization: vapid t=<token>, k=<key>, RFC 8292)"
    )]
    Unauthorized,
    /// A restricted subscription, and another application server.
    #[error(
        "the subscription is restricted to another application server key: sign with the key \
         that was given to subscribe() (applicationServerKey)"
    )]
    OtherKey,
    /// Credentials that are not valid (RFC 8292 §4.2).
    #[error("{0}")]
    Vapid(#[from] VapidError),
    /// A subscription without a key where `push.require_vapid` is on.
    #[error("this service needs an application server key for every subscription")]
    KeyRequired,
    /// A bound of what is stored is reached, or somebody's share of it.
    #[error("{0}")]
    Full(FullShare),
    /// The service cannot do it now.
    #[error("the service cannot do this now, try again later")]
    Unavailable,
}
