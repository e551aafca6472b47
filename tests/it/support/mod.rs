//! The service under test and its clients, which use only the wire.

pub mod admin;
pub mod app_server;
pub mod channels;
pub mod device;
pub mod disk;
pub mod file_limit;
pub mod flood;
pub mod frames;
pub mod held;
pub mod http;
pub mod kept;
pub mod model;
pub mod proxied;
pub mod scene;
pub mod secrets;
pub mod server;
pub mod service_manager;
pub mod siege;
pub mod stand_in;
pub mod subject;
pub mod subscriber;
pub mod user_agent;
