//! The fuzzer's program for `usertrail::fuzzing::authlog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::authlog(data));
