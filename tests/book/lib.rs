//! Reads the README and the book, for tests that hold them to what is true.

pub mod block;
pub mod pages;
