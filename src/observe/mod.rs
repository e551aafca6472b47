//! What the operator sees of the service: metrics, logs, traces, and the log of
//! what became of each message.

pub mod exposition;
pub mod histogram;
pub mod log;
pub mod memory;
pub mod message_log;
pub mod metrics;
pub mod otel;

mod repeats;
