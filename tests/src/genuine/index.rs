//! As much of Redis as Rekor v1 uses for its search index: lists that grow at the front and are read whole.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest command and longest word of one: a test's entries are small.
const LIMIT: usize = 1 << 20;

type Lists = Arc<Mutex<HashMap<Vec<u8>, Vec<Vec<u8>>>>>;

/// A running index; it ends when it is dropped.
pub(super) struct Index {
    port: u16,
    task: JoinHandle<()>,
}

impl Index {
    /// Starts an empty one on a free port of loopback.
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let lists = Lists::default();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let lists = Arc::clone(&lists);
                // Ends with its connection.
                drop(tokio::spawn(async move { drop(serve(stream, &lists).await) }));
            }
        });
        Ok(Self { port, task })
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, lists: &Lists) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let command = command(&mut stream).await?;
        let answer = answer(&command, lists);
        stream.get_mut().write_all(&answer).await?;
    }
}

/// An array of bulk strings, which is how clients send commands.
async fn command(stream: &mut BufReader<TcpStream>) -> Result<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    for _ in 0..number(stream, '*').await? {
        let mut word = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Ok(words)
}

async fn number(stream: &mut BufReader<TcpStream>, mark: char) -> Result<usize> {
    let mut line = String::new();
    ensure!(stream.read_line(&mut line).await? > 0, "the connection ends");
    let number = line.trim_end().strip_prefix(mark).context("a number")?.parse()?;
    ensure!(number <= LIMIT, "{number} is too many");
    Ok(number)
}

fn answer(command: &[Vec<u8>], lists: &Lists) -> Vec<u8> {
    let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
    let name = command.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
    match (name.as_slice(), command.get(1..).unwrap_or_default()) {
        (b"PING", _) => b"+PONG\r\n".to_vec(),
        (b"LPUSH", [key, value]) => {
            let list = lists.entry(key.clone()).or_default();
            list.insert(0, value.clone());
            format!(":{}\r\n", list.len()).into_bytes()
        }
        (b"LRANGE", [key, ..]) => {
            let list = lists.get(key).map(Vec::as_slice).unwrap_or_default();
            let mut answer = format!("*{}\r\n", list.len()).into_bytes();
            for value in list {
                answer.extend(format!("${}\r\n", value.len()).bytes());
                answer.extend(value);
                answer.extend(b"\r\n");
            }
            answer
        }
        // Clients greet in newer ways first.
        _ => b"-ERR unknown command\r\n".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_grow_at_the_front() {
        let lists = Lists::default();
        let ask = |words: &[&str]| {
            let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
            String::from_utf8(answer(&words, &lists)).unwrap()
        };
        assert_eq!(ask(&["lrange", "a", "0", "-1"]), "*0\r\n");
        assert_eq!(ask(&["lpush", "a", "one"]), ":1\r\n");
        assert_eq!(ask(&["LPUSH", "a", "two"]), ":2\r\n");
        assert_eq!(ask(&["LRANGE", "a", "0", "-1"]), "*2\r\n$3\r\ntwo\r\n$3\r\none\r\n");
        assert_eq!(ask(&["ping"]), "+PONG\r\n");
        assert!(ask(&["hello", "3"]).starts_with("-ERR"));
    }
}
