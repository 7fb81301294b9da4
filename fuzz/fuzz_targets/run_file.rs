//! The fuzzer's program for `usertrail::fuzzing::run_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::run_file(data));
