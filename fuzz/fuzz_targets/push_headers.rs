//! Runs [`bugle_fuzz::push_headers`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::push_headers(data));
