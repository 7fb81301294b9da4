//! The fuzzer's program for `usertrail::fuzzing::postings`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| usertrail::fuzzing::postings(data));
