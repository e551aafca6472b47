//! Detects that the client of an event stream over HTTP/1.1 has hung up.
//!
//! With `half_close`, hyper reads nothing between the end of a request and the end of its response,
//! so that a client that has shut down its write side still gets the response. But an event stream
//! may write nothing for minutes, and a vanished client would hold the slot of a user agent for
//! that time. During an event stream, the end of the client's data therefore ends the connection.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Whether the connection is sending an event stream. The request handler sets it.
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
    /// The first byte of a pipelined request, read while listening for the end.
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

    /// Returns the connection itself. A byte that was read early is lost, but none is left once a
    /// request has been read after the last event stream.
    pub(super) fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: AsyncRead + Unpin> HangUp<IO> {
    /// Fails if the client has hung up during an event stream. A byte that arrives instead is kept
    /// for [`poll_read`](AsyncRead::poll_read) and stops the listening: the hang-up of a client
    /// that pipelines is detected by the next write.
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
                    // The socket does not wake the task for a byte that is already read.
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
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
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

    /// hyper flushes whenever it is polled, even with nothing to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.listen(context)?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
