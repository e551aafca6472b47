//! Nothing but tests: see `book.rs`.
