//! Endless: `cargo +nightly fuzz run token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::token(data));
