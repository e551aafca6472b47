//! Runs [`bugle_fuzz::mcs`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::mcs(data));
