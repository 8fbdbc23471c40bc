//! What the lists of a recipe hold: every chain and key that the instance was ever trusted for, not only what signs now.
//!
//! Clients that take no trusted root judge nothing by periods; a key that is withdrawn is in no trusted root, and so in no
//! recipe.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::key::KeyKind;
use chancery_tlog::trust::{Keyring, TrustedAuthority, TrustedLog, Validity};

use super::quoted;

/// The values of one element of a list, by the names of their places.
pub(super) type Element = Vec<(&'static str, String)>;

/// The elements of the list `name`; `host` stands in for names that an anchor does not have.
pub(super) fn list(name: &str, trust: &Keyring, host: &str) -> Vec<Element> {
    match name {
        "authorities" => trust.authorities.iter().map(|authority| authority_of(authority, host)).collect(),
        "ct_logs" => trust.ct_logs.iter().map(log_of).collect(),
        "v1_logs" => v1(trust).map(log_of).collect(),
        "pairs" => pairs(trust)
            .enumerate()
            .map(|(at, (rekor, ct))| {
                // The first is in service: its name stays what it was when there was no other.
                let name = if at == 0 { "chancery".to_owned() } else { format!("chancery{}", at + 1) };
                vec![("name", name), ("rekor", rekor.key.to_pem()), ("ct", ct.key.to_pem())]
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The certificates of all chains, each once, as PEM.
pub(super) fn roots(trust: &Keyring) -> String {
    let mut seen: Vec<&Certificate> = Vec::new();
    for certificate in trust.authorities.iter().flat_map(chain) {
        if !seen.contains(&certificate) {
            seen.push(certificate);
        }
    }
    seen.into_iter().map(Certificate::to_pem).collect::<String>().trim_end().to_owned()
}

/// Whether clients that take one key of a kind from a file cannot verify all that was ever signed.
pub(super) fn has_past(trust: &Keyring) -> bool {
    v1(trust).count() > 1 || trust.ct_logs.iter().count() > 1
}

/// The names of an expression's attestors, one for each pair.
pub(super) fn attestors(trust: &Keyring) -> String {
    let names = list("pairs", trust, "").into_iter().flatten();
    let names = names.filter(|(place, _)| *place == "name").map(|(_, name)| format!("attestors.{name}"));
    names.collect::<Vec<_>>().join(", ")
}

/// Attestation logs with an ECDSA key: those that speak Rekor v1.
fn v1(trust: &Keyring) -> impl Iterator<Item = &TrustedLog> {
    trust.logs.iter().filter(|log| log.key.kind() != KeyKind::Ed25519)
}

/// The logs that one signature can be in: an attestation log and an issuance log that were in use at one time.
fn pairs(trust: &Keyring) -> impl Iterator<Item = (&TrustedLog, &TrustedLog)> {
    let meet = |a: Validity, b: Validity| {
        a.end.is_none_or(|end| b.start <= end) && b.end.is_none_or(|end| a.start <= end)
    };
    v1(trust).flat_map(move |rekor| {
        let of_its_time = trust.ct_logs.iter().filter(move |ct| meet(rekor.validity, ct.validity));
        of_its_time.map(move |ct| (rekor, ct))
    })
}

fn log_of(log: &TrustedLog) -> Element {
    vec![("log_url", log.url.clone()), ("log_key", STANDARD.encode(log.key.to_pem()))]
}

fn authority_of(authority: &TrustedAuthority, host: &str) -> Element {
    let (organization, common_name) = authority.anchor.subject_o_cn();
    let pem: String = chain(authority).map(Certificate::to_pem).collect();
    vec![
        // policy-controller refuses empty names.
        ("organization", quoted(organization.as_deref().unwrap_or(host))),
        ("common_name", quoted(common_name.as_deref().unwrap_or(host))),
        ("authority_url", authority.url.clone()),
        ("chain", STANDARD.encode(pem)),
    ]
}

fn chain(authority: &TrustedAuthority) -> impl Iterator<Item = &Certificate> {
    authority.intermediates.iter().chain([&authority.anchor])
}
