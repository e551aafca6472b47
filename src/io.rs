//! The bytes of a connection, over TCP or a unix socket, with or without TLS.

use std::io;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// An accepted socket: TCP, or a unix socket of this machine.
pub type Socket = Either<TcpStream, UnixStream>;

/// A connection: the socket itself (on loopback, or behind a proxy that
/// terminates TLS), or TLS in this process.
pub type Io = Either<Socket, Box<TlsStream<Socket>>>;

/// Waits for the first bytes and leaves them in the socket's buffer. Returns how
/// many of them it copied to `seen`, or 0 at the end of the stream. Cancellation loses no bytes.
///
/// # Errors
/// If the connection has failed.
pub async fn peek(socket: &Socket, seen: &mut [u8]) -> io::Result<usize> {
    match socket {
        Either::Left(stream) => stream.peek(seen).await,
        Either::Right(stream) => {
            let peek = || Ok(recv(stream, &mut *seen, RecvFlags::PEEK)?.0);
            stream.async_io(Interest::READABLE, peek).await
        }
    }
}

/// Disables Nagle's algorithm, so that small writes are sent at once. Unix
/// sockets have no such delay.
///
/// # Errors
/// If the connection has failed.
pub fn set_nodelay(socket: &Socket) -> io::Result<()> {
    match socket {
        Either::Left(stream) => stream.set_nodelay(true),
        Either::Right(_) => Ok(()),
    }
}
