//! The fuzzer's program for `usertrail::fuzzing::question`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::question(data));
