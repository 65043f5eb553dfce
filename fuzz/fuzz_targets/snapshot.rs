//! The promises of `properties::snapshot`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::snapshot::check(bytes));
