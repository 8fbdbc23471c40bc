//! A bounded, repeatable run of the fuzz targets; `ca/fuzz/README.md` tells how to run the long version.

#[path = "../../tlog/tests/fuzz_smoke/engine.rs"]
mod engine;
#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is the fuzz package's library, included here as a module")]
mod targets;

use engine::smoke;

#[test]
fn claim_policies() {
    smoke("claim_policy", 20_000, targets::claim_policy);
}

#[test]
fn json_timestamp_requests() {
    smoke("timestamp_json", 60_000, targets::timestamp_json);
}
