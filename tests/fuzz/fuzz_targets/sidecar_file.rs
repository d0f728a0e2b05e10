//! The door `sidecar_file`: see `harness::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| harness::fuzz::sidecar_file(bytes));
