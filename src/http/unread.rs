//! Discards what a client sends after its response is known: the rest of an unwanted body, and the
//! bytes after the last response of a connection (RFC 9112 §9.3, §9.6).
//!
//! If a socket is closed while bytes arrive, TCP sends a reset, which destroys a response that the
//! client has not read yet. Over HTTP/2, frames for a stream that was reset count as connection
//! errors. So the rest is read and discarded, within limits.

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

/// The size of the buffer for discarded bytes.
const BUFFER: usize = 8 << 10;

/// The body of a request. It counts the bytes read, so that the rest can be discarded.
pub(super) struct Unread<B> {
    body: B,
    /// The number of bytes read.
    read: usize,
    /// When reading began.
    began: Option<Instant>,
    /// Set at the end of the body: whether it is complete.
    is_whole: Option<bool>,
}

impl<B> Unread<B>
where
    B: Body<Data = Bytes, Error: Into<ContentError>> + Unpin,
{
    /// Wraps an unread body.
    pub(super) fn new(body: B) -> Self {
        let is_whole = body.is_end_stream().then_some(true);
        Self {
            body,
            read: 0,
            began: None,
            is_whole,
        }
    }

    /// Reads and discards the rest. Returns whether another request can follow on an HTTP/1.1
    /// connection: the whole body is within `limits.body_bytes` and arrived within
    /// `limits.body_timeout`.
    ///
    /// A client that expects 100 (Continue) and did not get it may send its body or not, so the
    /// start of the next request is ambiguous (RFC 9110 §10.1.1). This returns `false` then,
    /// without reading.
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

/// The second stage of closing a connection, after its write side was shut down: reads and discards
/// what the client still sends, until the client closes too, or `limits.body_timeout` or
/// `limits.discard_bytes` is reached. Returns whether it was `limits.discard_bytes`.
///
/// If this is cancelled, the client's bytes stay unread, and the close may destroy the last
/// response.
pub(super) async fn linger(mut io: impl AsyncRead + Unpin, limits: &Limits) -> bool {
    let mut buffer = vec![0; BUFFER];
    let mut dropped = 0;
    let reading = async {
        loop {
            match io.read(&mut buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(bytes) => dropped += bytes,
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
    async fn lingering_ends_when_the_client_closes_or_a_limit_is_reached() {
        let mut limits = Config::default().limits;
        limits.discard_bytes = 10;

        let (io, mut client) = duplex(64);
        client.write_all(b"short").await.unwrap();
        drop(client);
        assert!(!linger(io, &limits).await, "the client closes");

        let (io, _client) = duplex(64);
        assert!(!linger(io, &limits).await, "body_timeout");

        let (io, mut client) = duplex(64);
        client.write_all(b"longer than ten").await.unwrap();
        assert!(linger(io, &limits).await, "discard_bytes");
    }
}
