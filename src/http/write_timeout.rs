//! A timeout for writes. Without it, a client that does not read its responses would keep its
//! connection and their memory for ever.

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice};
use std::iter::successors;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose writes fail with [`ErrorKind::TimedOut`] when the socket accepts nothing for
/// the timeout.
pub(super) struct WriteTimeout<IO> {
    io: IO,
    timeout: Duration,
    /// Set while a write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<IO> WriteTimeout<IO> {
    /// Wraps a connection without a pending write.
    pub(super) fn new(io: IO, timeout: Duration) -> Self {
        let deadline = None;
        Self {
            io,
            timeout,
            deadline,
        }
    }

    /// Returns the connection itself, for callers with a timeout of their own.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Returns the outcome of a write, or an error if it was pending for the timeout.
    fn wait<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let timeout = self.timeout;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(timeout)));
        let over = deadline.as_mut().poll(context);
        over.map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

/// Whether a connection failed because a write timed out.
pub(super) fn is_write_timeout(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == ErrorKind::TimedOut)
}

impl<IO: AsyncRead + Unpin> AsyncRead for WriteTimeout<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wait(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wait(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.wait(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.wait(shut, context)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::advance;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_write_times_out_when_the_peer_does_not_read() {
        let (io, _peer) = duplex(4);
        let mut io = WriteTimeout::new(io, TIMEOUT);
        let failed = io.write_all(b"five!").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn each_accepted_byte_restarts_the_timeout() {
        let (io, mut peer) = duplex(1);
        let mut io = WriteTimeout::new(io, TIMEOUT);
        let read = async {
            for byte in b"slow" {
                advance(TIMEOUT - Duration::from_secs(1)).await;
                assert_eq!(peer.read_u8().await.unwrap(), *byte);
            }
        };
        let (written, ()) = tokio::join!(io.write_all(b"slow"), read);
        written.unwrap();
    }
}
