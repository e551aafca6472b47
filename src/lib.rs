//! Bugle, a self-hosted Web Push service.

pub mod config;
pub mod store;
