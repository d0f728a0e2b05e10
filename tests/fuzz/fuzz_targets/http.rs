//! The door `http`: see `harness::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::fuzz::http(bytes));
