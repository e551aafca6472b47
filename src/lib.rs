//! Bugle, a self-hosted Web Push service.
//!
//! A push passes four functions: `http::push::post` reads and checks the request,
//! `service::PushService::push` stores the message, after which the store's listener wakes the user
//! agent's connection, `user_agent::websocket` sends it, and `service::PushService::acknowledge`
//! removes it. See `docs/architecture.md`.

pub mod cli;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;

mod admin;
mod app;
mod gate;
mod http;
mod io;
mod observe;
mod secrets;
mod server;
mod service;
mod store;
mod time;
mod user_agent;

// Shared with the client crate: one source of random bytes.
use bugle_client::random;

/// The parts that `cargo bench` measures.
#[doc(hidden)]
pub mod bench {
    pub use crate::observe::metrics::Metrics;
    pub use crate::service::vapid::Verifier;
}

pub use config::Config;
pub use server::{Server, StartError, TaskEnded};
pub use time::Clock;
