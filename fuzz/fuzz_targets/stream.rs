//! The promises of `properties::stream`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::stream::check(bytes));
