//! The fuzzer's program for `usertrail::fuzzing::key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::key(data));
