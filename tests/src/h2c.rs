//! HTTP/2 without TLS as an attacker writes it: frames that no client library sends.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A connection to `server` from an address of this machine.
pub async fn connect_from(from: [u8; 4], server: SocketAddr) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::from(from), 0))?;
    Ok(socket.connect(server).await?)
}

/// A connection on which requests can be begun.
pub struct H2c {
    /// The connection.
    pub stream: TcpStream,
    host: String,
    next: u32,
}

impl H2c {
    /// Connects and sends the preface.
    pub async fn connect(from: [u8; 4], server: SocketAddr) -> Result<Self> {
        Self::with_settings(from, server, &[]).await
    }

    /// Connects as a client that takes no byte of a body.
    pub async fn without_window(from: [u8; 4], server: SocketAddr) -> Result<Self> {
        // SETTINGS_INITIAL_WINDOW_SIZE
        Self::with_settings(from, server, &[0, 4, 0, 0, 0, 0]).await
    }

    async fn with_settings(from: [u8; 4], server: SocketAddr, settings: &[u8]) -> Result<Self> {
        let mut stream = connect_from(from, server).await?;
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        preface.extend(frame(4, 0, 0, settings));
        stream.write_all(&preface).await?;
        Ok(Self { stream, host: server.to_string(), next: 1 })
    }

    /// Begins a POST and sends the first bytes of its body, which does not end.
    pub async fn begin_post(&mut self, path: &str, body: &[u8]) -> Result<()> {
        let block = self.block("POST", path, &[("content-type", "application/json")])?;
        let mut bytes = frame(1, 4, self.next, &block);
        for piece in body.chunks(16 * 1024) {
            bytes.extend(frame(0, 0, self.next, piece));
        }
        self.next += 2;
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends so many GETs with these headers at once; the first one's stream.
    pub async fn get(&mut self, count: u32, path: &str, headers: &[(&str, &str)]) -> Result<u32> {
        let (block, first) = (self.block("GET", path, headers)?, self.next);
        let streams = (0..count).map(|number| first + 2 * number);
        let bytes: Vec<_> = streams.flat_map(|stream| frame(1, 5, stream, &block)).collect();
        self.next += 2 * count;
        self.stream.write_all(&bytes).await?;
        Ok(first)
    }

    /// Cancels so many streams from `first` on.
    pub async fn reset(&mut self, first: u32, count: u32) -> Result<()> {
        let streams = (0..count).map(|number| first + 2 * number);
        let cancel = 8_u32.to_be_bytes();
        let bytes: Vec<_> = streams.flat_map(|stream| frame(3, 0, stream, &cancel)).collect();
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Lets the server send 65,535 bytes more of this stream.
    pub async fn open_window(&mut self, stream: u32) -> Result<()> {
        let more = 65_535_u32.to_be_bytes();
        let bytes = [frame(8, 0, 0, &more), frame(8, 0, stream, &more)].concat();
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Sends so many pings, each of which the server answers.
    pub async fn ping(&mut self, count: usize) -> Result<()> {
        Ok(self.stream.write_all(&frame(6, 0, 0, &[1; 8]).repeat(count)).await?)
    }

    /// Reads until so many answers have begun; the number of those that ended with their heads.
    pub async fn heads(&mut self, count: u32) -> Result<u32> {
        let (mut begun, mut ended) = (0, 0);
        while begun < count {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            self.stream.read_exact(&mut vec![0; usize::try_from(length)?]).await?;
            // HEADERS, and END_STREAM.
            begun += u32::from(head[3] == 1);
            ended += u32::from(head[3] == 1 && head[4] & 1 == 1);
        }
        Ok(ended)
    }

    /// A head without compression.
    fn block(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<Vec<u8>> {
        let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", &self.host)];
        let mut block = Vec::new();
        for (name, value) in pseudo.iter().chain(headers) {
            block.push(0);
            for text in [name, value] {
                length(&mut block, text.len())?;
                block.extend_from_slice(text.as_bytes());
            }
        }
        Ok(block)
    }
}

/// The length of a string: an integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) -> Result<()> {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length)?);
        return Ok(());
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128)? | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest)?);
    Ok(())
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
