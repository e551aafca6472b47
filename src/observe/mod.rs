//! What operators see of the service: metrics, logs, traces, and the history of single messages.

pub mod exposition;
pub mod histogram;
pub mod log;
pub mod memory;
pub mod message_log;
pub mod metrics;
pub mod otel;

mod repeats;
