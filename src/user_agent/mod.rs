//! Transports: the ways in which a user agent drains its log.
//!
//! A transport is a module with a function that serves one connection. It
//! calls the [`PushService`](crate::service::PushService) to connect, read
//! pending messages, acknowledge, subscribe and unsubscribe, and waits on its
//! [`Registration`](crate::service::registry::Registration) in between.

mod cursor;
pub mod monitor;
pub mod websocket;
