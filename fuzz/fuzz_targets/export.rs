//! Runs [`bugle_fuzz::export`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::export(data));
