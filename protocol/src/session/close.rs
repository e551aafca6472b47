//! Reasons for closing connections.

use crate::websocket::MessageError;

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The peer closed it.
    #[error("")]
    Normal,
    /// The user agent has a newer connection (WS-H-12).
    #[error("superseded by a newer connection")]
    Superseded,
    /// The subscription or set that it reads was removed (RFC 8030 §7.3).
    #[error("removed")]
    Removed,
    /// The operator has blocked the address (`bugle admin block`).
    #[error("blocked by the operator")]
    Blocked,
    /// The service is shutting down.
    #[error("going away")]
    GoingAway,
    /// A binary frame (WS-T-4).
    #[error("binary frames have no meaning here")]
    Binary,
    /// A frame or message over `limits.frame_bytes`.
    #[error("message too big")]
    TooBig,
    /// The frames violate RFC 6455.
    #[error("WebSocket protocol error")]
    Framing,
    /// The first message was not `hello`.
    #[error("hello expected")]
    HelloExpected,
    /// A second `hello`.
    #[error("second hello")]
    SecondHello,
    /// A malformed message.
    #[error("{0}")]
    Message(MessageError),
    /// A malformed `channelID`, too long to be repeated in a response.
    #[error("bad channelID")]
    ChannelId,
    /// No `hello` in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// Nothing was received after a WebSocket Ping.
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
