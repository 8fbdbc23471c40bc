//! The presentation language of TLS (RFC 5246 §4), as far as RFC 6962 uses it.

/// Writes big-endian numbers and length-prefixed vectors.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// With room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_be_bytes());
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    /// `opaque<0..2^16-1>`. Longer contents, which no caller has, would leave a length that does not verify.
    pub(super) fn vector16(&mut self, contents: &[u8]) {
        self.u16(u16::try_from(contents.len()).unwrap_or(u16::MAX));
        self.bytes(contents);
    }
    /// `opaque<0..2^24-1>`, likewise.
    pub(super) fn vector24(&mut self, contents: &[u8]) {
        let length = u32::try_from(contents.len()).unwrap_or(u32::MAX).min(0x00ff_ffff);
        self.bytes(&length.to_be_bytes()[1..]);
        self.bytes(contents);
    }
}

/// Reads the same.
pub(super) struct Reader<'b>(pub(super) &'b [u8]);

impl<'b> Reader<'b> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
    pub(super) fn vector16(&mut self) -> Option<&'b [u8]> {
        let length = u16::from_be_bytes(self.array()?);
        self.take(length.into())
    }
    pub(super) fn vector24(&mut self) -> Option<&'b [u8]> {
        let [a, b, c] = self.array()?;
        self.take(u32::from_be_bytes([0, a, b, c]) as usize)
    }
}
