//! The bodies of the fuzz targets. Each returns whether it accepted its input.

use std::sync::{Arc, LazyLock};

use chancery_ca::IssuerConfig;
use chancery_ca::oidc::VerifiedToken;
use chancery_ca::policy::{ClaimPolicies, ClaimPolicy};
use chancery_ca::timestamp::Request;
use serde_json::{Map, Value};

/// The one issuer of [`claim_policy`], which is the same for all inputs: only its policy is under test.
const ISSUER: &str = "https://id.corp.example";

static ISSUERS: LazyLock<IssuerConfig> = LazyLock::new(|| {
    let text = format!(
        "oidc-issuers:\n  {ISSUER}:\n    issuer-url: {ISSUER}\n    client-id: sigstore\n    type: email\n"
    );
    IssuerConfig::parse(&text).expect("an issuer")
});

/// A claim policy and the claims of a token, two JSON documents. Accepted if the policy permits the token.
pub fn claim_policy(data: &[u8]) -> bool {
    let mut documents = serde_json::Deserializer::from_slice(data).into_iter::<Value>();
    let (Some(Ok(policy)), Some(Ok(Value::Object(claims)))) = (documents.next(), documents.next()) else {
        return false;
    };
    let Ok(policy) = serde_json::from_value::<ClaimPolicy>(policy) else { return false };
    let (has_rules, any_tenant) = (policy.rules().next().is_some(), policy.permits_any_tenant());
    let single_use = policy.is_single_use();
    assert!(!(has_rules && any_tenant));
    let _ = policy.warnings();
    let Ok(policies) = ClaimPolicies::bind(vec![policy], &ISSUERS) else { return false };
    let token = token(claims);
    let trace = policies.trace(&token);
    // The explanation and the decision are one.
    let holds = !has_rules || trace.iter().any(|rule| rule.holds);
    let permitted = policies.permit(token.clone());
    assert!(permitted.is_ok() == holds || single_use, "{trace:?} {permitted:?}");
    if let Ok(permitted) = &permitted {
        let first = trace.iter().find(|rule| rule.holds).map(|rule| rule.name.as_str());
        assert_eq!(permitted.rule(), first);
    }
    // Without claims nothing holds, so no policy with rules is open by mistake.
    assert!(!has_rules || policies.permit(self::token(Map::new())).is_err());
    permitted.is_ok()
}

fn token(claims: Map<String, Value>) -> VerifiedToken {
    let issuer = ISSUERS.find(ISSUER).expect("the issuer").clone();
    VerifiedToken { issuer: Arc::clone(&issuer), iss: ISSUER.to_owned(), sub: "someone".to_owned(), claims }
}

/// A timestamp request in JSON.
pub fn timestamp_json(data: &[u8]) -> bool {
    let parsed = Request::from_json(data);
    // The same bytes are the same request, or the same error.
    assert_eq!(format!("{parsed:?}"), format!("{:?}", Request::from_json(data)));
    parsed.is_ok()
}
