//! The fuzzer's program for `usertrail::fuzzing::time`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::time(data));
