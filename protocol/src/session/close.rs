//! Why connections are closed.

use crate::websocket::MessageError;

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The peer closed it.
    #[error("")]
    Normal,
    /// The user agent has connected again (WS-H-12).
    #[error("superseded by a newer connection")]
    Superseded,
    /// What was read is removed (RFC 8030 §7.3).
    #[error("removed")]
    Removed,
    /// The operator has blocked the address (`bugle admin block`).
    #[error("blocked by the operator")]
    Blocked,
    /// The service stops or restarts.
    #[error("going away")]
    GoingAway,
    /// A binary frame (WS-T-4).
    #[error("binary frames have no meaning here")]
    Binary,
    /// A frame or message over `limits.frame_bytes`.
    #[error("message too big")]
    TooBig,
    /// The frames break RFC 6455.
    #[error("WebSocket protocol error")]
    Framing,
    /// The first message was not `hello`.
    #[error("hello expected")]
    HelloExpected,
    /// `hello` came twice.
    #[error("second hello")]
    SecondHello,
    /// A message that cannot be read.
    #[error("{0}")]
    Message(MessageError),
    /// A `channelID` too long to be repeated in an answer.
    #[error("bad channelID")]
    ChannelId,
    /// No `hello` in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// No answer to a WebSocket Ping.
    #[error("no pong in time")]
    PongTimeout,
    /// The service cannot serve this connection now.
    #[error("try again later")]
    Unavailable,
}

impl Close {
    /// The status code of the Close frame (RFC 6455 §7.4).
    pub const fn code(&self) -> u16 {
        match self {
            Self::Normal | Self::Superseded | Self::Removed => 1000,
            Self::GoingAway => 1001,
            Self::Framing => 1002,
            Self::Binary => 1003,
            Self::TooBig => 1009,
            Self::Unavailable => 1013,
            Self::Blocked
            | Self::HelloExpected
            | Self::SecondHello
            | Self::Message(_)
            | Self::ChannelId
            | Self::HelloTimeout
            | Self::PongTimeout => 1008,
        }
    }
}
