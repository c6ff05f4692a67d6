//! Endless: `cargo +nightly fuzz run url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drape_fuzz::url(data));
