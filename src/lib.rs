//! Bugle, a self-hosted Web Push service.

pub mod config;
pub mod time;

mod clients;
mod error;
mod io;
mod keys;
mod metrics;
mod random;
mod service;
mod store;
mod tls;
mod verifier;

pub use config::Config;
pub use time::Clock;
