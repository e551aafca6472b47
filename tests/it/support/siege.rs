//! The real program under attack: measures its memory and checks that honest clients are served
//! meanwhile.

use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::app_server::{Push, decrypted};
use super::server::Server;
use super::user_agent::{CHANNEL, UserAgent};

/// Maximum memory growth of the program during an attack, in bytes. Each attack sends many
/// times as much, or holds so many connections that 64 KiB each would exceed it. The margin
/// covers the granularity of allocator and kernel.
pub const BOUND: u64 = 48 << 20;

/// A program under attack with one honest user agent.
pub struct Siege<'s> {
    server: &'s Server,
    user_agent: UserAgent,
    endpoint: String,
    count: usize,
}

impl<'s> Siege<'s> {
    /// Connects the honest user agent.
    pub async fn of(server: &'s Server) -> Self {
        let mut user_agent = UserAgent::connect(server).await;
        let endpoint = user_agent.register(CHANNEL, None).await;
        let mut siege = Self {
            server,
            user_agent,
            endpoint,
            count: 0,
        };
        // The first requests allocate memory that is kept.
        for _ in 0..20 {
            siege.honest().await;
        }
        siege
    }

    /// Sends a push that its user agent receives and acknowledges.
    async fn honest(&mut self) {
        let text = format!("{}", self.count);
        self.count += 1;
        let push = Push::to(self.server, &self.endpoint).text(&text);
        push.accepted().await;
        let notification = self.user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), text);
        self.user_agent.ack(&notification).await;
    }

    /// Asserts that honest clients are served until the attack ends, and that the memory stays
    /// below [`BOUND`].
    pub async fn withstands<T>(&mut self, attack: impl Future<Output = T>) -> T {
        let before = self.server.resident();
        let mut attack = pin!(attack);
        let mut peak = before;
        let mut over = None;
        while over.is_none() {
            {
                let mut honest = pin!(self.honest());
                loop {
                    tokio::select! {
                        () = &mut honest => break,
                        end = &mut attack, if over.is_none() => over = Some(end),
                    }
                }
            }
            peak = peak.max(self.server.resident());
        }
        let grown = peak.saturating_sub(before);
        println!("grown by {} KiB from {} KiB", grown >> 10, before >> 10);
        assert!(grown < BOUND, "the program has grown by {grown} bytes");
        over.unwrap()
    }
}

/// Connects to the public listener.
pub async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.authority()).await.unwrap()
}

/// Connects to the public listener from another local address, 127.9.9.x.
pub async fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 9, 9, last], 0).into()).unwrap();
    let to = server.authority().parse().unwrap();
    socket.connect(to).await.unwrap()
}

/// Performs a WebSocket handshake with these additional fields; returns the connection and the
/// response.
pub async fn upgrade(server: &Server, fields: &str) -> (TcpStream, String) {
    let (stream, answer) = upgrade_on(connect(server).await, server, fields).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    (stream, answer)
}

/// Like `upgrade`, on this connection and with any response.
pub async fn upgrade_on(
    mut stream: TcpStream,
    server: &Server,
    fields: &str,
) -> (TcpStream, String) {
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         {fields}\r\n",
        server.authority()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap().into());
    }
    (stream, answer)
}

/// Writes the bytes up to `times` times, until the service ends the connection; returns the
/// count.
pub async fn pour(stream: &mut TcpStream, octets: &[u8], times: usize) -> usize {
    for count in 0..times {
        if stream.write_all(octets).await.is_err() {
            return count;
        }
    }
    times
}

/// Reads until the service closes the connection, with or without a reset.
pub async fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let read = stream.read_to_end(&mut octets);
    let ended = tokio::time::timeout(super::user_agent::TIMEOUT, read).await;
    // A reset counts as an end.
    let _ = ended.expect("the service closes");
    octets
}
