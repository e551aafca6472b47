//! Notices that the client of an event stream over HTTP/1.1 has hung up.
//!
//! With `half_close`, hyper reads nothing between the end of a request and the
//! end of its response: a client that has shut down its write side gets its
//! answer. An event stream may have nothing to write for minutes, and its client
//! would take the place of a user agent for as long, so here the end of what the
//! client sends is the end of the connection.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether the connection is sending an event stream. Set by those who answer
/// its requests.
#[derive(Clone, Default)]
pub(super) struct Streaming(Arc<AtomicBool>);

impl Streaming {
    pub(super) fn set(&self, is_streaming: bool) {
        self.0.store(is_streaming, Ordering::Relaxed);
    }
}

/// A connection that fails with [`ErrorKind::ConnectionAborted`] when its client
/// hangs up during an event stream.
pub(super) struct HangUp<IO> {
    io: IO,
    streaming: Streaming,
    /// A byte of the next request that was read to see whether one comes.
    early: Option<u8>,
}

impl<IO> HangUp<IO> {
    pub(super) fn new(io: IO, streaming: Streaming) -> Self {
        let early = None;
        Self {
            io,
            streaming,
            early,
        }
    }

    /// The connection itself. Nothing of it is lost once the last event stream
    /// is over and a request was read after it.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> HangUp<IO> {
    /// Fails when the client has hung up during an event stream. A byte that
    /// comes instead is kept for [`poll_read`](AsyncRead::poll_read), and ends
    /// the looking: a client that pipelines is noticed when it is written to.
    fn listen(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if !self.streaming.0.load(Ordering::Relaxed) || self.early.is_some() {
            return Ok(());
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => match buffer.filled() {
                [byte] => {
                    self.early = Some(*byte);
                    // The socket wakes nobody for a byte that is read.
                    context.waker().wake_by_ref();
                    Ok(())
                }
                _ => Err(ErrorKind::ConnectionAborted.into()),
            },
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for HangUp<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(byte) = self.early.take()
        {
            buffer.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HangUp<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes whenever it is polled, also with nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listen(context)?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
