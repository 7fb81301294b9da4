//! The fuzzer's program for `usertrail::fuzzing::heads`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::heads(data));
