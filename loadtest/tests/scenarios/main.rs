//! The load tester against the real service: its scenarios, and the detection of faults.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

mod accounting;
mod program;
mod scenarios;
mod support;
