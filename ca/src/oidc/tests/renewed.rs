//! A verifier for other issuers in the place of one that has keys already.

use super::*;

impl Fixture {
    /// The same verifier after a reload of a configuration with these lines more in the issuer's section.
    fn reloaded(&self, lines: &str, more: &str) -> Arc<Verifier> {
        let url = &self.issuer.url;
        let config = format!(
            "oidc-issuers:\n  {url}:\n    issuer-url: {url}\n    client-id: sigstore\n    type: kubernetes\n{lines}{more}"
        );
        let issuers = Arc::new(IssuerConfig::parse(&config).unwrap());
        Arc::new(self.verifier.renewed(issuers, true).unwrap())
    }
}

const OTHER: &str = "  https://other.example:\n    issuer-url: https://other.example\n    client-id: x\n    type: kubernetes\n";

#[tokio::test]
async fn keys_of_an_unchanged_issuer_are_kept() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    // Keys that are in memory need no issuer.
    fixture.issuer.set_discovery_mode(Mode::Fail);
    let renewed = fixture.reloaded("", OTHER);
    drop(renewed.verify(&fixture.token(), None).await.unwrap());
    drop(fixture.verifier.verify(&fixture.token(), None).await.unwrap());
}

#[tokio::test]
async fn keys_of_an_issuer_with_another_way_to_them_are_fetched_again() {
    let fixture = Fixture::start().await;
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    fixture.issuer.set_discovery_mode(Mode::Fail);
    let renewed = fixture.reloaded("    jwks-hosts: [keys.example]\n", "");
    let refused = renewed.verify(&fixture.token(), None).await.unwrap_err();
    assert_eq!(refused.reason(), "token_keys_unavailable");
}

#[tokio::test]
async fn an_issuer_that_is_gone_is_refused_and_the_old_verifier_goes_on() {
    let fixture = Fixture::start().await;
    let config = IssuerConfig::parse(&format!("oidc-issuers:\n{OTHER}")).unwrap();
    let renewed = fixture.verifier.renewed(Arc::new(config), true).unwrap();
    assert_eq!(renewed.verify(&fixture.token(), None).await.unwrap_err().reason(), "token_issuer");
    assert_eq!(fixture.reason(&fixture.token()).await, "accepted");
    let plain = fixture.verifier.renewed(Arc::clone(&fixture.verifier.issuers), false);
    assert!(matches!(plain, Err(VerifierError::PlainHttp(_))));
}
