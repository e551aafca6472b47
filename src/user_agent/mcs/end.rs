//! Ends a connection.

use std::time::Duration;

use bugle_protocol::mcs::Close;
use bugle_protocol::mcs::frame::FrameError;
use bugle_protocol::mcs::session::Command;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::Connection;
use crate::config::Limit;
use crate::gate::Refusal;
use crate::service::registry::Ended;
use crate::service::{Error, Outcome};
use crate::user_agent::drain::Drain;

/// How long a closed connection is still read: unread frames of the peer would make TCP send a
/// reset, which may destroy our last frame.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ends.
pub(super) enum End {
    /// The peer is told.
    Close(Close),
    /// The peer is gone or does not read, so nothing can be sent.
    Lost,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Close(error.into())
    }
}

impl From<Ended> for End {
    fn from(why: Ended) -> Self {
        Self::Close(match why {
            Ended::Superseded => Close::Superseded,
            Ended::Removed => Close::Removed,
            Ended::Blocked => Close::Blocked,
            Ended::ShuttingDown => Close::GoingAway,
        })
    }
}

impl From<Error> for End {
    /// The service cannot serve the connection; the client connects again later.
    fn from(error: Error) -> Self {
        Self::Close(match error {
            Error::Refused(Refusal::BlockedAddress) => Close::Blocked,
            _ => Close::Unavailable,
        })
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Closes the connection. `drain` is its log, after the login.
    pub(super) async fn end(&mut self, end: End, mut drain: Option<&mut Drain>) {
        let End::Close(close) = end else { return };
        self.count(close);
        tracing::debug!(reason = %close, "connection of a Chromium closed");
        let last = match close {
            Close::UnknownDevice => self.session.refuse(),
            _ => self.session.close(),
        };
        if self.write(&last).await.is_err() {
            return;
        }
        let read = async {
            let _ = self.io.shutdown().await;
            // Messages that the peer received before the close are not delivered again.
            while let Ok(reading) = self.received.read(&mut self.io, &mut self.session).await {
                match (self.receive(reading), drain.as_deref_mut()) {
                    (Ok(Some(Command::Confirmed { messages, .. })), Some(drain)) => {
                        let messages = messages.into_iter().map(|id| (id, Outcome::Delivered));
                        drain.acknowledge(messages.collect()).await;
                    }
                    (Ok(_), _) => {}
                    (Err(_), _) => break,
                }
            }
        };
        // The connection is dropped even if the peer still sends.
        let _ = timeout(LINGER, read).await;
    }

    fn count(&self, close: Close) {
        let metrics = self.app.service.metrics();
        match close {
            Close::Frame(FrameError::TooLong(_)) => metrics.cut(Limit::FrameBytes),
            Close::LoginTimeout => metrics.cut(Limit::HelloTimeout),
            Close::HeartbeatTimeout => metrics.cut(Limit::PongTimeout),
            Close::UnknownDevice => metrics.refuse("unknown_device"),
            _ => {}
        }
    }
}
