//! The octets of a connection, over TCP or a unix socket, with or without TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// What was accepted.
pub enum Socket {
    /// From anywhere.
    Tcp(TcpStream),
    /// From this machine.
    Unix(UnixStream),
}

/// A connection.
pub enum Io {
    /// As it is: for loopback, or behind a proxy that does TLS.
    Plain(Socket),
    /// TLS in this process.
    Tls(Box<TlsStream<Socket>>),
}

impl Socket {
    /// Waits for the first octets and leaves them there; gives how many there
    /// are, 0 at the end.
    ///
    /// # Errors
    /// When the connection has failed.
    pub async fn peek(&self, seen: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(seen).await,
            Self::Unix(stream) => {
                let peek = || Ok(recv(stream, &mut *seen, RecvFlags::PEEK)?.0);
                stream.async_io(Interest::READABLE, peek).await
            }
        }
    }

    /// Has small writes sent at once.
    ///
    /// # Errors
    /// When the connection has failed.
    pub fn send_at_once(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            // It never does anything else.
            Self::Unix(_) => Ok(()),
        }
    }
}

macro_rules! streams {
    ($($of:ident: $first:ident, $second:ident;)+) => {$(
        impl AsyncRead for $of {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(io) => Pin::new(io).poll_read(context, buffer),
                    Self::$second(io) => Pin::new(io).poll_read(context, buffer),
                }
            }
        }

        impl AsyncWrite for $of {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                octets: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(io) => Pin::new(io).poll_write(context, octets),
                    Self::$second(io) => Pin::new(io).poll_write(context, octets),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::$first(io) => Pin::new(io).poll_write_vectored(context, slices),
                    Self::$second(io) => Pin::new(io).poll_write_vectored(context, slices),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::$first(io) => io.is_write_vectored(),
                    Self::$second(io) => io.is_write_vectored(),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(io) => Pin::new(io).poll_flush(context),
                    Self::$second(io) => Pin::new(io).poll_flush(context),
                }
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::$first(io) => Pin::new(io).poll_shutdown(context),
                    Self::$second(io) => Pin::new(io).poll_shutdown(context),
                }
            }
        }
    )+};
}

streams! {
    Socket: Tcp, Unix;
    Io: Plain, Tls;
}
