//! The fuzzer's program for `usertrail::fuzzing::details`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::details(data));
