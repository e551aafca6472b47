//! The service behind the proxies that people really use: nginx, Caddy and
//! HAProxy, with the configurations of `packaging/proxies` and the settings of
//! docs/proxies.md.
//!
//! `./test proxies` installs what this needs and runs it; a plain `cargo test`
//! leaves it out. Every test starts its own service and proxy, both on loopback;
//! clients differ by their addresses there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

#[path = "../real_clients/authority.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod authority;
mod client;
mod http;
mod kept;
#[path = "../real_clients/kept.rs"]
mod kept_senders;
mod pass_through;
mod proxy;
#[path = "../it/support/secrets.rs"]
mod secrets;
mod service;
mod wrong;
