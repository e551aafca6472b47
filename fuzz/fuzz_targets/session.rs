//! Runs [`bugle_fuzz::session`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::session(data));
