//! libFuzzer's door to [`chancery_tlog_fuzz::strict_uri`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chancery_tlog_fuzz::strict_uri(data);
});
