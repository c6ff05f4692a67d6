//! Endless: `cargo +nightly fuzz run shield`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::shield(data));
