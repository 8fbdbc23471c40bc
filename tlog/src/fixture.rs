//! Material for this crate's tests: keys that are the same in every run, and small certificate hierarchies.

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, KeyPair as _,
};
use p256::pkcs8::EncodePrivateKey as _;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::certificate::Certificate;
use crate::clock::Timestamp;
use crate::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use crate::merkle::Hash;

/// The P-256 key whose scalar is SHA-256 of `label`.
pub(crate) fn p256_secret(label: &str) -> p256::SecretKey {
    p256::SecretKey::from_slice(Hash::digest(label.as_bytes()).as_bytes()).unwrap()
}

/// [`p256_secret`] as a signer of the production kind.
pub(crate) fn p256_signer(label: &str) -> SoftwareSigner {
    SoftwareSigner::from_pkcs8_der(p256_secret(label).to_pkcs8_der().unwrap().as_bytes()).unwrap()
}

/// A fresh key of each curve and a signature by it over `message`, with the curve's own hash, as IEEE P1363.
pub(crate) fn p1363_signed(message: &[u8]) -> Vec<(PublicKey, Vec<u8>)> {
    let curves = [
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &ECDSA_P384_SHA384_FIXED_SIGNING,
        &ECDSA_P521_SHA512_FIXED_SIGNING,
    ];
    let signed = curves.map(|algorithm| {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let signature = pair.sign(&SystemRandom::new(), message).unwrap();
        (PublicKey::from_spki_der(spki.as_ref()).unwrap(), signature.as_ref().to_vec())
    });
    signed.to_vec()
}

/// Noon of 2026-11-21: the time at which test certificates are issued.
pub(crate) const NOON: Timestamp = Timestamp::from_seconds(1_795_262_400);

/// The moment `minutes` after [`NOON`].
pub(crate) fn minutes_after_noon(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(i64::try_from(NOON.seconds()).unwrap() + 60 * minutes).unwrap()
}

/// A key pair and what it issues with.
pub(crate) struct Authority {
    pub(crate) certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A self-signed P-256 root, valid a day around noon, as `change` alters it.
    pub(crate) fn root(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = ca_params(name, change);
        let certificate = from_rcgen(&params.self_signed(&key).unwrap());
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// This CA's own certificate once more, as `change` alters it.
    pub(crate) fn reissue(&self, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let (_, common_name) = self.certificate.subject_o_cn();
        let params = ca_params(&common_name.unwrap(), change).0;
        from_rcgen(&params.self_signed(self.issuer.key()).unwrap())
    }

    /// A CA under this one.
    pub(crate) fn intermediate(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = ca_params(name, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            change(params);
        });
        let certificate = from_rcgen(&params.signed_by(&key, &self.issuer).unwrap());
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A ten-minute signing certificate for `key`, as `change` alters it.
    pub(crate) fn leaf(&self, key: &PublicKey, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        Certificate::from_der(&self.leaf_der(key, change)).unwrap()
    }

    /// [`Authority::leaf`], for those that are no certificates to us.
    pub(crate) fn leaf_der(&self, key: &PublicKey, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI("https://ci.example/build@v1".try_into().unwrap())];
        params.not_before = minutes_after_noon(0);
        params.not_after = minutes_after_noon(10);
        params.serial_number = Some(vec![0x11; 20].into());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let spki = rcgen::SubjectPublicKeyInfo::from_der(key.spki_der()).unwrap();
        params.signed_by(&spki, &self.issuer).unwrap().der().to_vec()
    }
}

fn ca_params(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Example");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = minutes_after_noon(-720);
    params.not_after = minutes_after_noon(720);
    change(&mut params);
    (params, KeyPair::generate().unwrap())
}

fn from_rcgen(certificate: &rcgen::Certificate) -> Certificate {
    Certificate::from_der(certificate.der()).unwrap()
}

/// A non-critical extension with these contents.
pub(crate) fn extension(oid: &[u64], contents: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, contents.to_vec())
}

/// A fresh P-256 key.
pub(crate) fn any_key() -> PublicKey {
    SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap().public_key().clone()
}
