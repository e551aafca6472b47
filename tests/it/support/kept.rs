//! An HTTP/1.1 client with a persistent connection that controls when each part of a request is
//! written.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::secrets;
use super::user_agent::TIMEOUT;

/// Pause between two packets of one request: long enough for the service to read the first one
/// separately.
const GAP: Duration = Duration::from_millis(20);

/// A persistent connection.
pub struct Kept {
    stream: TcpStream,
    read: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// The status line and header fields in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answered {
    /// Whether the response announces the end of the connection (RFC 9112 §9.6).
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// The value of a field, or an empty string.
    pub fn header(&self, name: &str) -> &str {
        let begin = format!("{name}: ");
        let value = self.head.lines().find_map(|line| line.strip_prefix(&begin));
        value.unwrap_or_default()
    }
}

impl Kept {
    pub async fn open(authority: &str) -> Self {
        let stream = TcpStream::connect(authority).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let read = Vec::new();
        Self { stream, read }
    }

    /// Writes bytes in their own packet.
    pub async fn write(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    /// Writes bytes; fails if the service no longer reads.
    pub async fn try_write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// Writes the parts of a request in separate packets.
    pub async fn write_apart<'p>(&mut self, parts: impl IntoIterator<Item = &'p [u8]>) {
        for part in parts {
            self.write(part).await;
            tokio::time::sleep(GAP).await;
        }
    }

    /// Closes the write side; the service may still respond.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Returns the next complete response.
    pub async fn answer(&mut self) -> Answered {
        let answer = timeout(TIMEOUT, self.read_answer()).await;
        answer
            .expect("a response arrives")
            .expect("the response is complete")
    }

    async fn read_answer(&mut self) -> io::Result<Answered> {
        let end = self.read_until(|octets| find(octets, b"\r\n\r\n")).await? + 4;
        let head: Vec<_> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        secrets::see(&head);
        let status = head[9..12].parse().unwrap();
        let head = head.to_ascii_lowercase();
        let mut answered = Answered {
            status,
            head,
            body: Vec::new(),
        };
        let length = answered.header("content-length").parse().unwrap_or(0);
        self.read_until(|octets| (octets.len() >= length).then_some(length))
            .await?;
        answered.body = self.read.drain(..length).collect();
        Ok(answered)
    }

    async fn read_until(&mut self, position: impl Fn(&[u8]) -> Option<usize>) -> io::Result<usize> {
        loop {
            if let Some(position) = position(&self.read) {
                return Ok(position);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until these bytes have arrived.
    pub async fn read_to(&mut self, octets: &[u8]) {
        let read = timeout(TIMEOUT, self.read_until(|read| find(read, octets))).await;
        read.expect("the bytes arrive").unwrap();
    }

    /// Asserts that the service closes the connection without a reset and sends nothing more.
    pub async fn ends(mut self) {
        let mut rest = std::mem::take(&mut self.read);
        let read = timeout(TIMEOUT, self.stream.read_to_end(&mut rest)).await;
        read.expect("the service closes").expect("no reset");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets
        .windows(wanted.len())
        .position(|window| window == wanted)
}
