//! The promises of `properties::consumers`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::consumers::check(bytes));
