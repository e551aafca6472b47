//! The load tester against the real service: what it does, and that it sees
//! what a service does wrong.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod accounting;
mod program;
mod scenarios;
mod support;
