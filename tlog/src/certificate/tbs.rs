//! The TBSCertificate that an SCT covers: the signed one without the poison or the SCT list (RFC 6962 §3.2).
//!
//! Only the lengths around the removed extension are encoded anew; every other byte is copied.

use crate::der::{self, Reader};

/// `tbs` without the extensions of these OIDs; `None` if it is not DER.
pub(super) fn without(tbs: &[u8], oids: &[&str]) -> Option<Vec<u8>> {
    let mut fields = Reader::new(der::only(tbs, der::SEQUENCE)?);
    let mut kept = Vec::with_capacity(tbs.len());
    while !fields.is_empty() {
        let field = fields.next()?;
        if field.tag == der::CONTEXT_3 {
            kept.extend(remaining_extensions(field.contents, oids)?);
        } else {
            kept.extend_from_slice(field.whole);
        }
    }
    Some(der::encode(der::SEQUENCE, &kept))
}

/// The `[3]` field again; empty if no extension is left, because an empty one is not allowed.
fn remaining_extensions(field: &[u8], oids: &[&str]) -> Option<Vec<u8>> {
    let mut extensions = Reader::new(der::only(field, der::SEQUENCE)?);
    let mut kept = Vec::with_capacity(field.len());
    while !extensions.is_empty() {
        let extension = extensions.next().filter(|value| value.tag == der::SEQUENCE)?;
        let oid = Reader::new(extension.contents).expect(der::OID)?;
        // None to leave out is the question whether all of it is DER: then no names are needed.
        if oids.is_empty() || !oids.contains(&&*der::dotted(oid)) {
            kept.extend_from_slice(extension.whole);
        }
    }
    if kept.is_empty() {
        return Some(kept);
    }
    Some(der::encode(der::CONTEXT_3, &der::encode(der::SEQUENCE, &kept)))
}
