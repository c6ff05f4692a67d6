//! Endless: `cargo +nightly fuzz run merge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::merge(data));
