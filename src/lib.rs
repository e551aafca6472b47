//! Bugle, a self-hosted Web Push service.

pub mod store;
