//! The promises of `properties::segment`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::segment::check(bytes));
