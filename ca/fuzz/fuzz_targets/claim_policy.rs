//! libFuzzer's door to [`chancery_ca_fuzz::claim_policy`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    chancery_ca_fuzz::claim_policy(data);
});
