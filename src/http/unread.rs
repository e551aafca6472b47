//! What a client still writes when its answer is known: the rest of a body that
//! was not wanted, and what comes after the last answer of a connection
//! (RFC 9112 §9.3, §9.6).
//!
//! Closing a socket while octets arrive makes TCP send a reset, which destroys
//! an answer that the client has not yet read. Over HTTP/2, resetting a stream
//! makes what still arrives for it an error of the connection. So the rest is
//! read and dropped, within bounds.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{EXPECT, HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::body::{ContentError, announced};
use crate::config::Limits;

/// The size of the buffer that octets are dropped from.
const BUFFER: usize = 8 << 10;

/// The body of a request, which counts what was read of it so that the rest can
/// be dropped.
pub(super) struct Unread<B> {
    body: B,
    /// Bytes that were read.
    read: usize,
    /// When the first of them was asked for.
    began: Option<Instant>,
    /// Once nothing more comes: whether it came whole.
    is_whole: Option<bool>,
}

impl<B> Unread<B>
where
    B: Body<Data = Bytes, Error: Into<ContentError>> + Unpin,
{
    /// A body that nothing was read of.
    pub(super) fn new(body: B) -> Self {
        let is_whole = body.is_end_stream().then_some(true);
        Self {
            body,
            read: 0,
            began: None,
            is_whole,
        }
    }

    /// Reads the rest and drops it. Returns whether the connection over HTTP/1.1
    /// can take another request: the whole body is within `limits.body_bytes` and
    /// came within `limits.body_timeout`.
    ///
    /// A client that expects 100 (Continue) and was not asked for its body may
    /// send it or not; where the next request begins is then in doubt
    /// (RFC 9110 §10.1.1), and this returns `false` without reading.
    pub(super) async fn discard(&mut self, headers: &HeaderMap, limits: &Limits) -> bool {
        if let Some(is_whole) = self.is_whole {
            return is_whole;
        }
        let is_too_long = announced(headers).is_some_and(|it| it > limits.body_bytes as u64);
        if is_too_long || (self.began.is_none() && expects_continue(headers)) {
            return false;
        }
        let until = *self.began.get_or_insert_with(Instant::now) + limits.body_timeout;
        let rest = async {
            while let Some(frame) = self.frame().await {
                if frame.is_err() || self.read > limits.body_bytes {
                    return false;
                }
            }
            true
        };
        timeout_at(until, rest).await.unwrap_or(false)
    }
}

fn expects_continue(headers: &HeaderMap) -> bool {
    let is_continue = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    headers.get_all(EXPECT).iter().any(is_continue)
}

impl<B> Body for Unread<B>
where
    B: Body<Data = Bytes, Error: Into<ContentError>> + Unpin,
{
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        self.began.get_or_insert_with(Instant::now);
        if self.is_whole.is_some() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => self.read += frame.data_ref().map_or(0, Bytes::len),
            Some(Err(_)) => self.is_whole = Some(false),
            None => self.is_whole = Some(true),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_whole.is_some() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The second stage of closing a connection, after its write side was shut down:
/// reads what the client still sends and drops it, until the client closes too,
/// for `limits.body_timeout` and `limits.discard_bytes` at most. Returns whether
/// the size was the end of it.
///
/// Dropped earlier, it leaves what the client has sent unread, and the last
/// answer in danger.
pub(super) async fn linger(mut io: impl AsyncRead + Unpin, limits: &Limits) -> bool {
    let mut buffer = vec![0; BUFFER];
    let mut dropped = 0;
    let reading = async {
        loop {
            match io.read(&mut buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(octets) => dropped += octets,
            }
            if dropped > limits.discard_bytes {
                return true;
            }
        }
    };
    timeout(limits.body_timeout, reading).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail")]

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::config::Config;

    #[tokio::test(start_paused = true)]
    async fn lingering_ends_with_the_client_with_time_or_with_size() {
        let mut limits = Config::default().limits;
        limits.discard_bytes = 10;

        let (io, mut client) = duplex(64);
        client.write_all(b"short").await.unwrap();
        drop(client);
        assert!(!linger(io, &limits).await, "it ends with the client");

        let (io, _client) = duplex(64);
        assert!(!linger(io, &limits).await, "it ends with time");

        let (io, mut client) = duplex(64);
        client.write_all(b"longer than ten").await.unwrap();
        assert!(linger(io, &limits).await, "it ends with size");
    }
}
