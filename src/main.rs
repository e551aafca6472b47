//! Bugle, a self-hosted Web Push service.

fn main() {}
