//! The service with popular clients: Firefox as the user agent, npm's web-push and PyPI's
//! pywebpush as application servers; RFC 8030 with general HTTP clients (Node's, nghttp, curl);
//! HTTP libraries of five languages with persistent connections; and the console in Chromium
//! and Firefox.
//!
//! `./test real-clients` installs the requirements and runs these tests; a plain `cargo test`
//! does not include them. Every test starts its own service, browser profile and web site on
//! loopback, and talks to the service only through its real clients.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed step is a failed test"
)]

mod admin_api;
mod admission;
mod authority;
mod chromium;
mod chromium_push;
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
