//! Reasons for closing connections.

use super::frame::FrameError;

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The client closed it.
    #[error("closed by the client")]
    Normal,
    /// The device has a newer connection.
    #[error("superseded by a newer connection")]
    Superseded,
    /// The operator has removed the user agent.
    #[error("removed")]
    Removed,
    /// The operator has blocked the address.
    #[error("blocked by the operator")]
    Blocked,
    /// The service is shutting down.
    #[error("going away")]
    GoingAway,
    /// The service cannot serve this connection now.
    #[error("try again later")]
    Unavailable,
    /// The credentials were not issued by this service.
    #[error("unknown device")]
    UnknownDevice,
    /// The bytes are no frames.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A message is malformed.
    #[error("a malformed message")]
    Message,
    /// The first message was not a login.
    #[error("login expected")]
    LoginExpected,
    /// A second login.
    #[error("second login")]
    SecondLogin,
    /// The client confirms a frame that was not sent, or less than before.
    #[error("a stream id that cannot be")]
    StreamId,
    /// The client confirms no message.
    #[error("too many messages are not confirmed")]
    Unconfirmed,
    /// No login in time.
    #[error("no login in time")]
    LoginTimeout,
    /// Nothing was received after a heartbeat.
    #[error("no heartbeat in time")]
    HeartbeatTimeout,
}
