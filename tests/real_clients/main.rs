//! The service with the clients that people really use: Firefox as the user
//! agent, and as application servers npm's web-push and PyPI's pywebpush; and
//! RFC 8030 with HTTP clients that know nothing of push: Node's, nghttp, curl; HTTP
//! libraries of five languages that keep their connections; and its console in
//! Chromium and Firefox.
//!
//! `./test real-clients` installs what this needs and runs it; a plain
//! `cargo test` leaves it out. Every test starts its own service, browser
//! profile and web site, all on loopback, and speaks to the service through
//! its real clients alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

mod admin_api;
mod admission;
mod authority;
mod console;
mod delivery;
mod examples;
mod firefox;
mod kept;
mod marionette;
mod profile;
mod readme;
mod restarts;
mod rfc8030;
#[path = "../it/support/secrets.rs"]
mod secrets;
mod senders;
mod senders_kept;
mod service;
mod site;
mod stage;
