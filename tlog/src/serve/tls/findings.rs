//! What clients would object to in a certificate that the TLS library takes: its names, its dates, its chain.
//!
//! A server starts with such a certificate, because another role or another name may be well served by it; an operator
//! has to hear of it before their clients do.

use std::fmt;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::certificate::printable;
use crate::clock::Timestamp;

/// Something that clients object to, or may object to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFinding {
    /// The certificate is not valid for a name that clients use.
    WrongName {
        /// The name.
        name: String,
        /// The names for which it is valid.
        valid: Vec<String>,
    },
    /// It has ended.
    Expired(Timestamp),
    /// It has not begun.
    NotYetValid(Timestamp),
    /// A certificate of the file did not issue the one before it.
    Order {
        /// The certificate that was issued.
        subject: String,
        /// The name of its issuer.
        issuer: String,
        /// What follows it in the file.
        next: String,
    },
    /// The file holds the server's certificate alone, and another certificate has issued it.
    Alone {
        /// The name of its issuer.
        issuer: String,
    },
}

impl TlsFinding {
    /// Whether clients will refuse to connect, and not only some of them under some circumstances.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::Alone { .. })
    }
}

impl fmt::Display for TlsFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongName { name, valid } if valid.is_empty() => write!(
                f,
                "it names no host (subjectAltName), so clients of {name} refuse it: get one for {name}"
            ),
            Self::WrongName { name, valid } => write!(
                f,
                "it is valid for {} and not for {name}, so clients of {name} refuse it: get one for {name}",
                valid.join(", ")
            ),
            Self::Expired(at) => write!(f, "it ended on {at}, so clients refuse it: renew it"),
            Self::NotYetValid(at) => {
                write!(f, "it begins on {at}, so clients refuse it: wait, or set the clock")
            }
            Self::Order { subject, issuer, next } => write!(
                f,
                "{subject} was issued by {issuer}, and {next} follows it: put the server's certificate first, and after \
                 each certificate the one that issued it"
            ),
            Self::Alone { issuer } => write!(
                f,
                "it stands alone and was issued by {issuer}: if that is not a root that all clients have, append the \
                 certificates up to the root (often the file is called fullchain.pem)"
            ),
        }
    }
}

/// Looks at a chain, the server's certificate first; `names` are those that clients use. Also the earliest end of its
/// certificates.
pub(super) fn examine(
    chain: &[CertificateDer<'_>],
    names: &[String],
    now: Timestamp,
) -> Result<(Vec<TlsFinding>, Timestamp), String> {
    let parsed = chain.iter().map(|der| x509_parser::parse_x509_certificate(der).map(|(_, parsed)| parsed));
    let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let (Some(der), Some(leaf)) = (chain.first(), parsed.first()) else {
        return Err("there is no certificate".to_owned());
    };
    let mut findings = wrong_names(der, leaf, names)?;
    findings.extend(parsed.iter().find_map(|certificate| out_of_time(certificate, now)));
    findings.extend(parsed.windows(2).find_map(out_of_order));
    if let [only] = parsed.as_slice()
        && only.subject().as_raw() != only.issuer().as_raw()
    {
        findings.push(TlsFinding::Alone { issuer: printable(&only.issuer().to_string()) });
    }
    let end = parsed.iter().map(|certificate| seconds(certificate.validity().not_after.timestamp())).min();
    Ok((findings, end.unwrap_or_default()))
}

fn wrong_names(
    der: &CertificateDer<'_>,
    leaf: &X509Certificate<'_>,
    names: &[String],
) -> Result<Vec<TlsFinding>, String> {
    let parsed = ParsedCertificate::try_from(der).map_err(|error| error.to_string())?;
    let is_wrong = |name: &&String| {
        ServerName::try_from(name.as_str()).is_ok_and(|name| verify_server_name(&parsed, &name).is_err())
    };
    let valid = valid_names(leaf);
    let finding = |name: &String| TlsFinding::WrongName { name: name.clone(), valid: valid.clone() };
    Ok(names.iter().filter(is_wrong).map(finding).collect())
}

fn valid_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let shown = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(printable(name)),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    names.filter_map(shown).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    v4.or(v6).ok()
}

