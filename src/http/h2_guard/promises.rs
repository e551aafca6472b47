//! Tracks the promised streams (RFC 9113 §8.4) by the frames on the wire. A client that sends a
//! frame for a stream before its promise violates the protocol (§5.1), and h2 panics: see the table
//! in [`super`]. Remove this file when h2 rejects such frames.

const PREFACE: usize = 24;
const HEADER: usize = 9;
/// A header and the promised stream id, for a PUSH_PROMISE frame.
const PROMISE_HEADER: usize = HEADER + 4;

const PUSH_PROMISE: u8 = 5;

/// A client sent a frame for a stream that was not promised yet.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame for a stream that was not promised yet")]
pub(super) struct NotPromised;

/// The promises that have been sent on a connection.
#[derive(Debug)]
pub(super) struct Promises {
    sent: Frames,
    received: Frames,
    /// The highest stream promised so far; all lower ones are promised too, except
    /// those in `missing`.
    highest: u32,
    missing: Vec<u32>,
}

impl Promises {
    /// A connection on which no promise has been sent.
    pub(super) fn new() -> Self {
        Self {
            sent: Frames::after(0),
            received: Frames::after(PREFACE),
            highest: 0,
            missing: Vec::new(),
        }
    }

    /// Inspects bytes that were sent.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while let Some(frame) = self.sent.next(&mut bytes) {
            if let Some(promised) = frame.promised {
                self.missing.retain(|missing| *missing != promised);
                // Promises of several GETs may be sent out of order.
                let skipped = (self.highest + 2..promised).step_by(2);
                self.missing.extend(skipped);
                self.highest = self.highest.max(promised);
            }
        }
    }

    /// Inspects bytes that were received.
    ///
    /// # Errors
    /// [`NotPromised`] if a frame names a server stream (even id) that was not
    /// promised yet.
    pub(super) fn received(&mut self, mut bytes: &[u8]) -> Result<(), NotPromised> {
        while let Some(Frame { stream, .. }) = self.received.next(&mut bytes) {
            let is_ours = stream != 0 && stream.is_multiple_of(2);
            if is_ours && (stream > self.highest || self.missing.contains(&stream)) {
                return Err(NotPromised);
            }
        }
        Ok(())
    }
}

/// The parts of a frame that matter here.
struct Frame {
    stream: u32,
    promised: Option<u32>,
}

/// Splits a byte stream into frames.
#[derive(Debug)]
struct Frames {
    /// How many bytes to skip: the preface, or the rest of a payload.
    skip: usize,
    head: [u8; PROMISE_HEADER],
    have: usize,
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; PROMISE_HEADER],
            have: 0,
        }
    }

    /// Returns the next frame that begins in `bytes`, and advances `bytes` past
    /// what it used.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let wanted = match self.is_promise() {
                true => PROMISE_HEADER,
                false => HEADER,
            };
            let taken = (wanted - self.have).min(bytes.len() - skipped);
            let (now, rest) = bytes[skipped..].split_at(taken);
            self.head[self.have..self.have + taken].copy_from_slice(now);
            self.have += taken;
            *bytes = rest;
            let whole = self.have == wanted && (wanted == PROMISE_HEADER || !self.is_promise());
            if whole {
                return Some(self.finish());
            }
        }
        None
    }

    fn is_promise(&self) -> bool {
        self.have >= HEADER
            && self.head[3] == PUSH_PROMISE
            && self.length() >= PROMISE_HEADER - HEADER
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.head;
        usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
    }

    fn finish(&mut self) -> Frame {
        let [_, _, _, _, _, a, b, c, d, e, f, g, h] = self.head;
        let stream = |bytes| u32::from_be_bytes(bytes) & (u32::MAX >> 1);
        let promised = self.is_promise().then(|| stream([e, f, g, h]));
        self.skip = self.length() - (self.have - HEADER);
        self.have = 0;
        Frame {
            stream: stream([a, b, c, d]),
            promised,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RST_STREAM: u8 = 3;

    fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
        let mut bytes = vec![0, 0, length, kind, 0, 0, 0, 0, stream];
        bytes.extend(payload);
        bytes
    }

    fn promise(stream: u8) -> Vec<u8> {
        frame(PUSH_PROMISE, 1, &[0, 0, 0, stream, 0x82, 0x86])
    }

    #[test]
    fn only_promised_streams_may_be_reset() {
        let reset = |stream| frame(RST_STREAM, stream, &[0, 0, 0, 8]);
        let mut wire = Promises::new();
        let mut begin = vec![b'x'; PREFACE];
        begin.extend([frame(4, 0, &[]), frame(1, 1, &[0x82])].concat());
        assert_eq!(wire.received(&begin), Ok(()));
        // In pieces of any size.
        let sent = [frame(0, 1, &[5; 40]), promise(2), promise(6), promise(8)].concat();
        for piece in sent.chunks(5) {
            wire.sent(piece);
        }
        for stream in [2, 6, 8, 7] {
            for byte in reset(stream) {
                assert_eq!(wire.received(&[byte]), Ok(()), "{stream}");
            }
        }
        assert_eq!(wire.received(&reset(4)), Err(NotPromised));
        wire.sent(&promise(4));
        assert_eq!(wire.received(&reset(4)), Ok(()));
        assert_eq!(wire.received(&reset(10)), Err(NotPromised));
    }
}
