//! Tests of the protocol crate from outside: published examples, clauses, and
//! the property that what is printed is read back the same.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod encryption;
mod frames;
mod properties;
mod tokens;
mod vapid;
