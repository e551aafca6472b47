//! Tests of the protocol crate from outside: published examples, clauses, and
//! the property that what is printed is read back the same.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod abnf;
mod encryption;
mod frames;
mod grammar;
mod properties;
mod tokens;
mod vapid;

use bugle_protocol::Tolerances;

/// All that may be tolerated, but for unencrypted bodies and a missing TTL.
const LENIENT: Tolerances = Tolerances {
    aud_without_port: true,
    legacy_vapid: true,
    loose_vapid: true,
    aesgcm: true,
    wrong_record_size: true,
    ..Tolerances::NONE
};
