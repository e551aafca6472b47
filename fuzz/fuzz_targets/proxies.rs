//! Runs [`bugle_fuzz::proxies`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::proxies(data));
