//! Transports: the ways in which a user agent drains its log.
//!
//! A transport is a module that serves one connection. It drives a
//! [`Drain`](drain::Drain), which says what comes next of a log, and calls the
//! [`PushService`](crate::service::PushService) to connect, subscribe and
//! unsubscribe. It looks at the drain before it reads frames, so that no peer
//! delays its own end.

mod cursor;
mod drain;
pub mod monitor;
pub mod websocket;
