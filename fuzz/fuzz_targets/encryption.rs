//! Runs [`bugle_fuzz::encryption`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::encryption(data));
