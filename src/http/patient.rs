//! Writes that do not wait for ever: a client that asks and does not read its
//! answers would keep its connection, and what it has asked for.

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice};
use std::iter::successors;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose writes fail with [`ErrorKind::TimedOut`] when the socket
/// has taken nothing for so long.
pub(super) struct Patient<IO> {
    io: IO,
    patience: Duration,
    /// Ends when the patience does; there is none while writes get on.
    stuck: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    /// A connection that has taken everything so far.
    pub(super) fn new(io: IO, patience: Duration) -> Self {
        let stuck = None;
        Self {
            io,
            patience,
            stuck,
        }
    }

    /// The connection itself, for those who have a time of their own.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }

    /// Passes a write's outcome on, or its failure when it has waited too long.
    fn wait<T>(
        &mut self,
        outcome: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stuck = None;
            return outcome;
        }
        let patience = self.patience;
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(patience)));
        let over = stuck.as_mut().poll(context);
        over.map(|()| Err(ErrorKind::TimedOut.into()))
    }
}

/// Whether a connection failed because a [`Patient`] write did.
pub(super) fn is_stuck(error: &(dyn Error + 'static)) -> bool {
    successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.kind() == ErrorKind::TimedOut)
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, octets);
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

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_nobody_reads() {
        let (io, _peer) = duplex(4);
        let mut io = Patient::new(io, PATIENCE);
        let failed = io.write_all(b"five!").await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn each_octet_that_is_taken_begins_the_time_anew() {
        let (io, mut peer) = duplex(1);
        let mut io = Patient::new(io, PATIENCE);
        let read = async {
            for octet in b"slow" {
                advance(PATIENCE - Duration::from_secs(1)).await;
                assert_eq!(peer.read_u8().await.unwrap(), *octet);
            }
        };
        let (written, ()) = tokio::join!(io.write_all(b"slow"), read);
        written.unwrap();
    }
}
