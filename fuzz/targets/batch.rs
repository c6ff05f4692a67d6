//! Endless: `cargo +nightly fuzz run batch`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::batch(data));
