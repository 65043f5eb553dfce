//! The promises of `properties::archive`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::archive::check(bytes));
