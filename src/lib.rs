//! Bugle, a self-hosted Web Push service.
//!
//! A push goes through four functions: `http::push::post` reads and checks it,
//! `service::PushService::push` stores it, upon which the store's listener
//! wakes the user agent's connection, `user_agent::websocket` sends it, and
//! `service::PushService::acknowledge` removes it. `docs/architecture.md`
//! says more.

pub mod certificate;
pub mod cli;
pub mod client;
pub mod config;
#[doc(hidden)]
pub mod fuzzing;
pub mod metrics;
pub mod server;
pub mod systemd;
pub mod time;
pub mod verifier;

mod addresses;
mod admin;
mod admission;
mod blocks;
mod broadcasts;
mod clients;
mod compat;
mod error;
mod expiry;
mod failures;
mod http;
mod in_order;
mod io;
mod keys;
mod latency;
mod limits;
mod memory;
mod proxies;
mod random;
mod rates;
mod readiness;
mod service;
mod service_clock;
mod shares;
mod store;
mod telemetry;
mod tls;
mod trace;
mod turns;
mod user_agent;

pub use config::Config;
pub use server::Server;
pub use time::Clock;
