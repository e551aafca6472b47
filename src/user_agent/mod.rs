//! Transports: the protocols by which a user agent reads its log.
//!
//! A transport is a module that serves one connection. It polls a [`Drain`](drain::Drain), which
//! returns the next item of a log, and calls the [`PushService`](crate::service::PushService) to
//! connect, subscribe and unsubscribe. It polls the drain before it reads frames, so that no peer
//! can delay the end of its own connection.

mod cursor;
mod drain;
pub mod mcs;
pub mod monitor;
pub mod websocket;
