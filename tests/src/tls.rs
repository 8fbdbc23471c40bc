//! TLS certificates of an authority that no machine knows, as companies have them.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};

/// Writes `tls.crt` and `tls.key` for 127.0.0.1 into `folder`, and the authority that issued the certificate beside it: its
/// file. The chain has no root, as is usual.
pub(crate) fn certify_loopback(folder: &Path) -> Result<PathBuf> {
    let key = KeyPair::generate()?;
    let mut root = CertificateParams::new(Vec::new())?;
    root.distinguished_name.push(DnType::CommonName, "Company Root");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let certificate = root.self_signed(&key)?;
    let issuer = Issuer::new(root, key);

    let server_key = KeyPair::generate()?;
    let mut server = CertificateParams::new(Vec::new())?;
    server.distinguished_name.push(DnType::CommonName, "sigstore");
    server.subject_alt_names = vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))];
    server.use_authority_key_identifier_extension = true;
    let leaf = server.signed_by(&server_key, &issuer)?;
    std::fs::write(folder.join("tls.crt"), leaf.pem())?;
    std::fs::write(folder.join("tls.key"), server_key.serialize_pem())?;
    let authority = folder.join("company-root.pem");
    std::fs::write(&authority, certificate.pem())?;
    Ok(authority)
}
