//! Runs [`bugle_fuzz::config`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::config(data));
