//! HTTP/2 frames as an attacker writes them: no client library sends what is not polite.

/// What a client sends first, with empty settings.
pub(super) fn preface() -> Vec<u8> {
    preface_with(&[])
}

/// What a client sends first, with these settings.
pub(super) fn preface_with(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    bytes.extend(frame(4, 0, 0, &payload));
    bytes
}

/// The setting of the window of each stream.
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;

/// HEADERS of a whole head. With `end` nothing follows.
pub(super) fn head(stream: u32, method: &str, path: &str, host: &str, end: bool) -> Vec<u8> {
    head_with(stream, [method, path, host], ("content-type", "application/json"), end)
}

/// HEADERS of a GET of `path` that accepts gzip.
pub(super) fn read_packed(stream: u32, path: &str, host: &str) -> Vec<u8> {
    head_with(stream, ["GET", path, host], ("accept-encoding", "gzip"), true)
}

fn head_with(stream: u32, [method, path, host]: [&str; 3], header: (&str, &str), end: bool) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", host), header];
    for (name, value) in fields {
        literal(&mut block, name, value);
    }
    frame(1, 4 | u8::from(end), stream, &block)
}

/// WINDOW_UPDATE of the connection.
pub(super) fn wider_window(bytes: u32) -> Vec<u8> {
    frame(8, 0, 0, &bytes.to_be_bytes())
}

/// CONTINUATION that goes on with a head and does not end it.
pub(super) fn continuation(stream: u32) -> Vec<u8> {
    let mut block = Vec::new();
    literal(&mut block, "x", "y");
    frame(9, 0, stream, &block)
}

/// HEADERS without their end.
pub(super) fn open_head(stream: u32, host: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", host)] {
        literal(&mut block, name, value);
    }
    frame(1, 1, stream, &block)
}

/// DATA that does not end its stream.
pub(super) fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(0, 0, stream, bytes)
}

/// RST_STREAM with CANCEL.
pub(super) fn reset(stream: u32) -> Vec<u8> {
    frame(3, 0, stream, &8_u32.to_be_bytes())
}

/// PING.
pub(super) fn ping() -> Vec<u8> {
    frame(6, 0, 0, &[0; 8])
}

/// A field without indexing and without Huffman's code. Names and values are short.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len().min(126)).unwrap_or(0));
        block.extend_from_slice(&text.as_bytes()[..text.len().min(126)]);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
