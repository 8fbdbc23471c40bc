//! libFuzzer's door to [`chancery_tlog_fuzz::rekor_v2_entry`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chancery_tlog_fuzz::rekor_v2_entry(data);
});
