//! DER as text, without what two servers cannot have in common: serial numbers, times, signatures, certificates.

use anyhow::{Context as _, Result, ensure};

const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xA0;
/// `id-contentType`, the one signed attribute whose value is the same everywhere.
const CONTENT_TYPE: &str = "2a864886f70d010903";

/// An element: its tag, and its content octets.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

impl<'a> Element<'a> {
    /// The single element in `der`.
    pub fn single(der: &'a [u8]) -> Result<Self> {
        let (element, rest) = Self::first(der)?;
        ensure!(rest.is_empty(), "{} octets after the element", rest.len());
        Ok(element)
    }

    fn first(der: &'a [u8]) -> Result<(Self, &'a [u8])> {
        let (tag, rest) = der.split_first().context("a tag")?;
        let (length, rest) = rest.split_first().context("a length")?;
        let (length, rest) = if *length < 0x80 {
            (usize::from(*length), rest)
        } else {
            let count = usize::from(length & 0x7f);
            ensure!((1..=4).contains(&count) && rest.len() >= count, "a length of {count} octets");
            let (octets, rest) = rest.split_at(count);
            (octets.iter().fold(0, |sum, octet| (sum << 8) | usize::from(*octet)), rest)
        };
        ensure!(rest.len() >= length, "an element is cut");
        Ok((Self { tag: *tag, content: &rest[..length] }, &rest[length..]))
    }

    /// The elements inside.
    pub fn children(&self) -> Result<Vec<Self>> {
        let (mut rest, mut children) = (self.content, Vec::new());
        while !rest.is_empty() {
            let (child, after) = Self::first(rest)?;
            children.push(child);
            rest = after;
        }
        Ok(children)
    }

    fn child(&self, at: usize) -> Result<Self> {
        self.children()?.into_iter().nth(at).with_context(|| format!("element {at} of {}", self.outline()))
    }

    /// Tags and values, children in brackets.
    pub fn outline(&self) -> String {
        if self.tag & 0x20 != 0
            && let Ok(children) = self.children()
        {
            let inner: Vec<String> = children.iter().map(Self::outline).collect();
            return format!("{:02x}({})", self.tag, inner.join(" "));
        }
        format!("{:02x}:{}", self.tag, hex::encode(self.content))
    }
}

fn outlines(elements: &[Element<'_>]) -> String {
    elements.iter().map(Element::outline).collect::<Vec<_>>().join(" ")
}

/// A TimeStampResp, RFC 3161 §2.4.2. Of the token everything but the serial number, the time, the certificates, the
/// signer's name and what is signed.
pub fn timestamp(der: &[u8]) -> Result<String> {
    let response = Element::single(der)?.children()?;
    let status = response.first().context("a status")?.outline();
    let Some(token) = response.get(1) else { return Ok(status) };
    let signed = token.child(1)?.child(0)?.children()?;
    let [version, digests, content, optional @ .., signers] = signed.as_slice() else {
        anyhow::bail!("a SignedData of {} elements", signed.len())
    };
    let certificates = optional.iter().find(|element| element.tag == CONTEXT_0);
    let certificates = certificates.map_or(Ok(0), |set| set.children().map(|inner| inner.len()))?;
    let info = content.child(1)?.child(0)?.content;
    let signers: Vec<String> = signers.children()?.iter().map(signer).collect::<Result<_>>()?;
    Ok(format!(
        "{status} {} {} {} {} certificates={certificates} signers={signers:?}",
        version.outline(),
        digests.outline(),
        content.child(0)?.outline(),
        tst_info(info)?
    ))
}

/// TSTInfo: version, policy, imprint, serial number, time, and what is optional.
fn tst_info(der: &[u8]) -> Result<String> {
    let info = Element::single(der)?;
    ensure!(info.tag == SEQUENCE, "a TSTInfo is a sequence");
    let elements = info.children()?;
    ensure!(elements.len() >= 5, "a TSTInfo of {} elements", elements.len());
    // The authority's name, [0], is as different as its certificate.
    let optional: Vec<Element<'_>> = elements[5..].iter().copied().filter(|e| e.tag != CONTEXT_0).collect();
    let time = format!("{:02x} of {} octets", elements[4].tag, elements[4].content.len());
    Ok(format!("{} time={time} {}", outlines(&elements[..3]), outlines(&optional)))
}

fn signer(signer: &Element<'_>) -> Result<String> {
    let elements = signer.children()?;
    let attributes = elements.iter().find(|element| element.tag == CONTEXT_0).context("signed attributes")?;
    let mut names = Vec::new();
    for attribute in attributes.children()? {
        let name = hex::encode(attribute.child(0)?.content);
        let value = if name == CONTENT_TYPE { attribute.child(1)?.outline() } else { String::new() };
        names.push(format!("{name}{value}"));
    }
    let algorithms = elements.iter().filter(|e| e.tag == SEQUENCE).skip(1).map(Element::outline);
    Ok(format!(
        "{} {:?} {names:?}",
        elements.first().context("a version")?.outline(),
        algorithms.collect::<Vec<_>>()
    ))
}

/// A certificate, RFC 5280 §4.1: its version, lifetime in seconds, subject, key, and extensions. `free` are the
/// object identifiers, in hexadecimal, whose values are each issuer's own.
pub fn certificate(der: &[u8], free: &[&str]) -> Result<String> {
    let body = Element::single(der)?.child(0)?.children()?;
    ensure!(body.len() >= 8, "a certificate of {} elements", body.len());
    let mut extensions = Vec::new();
    for extension in body[7].child(0)?.children()? {
        let name = hex::encode(extension.child(0)?.content);
        let rest = extension.children()?;
        let value = if free.contains(&name.as_str()) { String::new() } else { outlines(&rest[1..]) };
        extensions.push(format!("{name}={value}"));
    }
    Ok(format!(
        "{} lifetime={} subject={} key={} extensions={extensions:#?}",
        body[0].outline(),
        lifetime(&body[4])?,
        body[5].outline(),
        body[6].outline()
    ))
}

/// Seconds between two times that are less than an hour apart.
fn lifetime(validity: &Element<'_>) -> Result<u32> {
    let mut seconds = Vec::new();
    for time in validity.children()? {
        let text = std::str::from_utf8(time.content)?;
        let digits = text.len().checked_sub(5).and_then(|at| text.get(at..at + 4)).context("a time")?;
        seconds.push(digits[..2].parse::<u32>()? * 60 + digits[2..].parse::<u32>()?);
    }
    let [from, until] = seconds[..] else { anyhow::bail!("a validity of {} times", seconds.len()) };
    Ok((until + 3600 - from) % 3600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_outlined_and_what_is_cut_is_refused() {
        let der = [0x30, 5, 0x02, 1, 7, 0x05, 0];
        assert_eq!(Element::single(&der).unwrap().outline(), "30(02:07 05:)");
        assert_eq!(Element::single(&der).unwrap().child(0).unwrap().outline(), "02:07");
        let long = [&[0x31, 0x81, 0x80][..], &[0; 0x80]].concat();
        assert_eq!(Element::single(&long).unwrap().children().unwrap().len(), 0x40);
        for bad in
            [&[][..], &[0x30], &[0x30, 2, 5], &[0x30, 0, 0], &[0x30, 0x80], &[0x30, 0x85, 0, 0, 0, 0, 1]]
        {
            assert!(Element::single(bad).is_err(), "{bad:02x?}");
        }
    }
}
