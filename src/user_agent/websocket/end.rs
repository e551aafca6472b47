//! Ends a connection.

use std::time::Duration;

use bugle_protocol::session::Close;
use bugle_protocol::websocket::ClientMessage;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as SocketError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Connection, acks};
use crate::gate::Refusal;
use crate::service::Error;
use crate::service::registry::Ended;
use crate::user_agent::drain::Drain;

/// How long a closed connection is still read: unread frames of the peer would make TCP send a
/// reset, which may destroy our Close frame. Firefox closes only when TCP is closed.
const LINGER: Duration = Duration::from_secs(1);

/// The maximum of bytes read in that time. A peer that sends more gets a reset.
const LAST_BYTES: u32 = 1 << 20;

/// Why a connection ends.
pub(super) enum End {
    /// A Close frame must be sent.
    Close(Close),
    /// The peer is gone or does not read, so nothing can be sent.
    Lost,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
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
    /// The service cannot serve the connection; the user agent reconnects later.
    fn from(error: Error) -> Self {
        Self::Close(match error {
            Error::Refused(Refusal::BlockedAddress) => Close::Blocked,
            _ => Close::Unavailable,
        })
    }
}

impl From<SocketError> for End {
    fn from(error: SocketError) -> Self {
        match error {
            SocketError::Capacity(CapacityError::MessageTooLong { .. }) => Close::TooBig.into(),
            SocketError::Protocol(_) | SocketError::Utf8(_) => Close::Framing.into(),
            _ => Self::Lost,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Closes the connection unless it is lost. `drain` is its log, after `hello`.
    pub(super) async fn end(&mut self, end: End, drain: Option<&mut Drain>) {
        let End::Close(close) = end else { return };
        self.app.service.metrics().close(&close);
        tracing::debug!(code = close.code(), reason = %close, "WebSocket closed");
        if self.send_close(&close).await {
            let acks = match close {
                Close::GoingAway | Close::Superseded => drain,
                _ => None,
            };
            // The connection is dropped even if the peer still sends.
            let _ = timeout(LINGER, self.drain(acks)).await;
        }
    }

    /// Sends the Close frame. Returns whether it was written.
    async fn send_close(&mut self, close: &Close) -> bool {
        let frame = CloseFrame {
            code: close.code().into(),
            reason: close.to_string().into(),
        };
        let sent = async {
            match self.socket.send(Message::Close(Some(frame))).await {
                // The peer closed first. The library has queued the answer that RFC 6455 §5.5.1
                // requires, but has not sent it.
                Err(SocketError::Protocol(ProtocolError::SendAfterClosing)) => {
                    self.socket.flush().await
                }
                sent => sent,
            }
        };
        let write_timeout = self.app.service.config().user_agent.write_timeout;
        matches!(timeout(write_timeout, sent).await, Ok(Ok(())))
    }

    /// Shuts down our side of TCP without waiting for the peer's Close, because Firefox sends none
    /// and waits until TCP is closed. Then reads what the peer has already sent, up to
    /// [`LAST_BYTES`].
    ///
    /// Only acknowledgements are processed, if `acks` has the log: messages that the user agent
    /// received before the close need not be delivered again. All else is discarded.
    async fn drain(&mut self, acks: Option<&mut Drain>) -> std::io::Result<()> {
        let io = self.socket.get_mut();
        io.shutdown().await?;
        io.end_after(LAST_BYTES);
        if let Some(drain) = acks {
            while let Some(Ok(frame)) = self.socket.next().await {
                if let Message::Text(text) = frame
                    && let Ok(ClientMessage::Ack(ack)) = ClientMessage::parse(&text)
                {
                    acks::acknowledge(drain, &ack.updates).await;
                }
            }
        }
        let mut discarded = [0; 1024];
        while self.socket.get_mut().read(&mut discarded).await? > 0 {}
        Ok(())
    }
}

impl<IO> Drop for Connection<IO> {
    /// Updates the gauge however the connection ends, even by a panic.
    fn drop(&mut self) {
        self.app.service.metrics().user_agents.dec();
    }
}
