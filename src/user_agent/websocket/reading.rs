//! Reads frames, at the rate that the session allows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bugle_protocol::session::Close;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::Error as SocketError;

use super::Connection;
use super::end::End;

/// The outcome of a read.
pub(super) enum Reading {
    /// A frame, or the end of the stream.
    Frame(Option<Result<Message, SocketError>>),
    /// No complete frame yet, and the peer exceeds its rate.
    Paused,
    /// The peer has sent more than the session accepts: close the connection.
    TooMuch(Close),
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Reads until a frame is complete, and charges the session for every byte.
    ///
    /// The library keeps reading while bytes arrive and no message is complete. Tokio's budget
    /// interrupts it after 128 reads, and reading then pauses if the peer exceeds its rate.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Reading> {
        let polled = self.socket.poll_next_unpin(context);
        let bytes = self.socket.get_mut().take_count();
        if bytes > 0 {
            let now = Instant::now().into_std();
            if let Err(close) = self.session.read(bytes, now) {
                return Poll::Ready(Reading::TooMuch(close));
            }
            if polled.is_pending() && self.session.paused_until(now).is_some() {
                return Poll::Ready(Reading::Paused);
            }
        }
        polled.map(Reading::Frame)
    }

    /// When the session must be polled at the latest, and whether the connection may be read until
    /// then.
    pub(super) fn next_wait(&mut self) -> (Instant, bool) {
        let now = Instant::now().into_std();
        let paused = self.session.paused_until(now);
        if self.session.pause_begins(now) {
            self.app.service.metrics().paused.inc();
        }
        let timeout = self.session.next_timeout();
        let until = paused.map_or(timeout, |paused| paused.min(timeout));
        (until.into(), paused.is_none())
    }
}

impl Reading {
    /// The frame, if one is complete.
    pub(super) fn frame(self) -> Result<Option<Message>, End> {
        match self {
            Self::Frame(Some(frame)) => Ok(Some(frame?)),
            Self::Frame(None) => Err(End::Lost),
            Self::Paused => Ok(None),
            Self::TooMuch(close) => Err(close.into()),
        }
    }
}

/// A connection that counts the bytes read, and can end its stream after a given number.
pub(super) struct Counted<IO> {
    io: IO,
    count: u32,
    left: u32,
}

impl<IO> Counted<IO> {
    /// Wraps a connection from which `count` bytes were already read.
    pub(super) fn new(io: IO, count: usize) -> Self {
        let (count, left) = (saturated(count), u32::MAX);
        Self { io, count, left }
    }

    /// Ends the stream after about this many more bytes, as if the peer had ended it.
    pub(super) const fn end_after(&mut self, bytes: u32) {
        self.left = bytes;
    }

    /// Returns the number of bytes read since the last call.
    fn take_count(&mut self) -> usize {
        std::mem::take(&mut self.count) as usize
    }
}

/// The counters are 32 bits wide, because every connection has them.
fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        let read = saturated(buffer.filled().len() - before);
        self.count = self.count.saturating_add(read);
        if self.left < u32::MAX {
            self.left = self.left.saturating_sub(read);
        }
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
