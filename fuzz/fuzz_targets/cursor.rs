//! The promises of `properties::cursor`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::cursor::check(bytes));
