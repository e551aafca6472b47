//! The real program under attack: how much memory it takes, and whether honest
//! clients are served meanwhile.

use std::pin::pin;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::app_server::{Push, decrypted};
use super::server::Server;
use super::user_agent::{CHANNEL, UserAgent};

/// By how much an attack may grow the program, in octets. Each attack sends
/// many times as much, or holds as many connections as would take it at 64 KiB
/// each; what is left is the allocator's and the kernel's granularity.
pub const BOUND: u64 = 48 << 20;

/// A program with one honest user agent.
pub struct Siege<'s> {
    server: &'s Server,
    user_agent: UserAgent,
    endpoint: String,
    count: usize,
}

impl<'s> Siege<'s> {
    /// Before the walls of a program.
    pub async fn of(server: &'s Server) -> Self {
        let mut user_agent = UserAgent::connect(server).await;
        let endpoint = user_agent.register(CHANNEL, None).await;
        let mut siege = Self {
            server,
            user_agent,
            endpoint,
            count: 0,
        };
        // What the first requests make stays.
        for _ in 0..20 {
            siege.honest().await;
        }
        siege
    }

    /// A push reaches its user agent, and is acknowledged.
    async fn honest(&mut self) {
        let text = format!("{}", self.count);
        self.count += 1;
        let push = Push::to(self.server, &self.endpoint).text(&text);
        push.accepted().await;
        let notification = self.user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), text);
        self.user_agent.ack(&notification).await;
    }

    /// Honest clients are served until the attack is over, and the memory stays
    /// under its bound.
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
        assert!(grown < BOUND, "the program has grown by {grown} octets");
        over.unwrap()
    }
}

/// A connection to the public listener.
pub async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.authority()).await.unwrap()
}

/// A connection to the public listener from another address of this machine,
/// 127.9.9.x.
pub async fn connect_from(server: &Server, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 9, 9, last], 0).into()).unwrap();
    let to = server.authority().parse().unwrap();
    socket.connect(to).await.unwrap()
}

/// A WebSocket's connection, the handshake done with these fields more, and
/// what the service answered.
pub async fn upgrade(server: &Server, fields: &str) -> (TcpStream, String) {
    let (stream, answer) = upgrade_on(connect(server).await, server, fields).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    (stream, answer)
}

/// The same on this connection, whatever the service answers.
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

/// Writes the octets again and again, `times` or until the service has had
/// enough; gives how often it was.
pub async fn pour(stream: &mut TcpStream, octets: &[u8], times: usize) -> usize {
    for count in 0..times {
        if stream.write_all(octets).await.is_err() {
            return count;
        }
    }
    times
}

/// Reads until the service closes, however it does.
pub async fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut octets = Vec::new();
    let read = stream.read_to_end(&mut octets);
    let ended = tokio::time::timeout(super::user_agent::PATIENCE, read).await;
    // A reset is an end too.
    let _ = ended.expect("the service closes");
    octets
}
