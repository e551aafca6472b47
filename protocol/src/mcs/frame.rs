//! The frames of a connection: `tag (1 byte) | length (varint) | message`, after one byte with the
//! version in each direction.

use std::ops::Range;

use prost::Message;

/// The version that both sides send before their first frame. It is also the first byte that a
/// client sends, by which a listener tells this protocol from HTTP.
pub const VERSION: u8 = 41;

/// The longest length that is read, in bytes of its varint.
const LENGTH_BYTES: usize = 5;

/// The type of a message, as far as this service sends or understands it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// [`HeartbeatPing`](super::message::Heartbeat).
    HeartbeatPing = 0,
    /// [`HeartbeatAck`](super::message::Heartbeat).
    HeartbeatAck = 1,
    /// [`LoginRequest`](super::message::LoginRequest).
    LoginRequest = 2,
    /// [`LoginResponse`](super::message::LoginResponse).
    LoginResponse = 3,
    /// [`Close`](super::message::Close).
    Close = 4,
    /// [`Iq`](super::message::Iq).
    Iq = 7,
    /// [`DataMessage`](super::message::DataMessage).
    DataMessage = 8,
    /// [`StreamError`](super::message::StreamError).
    StreamError = 10,
}

/// The bytes do not begin with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte of a client is not [`VERSION`].
    #[error("the protocol version is not {VERSION}")]
    Version,
    /// The length is not a varint of at most five bytes.
    #[error("the length of a frame is malformed")]
    Length,
    /// The message is longer than allowed.
    #[error("a frame is longer than {0} bytes")]
    TooLong(usize),
}

impl Tag {
    /// The type with this number; `None` if the service neither sends nor understands it.
    pub const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::HeartbeatPing,
            1 => Self::HeartbeatAck,
            2 => Self::LoginRequest,
            3 => Self::LoginResponse,
            4 => Self::Close,
            7 => Self::Iq,
            8 => Self::DataMessage,
            10 => Self::StreamError,
            _ => return None,
        })
    }
}

/// A frame within a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The number of its type.
    pub tag: u8,
    /// Where its message is in the buffer. The frame ends where its message does.
    pub message: Range<usize>,
}

impl Frame {
    /// Finds the frame at the beginning of `buffer`, whose message has at most `most` bytes.
    /// Returns `None` if it is not complete.
    ///
    /// # Errors
    /// [`FrameError::Length`]; [`FrameError::TooLong`] as soon as the length has arrived.
    pub fn first(buffer: &[u8], most: usize) -> Result<Option<Self>, FrameError> {
        let Some((tag, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let mut length: u64 = 0;
        for (at, byte) in rest.iter().take(LENGTH_BYTES).enumerate() {
            length |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 != 0 {
                continue;
            }
            let length = usize::try_from(length).ok().filter(|it| *it <= most);
            let length = length.ok_or(FrameError::TooLong(most))?;
            let begin = at + 2;
            let message = begin..begin + length;
            let is_whole = buffer.len() >= message.end;
            return Ok(is_whole.then_some(Self { tag: *tag, message }));
        }
        match rest.len() >= LENGTH_BYTES {
            true => Err(FrameError::Length),
            false => Ok(None),
        }
    }

    /// Prints a frame.
    pub fn print(tag: Tag, message: &impl Message) -> Vec<u8> {
        let mut frame = Vec::with_capacity(1 + LENGTH_BYTES + message.encoded_len());
        frame.push(tag as u8);
        // A vector grows as needed, which is the only way in which this can fail.
        let _ = message.encode_length_delimited(&mut frame);
        frame
    }
}
