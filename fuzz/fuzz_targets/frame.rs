//! The promises of `properties::frame`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::frame::check(bytes));
