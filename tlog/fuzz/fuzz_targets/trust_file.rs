//! libFuzzer's door to [`chancery_tlog_fuzz::trust_file`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chancery_tlog_fuzz::trust_file(data);
});
