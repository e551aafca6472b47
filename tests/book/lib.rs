//! Reads the README and the book for tests of the documents.

pub mod block;
pub mod pages;
