//! Runs [`bugle_fuzz::vapid`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bugle_fuzz::vapid(data));
