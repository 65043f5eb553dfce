//! The promises of `properties::batch`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::batch::check(bytes));
