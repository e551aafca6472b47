//! The service behind the common proxies nginx, Caddy and HAProxy, with the configurations of
//! `packaging/proxies` and the settings of docs/proxies.md.
//!
//! `./test proxies` installs the requirements and runs these tests; a plain `cargo test` does
//! not include them. Every test starts its own service and proxy on loopback; clients differ by
//! their loopback addresses.

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
