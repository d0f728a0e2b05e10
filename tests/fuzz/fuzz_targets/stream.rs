//! The door `stream`: see `harness::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::fuzz::stream(bytes));
