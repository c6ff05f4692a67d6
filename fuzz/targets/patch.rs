//! Endless: `cargo +nightly fuzz run patch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::patch(data));
