//! A client of HTTP/1.1 that keeps its connection and decides itself when each
//! part of a request is written.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::secrets;
use super::user_agent::PATIENCE;

/// The time between two packets of one request: long enough for the service to
/// see the first one alone.
const GAP: Duration = Duration::from_millis(20);

/// A connection that is used for one request after the other.
pub struct Kept {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    /// The status line and the fields, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answered {
    /// Whether it says that the connection ends (RFC 9112 §9.6).
    pub fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    /// The value of a field, empty when it is not there.
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

    /// Writes octets, in a packet of their own.
    pub async fn write(&mut self, octets: impl AsRef<[u8]>) {
        self.stream.write_all(octets.as_ref()).await.unwrap();
    }

    /// Writes what a service that no longer reads would refuse.
    pub async fn try_write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.write_all(octets).await
    }

    /// Writes the parts of a request in packets that do not arrive together.
    pub async fn write_apart<'p>(&mut self, parts: impl IntoIterator<Item = &'p [u8]>) {
        for part in parts {
            self.write(part).await;
            tokio::time::sleep(GAP).await;
        }
    }

    /// Ends what is written; the service may still answer.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next response, which must come whole.
    pub async fn answer(&mut self) -> Answered {
        let answer = timeout(PATIENCE, self.read_answer()).await;
        answer.expect("an answer comes").expect("it comes whole")
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

    async fn read_until(&mut self, place: impl Fn(&[u8]) -> Option<usize>) -> io::Result<usize> {
        loop {
            if let Some(place) = place(&self.read) {
                return Ok(place);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads until these octets have come.
    pub async fn read_to(&mut self, octets: &[u8]) {
        let read = timeout(PATIENCE, self.read_until(|read| find(read, octets))).await;
        read.expect("they come").unwrap();
    }

    /// The service closes the connection in order: no reset, and nothing more.
    pub async fn ends(mut self) {
        let mut rest = std::mem::take(&mut self.read);
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        read.expect("the service closes").expect("without a reset");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets
        .windows(wanted.len())
        .position(|window| window == wanted)
}
