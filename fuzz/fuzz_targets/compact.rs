//! The promises of `properties::compact`, for cargo-fuzz.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::compact::check(bytes));