fn out_of_time(certificate: &X509Certificate<'_>, now: Timestamp) -> Option<TlsFinding> {
    let validity = certificate.validity();
    let (from, until) = (seconds(validity.not_before.timestamp()), seconds(validity.not_after.timestamp()));
    if now > until {
        return Some(TlsFinding::Expired(until));
    }
    (now < from).then_some(TlsFinding::NotYetValid(from))
}

fn out_of_order(pair: &[X509Certificate<'_>]) -> Option<TlsFinding> {
    let [issued, next] = pair else { return None };
    let named = issued.issuer().as_raw() == next.subject().as_raw();
    if named && issued.verify_signature(Some(next.public_key())).is_ok() {
        return None;
    }
    let shown = |name: &x509_parser::x509::X509Name<'_>| printable(&name.to_string());
    Some(TlsFinding::Order {
        subject: shown(issued.subject()),
        issuer: shown(issued.issuer()),
        next: shown(next.subject()),
    })
}

fn seconds(at: i64) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    struct Made {
        root: CertificateDer<'static>,
        intermediate: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
    }

    fn parameters(name: &str, ca: bool) -> CertificateParams {
        let mut parameters = CertificateParams::new([name.to_owned(), "127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        if ca {
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        parameters
    }

    fn made() -> Made {
        let key = || KeyPair::generate().unwrap();
        let root = CertifiedIssuer::self_signed(parameters("root", true), key()).unwrap();
        let middle = CertifiedIssuer::signed_by(parameters("middle", true), key(), &root).unwrap();
        let leaf = parameters("sigstore.example", false).signed_by(&key(), &middle).unwrap();
        let der = |certificate: &rcgen::Certificate| certificate.der().clone();
        Made { root: der(root.as_ref()), intermediate: der(middle.as_ref()), leaf: leaf.der().clone() }
    }

    fn found(chain: &[&CertificateDer<'static>], name: &str) -> Vec<TlsFinding> {
        let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
        examine(&chain, &[name.to_owned()], Timestamp::from_seconds(1_790_000_000)).unwrap().0
    }

    #[test]
    fn a_whole_chain_in_order_for_the_right_name_is_not_objected_to() {
        let Made { root, intermediate, leaf } = made();
        for name in ["sigstore.example", "SIGSTORE.example", "127.0.0.1"] {
            assert_eq!(found(&[&leaf, &intermediate], name), []);
        }
        assert_eq!(found(&[&leaf, &intermediate, &root], "sigstore.example"), []);
        assert_eq!(found(&[&root], "root"), [], "self-signed");
    }

    #[test]
    fn a_wrong_name_is_found_with_the_right_ones() {
        let Made { intermediate, leaf, .. } = made();
        let [finding] = &found(&[&leaf, &intermediate], "other.example")[..] else { panic!() };
        assert!(finding.is_fatal());
        let words = finding.to_string();
        assert!(words.contains("valid for sigstore.example, 127.0.0.1 and not for other.example"), "{words}");
    }

    #[test]
    fn a_chain_out_of_order_and_a_lonely_certificate_are_found() {
        let Made { root, intermediate, leaf } = made();
        let [finding] = &found(&[&leaf, &root, &intermediate], "sigstore.example")[..] else { panic!() };
        assert!(finding.is_fatal() && finding.to_string().contains("was issued by CN=middle"), "{finding}");
        let [finding] = &found(&[&leaf], "sigstore.example")[..] else { panic!() };
        assert!(!finding.is_fatal() && finding.to_string().contains("fullchain.pem"), "{finding}");
    }

    #[test]
    fn dates_are_compared_with_the_clock() {
        let Made { root, .. } = made();
        let at =
            |seconds| examine(std::slice::from_ref(&root), &[], Timestamp::from_seconds(seconds)).unwrap().0;
        assert!(matches!(at(1)[..], [TlsFinding::NotYetValid(_)]));
        assert!(matches!(at(90_000_000_000)[..], [TlsFinding::Expired(_)]));
    }
}
