#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| zkctl_fuzz::peer_messages(data));
