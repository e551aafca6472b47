//! Workarounds for the h2 crate (0.4.20), applied to the frames between it and the client. Remove
//! each one when a release of h2 makes it unnecessary.
//!
//! | h2 lacks | workaround | upstream |
//! |---|---|---|
//! | It panics when a client resets a promised stream whose PUSH_PROMISE is still queued: `prioritize.rs` unwraps the stream that the reset has removed | [`promises`] ends the connection of a client that sends a frame for a stream before its promise (RFC 9113 §5.1) | no issue of its own; hyperium/h2#899 (0.4.15) rejects such frames on streams whose HEADERS are queued (`is_pending_open`), but not on promised ones (`is_pending_push`) |
//! | It does not report whether the client accepts server pushes | [`Guarded`] reads SETTINGS_ENABLE_PUSH (§6.5.2) from the first frame, so that a held GET is refused at once, not at its first message (A-3) | none |
//! | It queues any number of pushes for a client that does not read | [`ClientState::accepts_writes`] waits while the socket accepts nothing | none |

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use self::promises::Promises;
use super::write_timeout::WriteTimeout;
use crate::io::Io;

mod promises;

/// The connection preface, the header of a frame, and one setting.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const SETTING: usize = 6;
/// The maximum of bytes to look at: more settings than are defined. Later settings are ignored.
const MAX_FIRST_BYTES: usize = PREFACE + FRAME_HEADER + 32 * SETTING;

const SETTINGS_FRAME: u8 = 4;
const ENABLE_PUSH: u16 = 2;

/// A connection that inspects the frames it carries.
pub(super) struct Guarded {
    io: WriteTimeout<Io>,
    /// The bytes read so far, until the first frame is complete.
    first: Option<Vec<u8>>,
    takes_pushes: Arc<AtomicBool>,
    promises: Promises,
    accepts_writes: watch::Sender<bool>,
}

/// What the frames of a connection reveal about its client.
#[derive(Clone)]
pub(super) struct ClientState {
    takes_pushes: Arc<AtomicBool>,
    accepts_writes: watch::Receiver<bool>,
}

impl ClientState {
    /// Whether the client accepts server pushes: true, the default of RFC 9113, until its first
    /// frame disables them.
    pub(super) fn takes_pushes(&self) -> bool {
        self.takes_pushes.load(Ordering::Relaxed)
    }

    /// Waits until the socket accepts bytes again. h2 queues pushes without a limit until then.
    pub(super) async fn accepts_writes(&mut self) {
        // An error means that the connection has ended, which the stream reports.
        let _ = self
            .accepts_writes
            .wait_for(|accepts_writes| *accepts_writes)
            .await;
    }
}

impl Guarded {
    /// Wraps a connection, and returns the state that its frames update.
    pub(super) fn new(io: WriteTimeout<Io>) -> (Self, ClientState) {
        let takes_pushes = Arc::new(AtomicBool::new(true));
        let (sender, accepts_writes) = watch::channel(true);
        let guarded = Self {
            io,
            first: Some(Vec::new()),
            takes_pushes: Arc::clone(&takes_pushes),
            promises: Promises::new(),
            accepts_writes: sender,
        };
        let state = ClientState {
            takes_pushes,
            accepts_writes,
        };
        (guarded, state)
    }

    /// Records whether the socket accepted a write.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let now = written.is_ready();
        self.accepts_writes.send_if_modified(|accepts_writes| {
            let before = std::mem::replace(accepts_writes, now);
            before != now
        });
    }

    /// Reads the first frame.
    fn read_first_frame(&mut self, bytes: &[u8]) {
        let Some(first) = &mut self.first else { return };
        let missing = MAX_FIRST_BYTES - first.len();
        first.extend_from_slice(&bytes[..bytes.len().min(missing)]);
        if let Some(takes_pushes) = takes_pushes(first) {
            self.takes_pushes.store(takes_pushes, Ordering::Relaxed);
            self.first = None;
        } else if first.len() == MAX_FIRST_BYTES {
            self.first = None;
        }
    }
}

/// Whether the first frame accepts server pushes; `None` while it is incomplete.
fn takes_pushes(first: &[u8]) -> Option<bool> {
    let frame = first.get(PREFACE..)?;
    let header = frame.get(..FRAME_HEADER)?;
    let length = usize::from(header[1]) << 8 | usize::from(header[2]);
    if header[0] != 0 || header[3] != SETTINGS_FRAME {
        // Not HTTP/2: h2 reports that.
        return Some(true);
    }
    let settings = frame.get(FRAME_HEADER..FRAME_HEADER + length)?;
    let push = settings
        .chunks_exact(SETTING)
        .rfind(|setting| u16::from_be_bytes([setting[0], setting[1]]) == ENABLE_PUSH);
    Some(push.is_none_or(|setting| setting[5] != 0))
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        self.read_first_frame(bytes);
        let promised = self.promises.received(bytes);
        Poll::Ready(promised.map_err(io::Error::other))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(&written);
        if let Poll::Ready(Ok(written)) = written {
            self.promises.sent(&bytes[..written]);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.wrote(&written);
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let here = left.min(slice.len());
                self.promises.sent(&slice[..here]);
                left -= here;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_frame(kind: u8, settings: &[[u8; 6]]) -> Vec<u8> {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let length = u8::try_from(settings.len() * 6).unwrap_or(u8::MAX);
        bytes.extend([0, 0, length, kind, 0, 0, 0, 0, 0]);
        bytes.extend(settings.concat());
        bytes
    }

    #[test]
    fn enable_push_is_found_among_other_settings() {
        let (on, off, other) = ([0, 2, 0, 0, 0, 1], [0, 2, 0, 0, 0, 0], [0, 4, 0, 0, 1, 0]);
        for (settings, takes) in [
            (&[] as &[_], true),
            (&[other], true),
            (&[other, off], false),
            (&[off, on], true),
        ] {
            let bytes = first_frame(SETTINGS_FRAME, settings);
            assert_eq!(takes_pushes(&bytes), Some(takes), "{settings:?}");
            for short in 0..bytes.len() {
                assert_eq!(takes_pushes(&bytes[..short]), None, "{short} bytes");
            }
        }
        assert_eq!(takes_pushes(&first_frame(1, &[off])), Some(true));
    }
}
