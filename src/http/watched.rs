//! What the h2 crate knows of an HTTP/2 client and does not tell, or does not
//! guard: whether it takes server pushes (SETTINGS_ENABLE_PUSH in its first
//! frame, RFC 9113 §6.5.2), since a held GET must be refused at once, not at its
//! first message; whether it reads; and that it names no push before it
//! has been promised.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::patient::Patient;
use super::promises::Promises;
use crate::io::Io;

/// The connection preface, the header of a frame, and one setting.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
const SETTING: usize = 6;
/// More settings than there are defined; what comes later is not looked at.
const MOST: usize = PREFACE + FRAME_HEADER + 32 * SETTING;

const SETTINGS_FRAME: u8 = 4;
const ENABLE_PUSH: u16 = 2;

/// A connection whose first frame is looked at as it passes.
pub(super) struct Watched {
    io: Patient<Io>,
    /// What has been read, until the first frame is whole.
    first: Option<Vec<u8>>,
    takes_pushes: Arc<AtomicBool>,
    promises: Promises,
    has_room: watch::Sender<bool>,
}

/// What is seen of the client on the wire.
#[derive(Clone)]
pub(super) struct Seen {
    takes_pushes: Arc<AtomicBool>,
    has_room: watch::Receiver<bool>,
}

impl Seen {
    /// Whether it takes pushes: true until it says no, as the default is.
    pub(super) fn takes_pushes(&self) -> bool {
        self.takes_pushes.load(Ordering::Relaxed)
    }

    /// Waits while it does not read what was written. The h2 crate takes any
    /// number of pushes, and holds them in memory.
    pub(super) async fn has_room(&mut self) {
        // An error is the end of the connection, which the stream tells better.
        let _ = self.has_room.wait_for(|has_room| *has_room).await;
    }
}

impl Watched {
    /// The connection, and what is seen of its client.
    pub(super) fn new(io: Patient<Io>) -> (Self, Seen) {
        let takes_pushes = Arc::new(AtomicBool::new(true));
        let (sender, has_room) = watch::channel(true);
        let watched = Self {
            io,
            first: Some(Vec::new()),
            takes_pushes: Arc::clone(&takes_pushes),
            promises: Promises::new(),
            has_room: sender,
        };
        let seen = Seen {
            takes_pushes,
            has_room,
        };
        (watched, seen)
    }

    /// Notes whether a write got on.
    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let now = written.is_ready();
        self.has_room.send_if_modified(|has_room| {
            let before = std::mem::replace(has_room, now);
            before != now
        });
    }

    fn look(&mut self, octets: &[u8]) {
        let Some(first) = &mut self.first else { return };
        let room = MOST - first.len();
        first.extend_from_slice(&octets[..octets.len().min(room)]);
        if let Some(takes_pushes) = takes_pushes(first) {
            self.takes_pushes.store(takes_pushes, Ordering::Relaxed);
            self.first = None;
        } else if first.len() == MOST {
            self.first = None;
        }
    }
}

/// What the first octets of a connection say; `None` while there are too few.
fn takes_pushes(first: &[u8]) -> Option<bool> {
    let frame = first.get(PREFACE..)?;
    let header = frame.get(..FRAME_HEADER)?;
    let length = usize::from(header[1]) << 8 | usize::from(header[2]);
    if header[0] != 0 || header[3] != SETTINGS_FRAME {
        // Not HTTP/2; the engine says so.
        return Some(true);
    }
    let settings = frame.get(FRAME_HEADER..FRAME_HEADER + length)?;
    let push = settings
        .chunks_exact(SETTING)
        .rfind(|setting| u16::from_be_bytes([setting[0], setting[1]]) == ENABLE_PUSH);
    Some(push.is_none_or(|setting| setting[5] != 0))
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let octets = &buffer.filled()[before..];
        self.look(octets);
        let promised = self.promises.received(octets);
        Poll::Ready(promised.map_err(io::Error::other))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, octets);
        self.wrote(&written);
        if let Poll::Ready(Ok(written)) = written {
            self.promises.sent(&octets[..written]);
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
        let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let length = u8::try_from(settings.len() * 6).unwrap_or(u8::MAX);
        octets.extend([0, 0, length, kind, 0, 0, 0, 0, 0]);
        octets.extend(settings.concat());
        octets
    }

    #[test]
    fn the_setting_is_found_among_others() {
        let (on, off, other) = ([0, 2, 0, 0, 0, 1], [0, 2, 0, 0, 0, 0], [0, 4, 0, 0, 1, 0]);
        for (settings, takes) in [
            (&[] as &[_], true),
            (&[other], true),
            (&[other, off], false),
            (&[off, on], true),
        ] {
            let octets = first_frame(SETTINGS_FRAME, settings);
            assert_eq!(takes_pushes(&octets), Some(takes), "{settings:?}");
            for short in 0..octets.len() {
                assert_eq!(takes_pushes(&octets[..short]), None, "{short} octets");
            }
        }
        assert_eq!(takes_pushes(&first_frame(1, &[off])), Some(true));
    }
}
