//! The fuzzer's program for `usertrail::fuzzing::checkpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::checkpoint(data));
