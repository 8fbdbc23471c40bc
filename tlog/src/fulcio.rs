//! Fulcio's certificate extensions, 1.3.6.1.4.1.57264.1.N. Source: fulcio `docs/oid-info.md`.

use crate::certificate::Certificate;
use crate::der;

/// How an extension's text is encoded inside `extnValue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bare bytes, no DER: the deprecated extensions 1 to 6.
    Raw,
    /// A DER UTF8String.
    Utf8String,
}

/// One row of the OID table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Definition {
    /// N, the last arc.
    pub number: u8,
    /// Name for people, as the Fulcio documents spell it.
    pub name: &'static str,
    /// Key in `extension-templates` of a Fulcio YAML configuration; empty where the token alone decides.
    pub yaml_key: &'static str,
    /// Key in the JSON spelling of the same configuration (Go field name); empty likewise.
    pub json_key: &'static str,
    /// Encoding.
    pub encoding: Encoding,
}

/// All extensions, ascending. 7 is not one: it is the type of a SAN `otherName`.
pub const EXTENSIONS: &[Definition] = &[
    raw(1, "Issuer", "", ""),
    raw(2, "GitHub Workflow Trigger", "github-workflow-trigger", "GithubWorkflowTrigger"),
    raw(3, "GitHub Workflow SHA", "github-workflow-sha", "GithubWorkflowSHA"),
    raw(4, "GitHub Workflow Name", "github-workflow-name", "GithubWorkflowName"),
    raw(5, "GitHub Workflow Repository", "github-workflow-repository", "GithubWorkflowRepository"),
    raw(6, "GitHub Workflow Ref", "github-workflow-ref", "GithubWorkflowRef"),
    utf8(8, "Issuer (V2)", "", ""),
    utf8(9, "Build Signer URI", "build-signer-uri", "BuildSignerURI"),
    utf8(10, "Build Signer Digest", "build-signer-digest", "BuildSignerDigest"),
    utf8(11, "Runner Environment", "runner-environment", "RunnerEnvironment"),
    utf8(12, "Source Repository URI", "source-repository-uri", "SourceRepositoryURI"),
    utf8(13, "Source Repository Digest", "source-repository-digest", "SourceRepositoryDigest"),
    utf8(14, "Source Repository Ref", "source-repository-ref", "SourceRepositoryRef"),
    utf8(15, "Source Repository Identifier", "source-repository-identifier", "SourceRepositoryIdentifier"),
    utf8(16, "Source Repository Owner URI", "source-repository-owner-uri", "SourceRepositoryOwnerURI"),
    utf8(
        17,
        "Source Repository Owner Identifier",
        "source-repository-owner-identifier",
        "SourceRepositoryOwnerIdentifier",
    ),
    utf8(18, "Build Config URI", "build-config-uri", "BuildConfigURI"),
    utf8(19, "Build Config Digest", "build-config-digest", "BuildConfigDigest"),
    utf8(20, "Build Trigger", "build-trigger", "BuildTrigger"),
    utf8(21, "Run Invocation URI", "run-invocation-uri", "RunInvocationURI"),
    utf8(
        22,
        "Source Repository Visibility At Signing",
        "source-repository-visibility-at-signing",
        "SourceRepositoryVisibilityAtSigning",
    ),
    utf8(23, "Deployment Environment", "deployment-environment", "DeploymentEnvironment"),
    utf8(24, "Token Subject", "", ""),
];

const fn raw(number: u8, name: &'static str, yaml_key: &'static str, json_key: &'static str) -> Definition {
    Definition { number, name, yaml_key, json_key, encoding: Encoding::Raw }
}

const fn utf8(number: u8, name: &'static str, yaml_key: &'static str, json_key: &'static str) -> Definition {
    Definition { number, name, yaml_key, json_key, encoding: Encoding::Utf8String }
}

/// The object identifier of extension `number`, dotted; `None` above the highest number that is in use.
pub fn object_identifier(number: u8) -> Option<&'static str> {
    der::FULCIO.get(usize::from(number)).copied()
}

