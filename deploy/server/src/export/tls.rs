//! The authority of the instance's TLS certificate, where clients do not know it: a file for them, and how each of them is
//! made to read it.

use std::path::Path;

use anyhow::{Context as _, bail};
use chancery_tlog::certificate::Certificate;

use crate::config::Config;
use crate::output;
use crate::trust::Document;

/// Name of the file.
pub(super) const FILE: &str = "tls-ca.pem";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The authority that clients have to be told of: the given one, else the root at the end of the certificate's chain.
/// Public authorities are not sent with a chain, so one that is there is the operator's own.
pub(super) fn authority(config: &Config, given: Option<&Path>) -> anyhow::Result<Option<Document>> {
    if let Some(path) = given {
        let chain = read(path).context("--tls-ca")?;
        return Ok(Some(document(&chain)));
    }
    let Some(tls) = &config.listen.tls else { return Ok(None) };
    // A chain that cannot be read here may still serve; then the operator has to name the authority.
    let chain = read(&tls.certificate).unwrap_or_default();
    let root = chain.last().filter(|last| last.subject_der() == last.issuer_der());
    Ok(root.map(|root| document(std::slice::from_ref(root))))
}

/// Says what a recipe without an authority takes for granted.
pub(super) fn remind(config: &Config) {
    if let Some(tls) = &config.listen.tls {
        output::say(&format!(
            "note: the authority that issued {} has to be one that clients trust; if it is your own, repeat with --tls-ca\n",
            tls.certificate.display()
        ));
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if size > MAX_FILE {
        bail!("{} has {size} bytes, more than certificates have", path.display());
    }
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let chain = Certificate::chain_from_pem(&pem).with_context(|| path.display().to_string())?;
    if chain.is_empty() {
        bail!("{} holds no certificate", path.display());
    }
    Ok(chain)
}

fn document(chain: &[Certificate]) -> Document {
    let text = chain.iter().map(Certificate::to_pem).collect();
    Document { name: FILE.into(), media_type: "application/pem-certificate-chain", text }
}

/// A recipe in which the places about TLS are filled, or empty if the client needs nothing.
pub(super) fn fill(text: &str, is_own: bool) -> String {
    PLACES
        .iter()
        .fold(text.to_owned(), |text, (place, value)| text.replace(place, if is_own { value } else { "" }))
}

/// What makes programs read the file, by what they are written in.
const PLACES: [(&str, &str); 5] = [
    (
        "@tls_go@",
        "\n# The authority of the instance's TLS certificate, for Go on Linux: those of the system hold beside it.\n\
         export SSL_CERT_FILE=\"$TRUST/tls-ca.pem\"",
    ),
    ("@tls_gitsign@", "\n# As for every Go program on Linux.\nexport SSL_CERT_FILE=\"$here/tls-ca.pem\""),
    (
        "@tls_python@",
        "\n# The authority of the instance's TLS certificate. It takes the place of all that Python knows: append the system's to\n\
         # the file (/etc/ssl/certs/ca-certificates.crt) if the job's token comes from a public address.\n\
         export REQUESTS_CA_BUNDLE=\"$TRUST/tls-ca.pem\" SSL_CERT_FILE=\"$TRUST/tls-ca.pem\"",
    ),
    (
        "@tls_node@",
        "\n# The authority of the instance's TLS certificate, beside those that Node knows.\n\
         export NODE_EXTRA_CA_CERTS=\"$TRUST/tls-ca.pem\"",
    ),
    (
        "@tls_pod@",
        "\n#\n# The instance's TLS certificate is issued by an authority of your own. For signatures that carry no log entry the\n\
         # controller asks the instance, and then it needs tls-ca.pem: mount it from a ConfigMap, and set SSL_CERT_FILE to its\n\
         # path in the container.",
    ),
];

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::super::Client;
    use super::*;

    const TEMPLATES: [(&str, &str); 9] = [
        ("cosign2", include_str!("recipes/cosign2.sh")),
        ("cosign3", include_str!("recipes/cosign3.sh")),
        ("gitsign", include_str!("recipes/gitsign.sh")),
        ("kyverno", include_str!("recipes/kyverno.yaml")),
        ("policy-controller", include_str!("recipes/policy-controller.yaml")),
        ("rekor-monitor", include_str!("recipes/rekor-monitor.sh")),
        ("sigstore-go", include_str!("recipes/sigstore-go.sh")),
        ("sigstore-js", include_str!("recipes/sigstore-js.sh")),
        ("sigstore-python", include_str!("recipes/sigstore-python.sh")),
    ];

    #[test]
    fn every_recipe_says_how_its_client_trusts_an_authority_of_ones_own() {
        assert_eq!(TEMPLATES.len(), Client::value_variants().len());
        for (client, template) in TEMPLATES {
            let (with, without) = (fill(template, true), fill(template, false));
            assert!(with.contains(FILE) && !with.contains("@tls"), "{client}: {with}");
            assert!(!without.contains(FILE) && !without.contains("@tls"), "{client}: {without}");
        }
    }
}
