//! Runs [`bugle_fuzz::admission`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::admission(data));
