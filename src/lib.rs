//! Bugle, a self-hosted Web Push service.

pub mod config;
pub mod time;

mod io;
mod keys;
mod random;
mod store;
mod tls;

pub use config::Config;
pub use time::Clock;
