//! Reads frames, at the rate that the session allows.

use bugle_protocol::mcs::frame::{Frame, FrameError, VERSION};
use bugle_protocol::mcs::session::Session;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::Connection;
use super::end::End;

/// The size of one read in bytes, enough for one confirmation.
const READ: usize = 256;

/// The size of one read of a longer frame.
const LONG_READ: usize = 4 << 10;

/// The outcome of a read.
pub(super) enum Reading {
    /// A frame is complete in the buffer.
    Frame(Frame),
    /// No complete frame yet, and the peer exceeds its rate.
    Paused,
}

/// The bytes that have arrived and are not yet processed. It allocates nothing while a connection is
/// idle.
#[derive(Default)]
pub(super) struct Received {
    buffer: Vec<u8>,
    /// Whether the version of the peer was read.
    has_version: bool,
}

impl Received {
    /// Waits for a frame, and charges the session for every byte. Cancellation-safe: what has
    /// arrived stays in the buffer.
    ///
    /// # Errors
    /// If the peer is gone, its bytes are no frames, or it has sent more than the session accepts.
    pub(super) async fn read(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        session: &mut Session,
    ) -> Result<Reading, End> {
        loop {
            if let Some(frame) = self.frame(session.longest_frame())? {
                return Ok(Reading::Frame(frame));
            }
            let read = match self.buffer.is_empty() {
                true => self.read_first(io).await,
                false => self.read_more(io).await,
            };
            let bytes = read.map_err(|_| End::Lost)?;
            if bytes == 0 {
                return Err(End::Lost);
            }
            let now = Instant::now().into_std();
            session.read(bytes, now)?;
            if session.paused_until(now).is_some() && self.frame(session.longest_frame())?.is_none()
            {
                return Ok(Reading::Paused);
            }
        }
    }

    /// Reads without holding a buffer while nothing arrives.
    async fn read_first(&mut self, io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        let mut bytes = [0; READ];
        let count = io.read(&mut bytes).await?;
        self.buffer
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    async fn read_more(&mut self, io: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        self.buffer.reserve(LONG_READ);
        io.read_buf(&mut self.buffer).await
    }

    /// The frame at the beginning of the buffer, whose message has at most `most` bytes.
    fn frame(&mut self, most: usize) -> Result<Option<Frame>, FrameError> {
        if !self.has_version {
            match self.buffer.first() {
                None => return Ok(None),
                Some(&VERSION) => drop(self.buffer.remove(0)),
                Some(_) => return Err(FrameError::Version),
            }
            self.has_version = true;
        }
        Frame::first(&self.buffer, most)
    }

    /// The message of a frame in the buffer.
    pub(super) fn message(&self, frame: &Frame) -> &[u8] {
        self.buffer.get(frame.message.clone()).unwrap_or_default()
    }

    /// Discards the frame at the beginning of the buffer.
    pub(super) fn pass(&mut self, frame: &Frame) {
        self.buffer
            .drain(..frame.message.end.min(self.buffer.len()));
        if self.buffer.is_empty() {
            self.buffer = Vec::new();
        }
    }
}

impl<IO> Connection<IO> {
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
