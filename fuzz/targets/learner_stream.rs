#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zkctl_fuzz::learner_stream(data));
