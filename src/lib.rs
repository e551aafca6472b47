//! Bugle, a self-hosted Web Push service.
//!
//! A push goes through four functions: `http::push::post` reads and checks it,
//! `service::PushService::push` stores it, upon which the store's listener
//! wakes the user agent's connection, `user_agent::websocket` sends it, and
//! `service::PushService::acknowledge` removes it. `docs/architecture.md`
//! says more.

pub mod cli;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;
pub mod server;
pub mod time;

mod admin;
mod app;
mod gate;
mod http;
mod io;
mod keys;
mod observe;
mod service;
mod store;
mod user_agent;

// The client draws its random octets from the same source.
use bugle_client::random;

/// What `cargo bench` times.
#[doc(hidden)]
pub mod bench {
    pub use crate::observe::metrics::Metrics;
    pub use crate::service::vapid::Verifier;
}

pub use config::Config;
pub use server::Server;
pub use time::Clock;
