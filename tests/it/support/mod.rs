//! The subject, and the two parties around it. They speak the wire alone.

pub mod app_server;
pub mod http;
pub mod server;
pub mod subject;
pub mod user_agent;
