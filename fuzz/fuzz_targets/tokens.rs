//! Runs [`bugle_fuzz::tokens`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::tokens(data));
