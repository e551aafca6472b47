//! What operators see of the service from outside: its metrics as text, its
//! log, its traces.

pub mod exposition;
pub mod log;
pub mod traces;

mod repeats;