/// The definition of extension `number`.
pub fn definition(number: u8) -> Option<&'static Definition> {
    EXTENSIONS.iter().find(|d| d.number == number)
}

/// The `extnValue` contents of extension `number` with this text.
pub fn encode(definition: &Definition, text: &str) -> Vec<u8> {
    match definition.encoding {
        Encoding::Raw => text.as_bytes().to_vec(),
        Encoding::Utf8String => der::encode(der::UTF8_STRING, text.as_bytes()),
    }
}

/// The text of extension `number` in a certificate. Malformed counts as absent for [`Encoding::Utf8String`]; in
/// [`Encoding::Raw`] every byte that is not UTF-8 becomes U+FFFD, which equals no expected text.
pub fn read(certificate: &Certificate, number: u8) -> Option<String> {
    let value = &certificate.extension(object_identifier(number)?)?.value;
    match definition(number)?.encoding {
        Encoding::Raw => Some(String::from_utf8_lossy(value).into_owned()),
        Encoding::Utf8String => String::from_utf8(der::only(value, der::UTF8_STRING)?.to_vec()).ok(),
    }
}

/// The OIDC issuer of a certificate: extension 8, else 1.
pub fn issuer(certificate: &Certificate) -> Option<String> {
    read(certificate, 8).or_else(|| read(certificate, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Authority, any_key, extension};

    #[test]
    fn the_table_has_every_number_but_seven() {
        let numbers: Vec<u8> = EXTENSIONS.iter().map(|d| d.number).collect();
        assert_eq!(numbers, (1..=24).filter(|&n| n != 7).collect::<Vec<_>>());
        assert!(EXTENSIONS.iter().all(|d| (d.encoding == Encoding::Raw) == (d.number < 7)));
    }

    #[test]
    fn configuration_keys_are_unique_and_missing_only_where_the_token_decides() {
        let keys = |key: fn(&Definition) -> &'static str| {
            let mut keys: Vec<_> = EXTENSIONS.iter().map(key).filter(|k| !k.is_empty()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.len()
        };
        assert_eq!((keys(|d| d.yaml_key), keys(|d| d.json_key)), (20, 20));
        let forced: Vec<u8> = EXTENSIONS.iter().filter(|d| d.yaml_key.is_empty()).map(|d| d.number).collect();
        assert_eq!(forced, [1, 8, 24]);
        for definition in EXTENSIONS {
            assert_eq!(
                definition.yaml_key.replace('-', ""),
                definition.json_key.to_lowercase(),
                "{definition:?}"
            );
        }
    }

    #[test]
    fn every_extension_is_read_back_from_a_certificate() {
        let long = "x".repeat(200);
        let leaf = Authority::root("Root", |_| {}).leaf(&any_key(), |params| {
            params.custom_extensions = EXTENSIONS
                .iter()
                .map(|d| {
                    let number = u64::from(d.number);
                    extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, number], &encode(d, &format!("{number} {long}")))
                })
                .collect();
        });
        for definition in EXTENSIONS {
            let text = format!("{} {long}", definition.number);
            assert_eq!(read(&leaf, definition.number), Some(text));
        }
        assert_eq!(issuer(&leaf), Some(format!("8 {long}")));
        assert_eq!(read(&leaf, 7), None);
        assert_eq!(read(&leaf, 25), None);
        for definition in EXTENSIONS {
            let oid = format!("{}{}", crate::certificate::oid::FULCIO, definition.number);
            assert_eq!(object_identifier(definition.number), Some(oid.as_str()));
        }
    }

    #[test]
    fn old_certificates_have_only_the_first_issuer_and_broken_text_is_absent() {
        let leaf = Authority::root("Root", |_| {}).leaf(&any_key(), |params| {
            params.custom_extensions = vec![
                extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, 1], b"https://old.example"),
                extension(&[1, 3, 6, 1, 4, 1, 57_264, 1, 8], b"https://no.der.example"),
            ];
        });
        assert_eq!(issuer(&leaf), Some("https://old.example".to_owned()));
    }
}
