//! Tests of the protocol crate from outside: published examples and clauses.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod encryption;
mod vapid;
