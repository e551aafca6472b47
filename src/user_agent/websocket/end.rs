//! How a connection ends.

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

/// For how long a closed connection is read, so that the peer's last frames do
/// not turn our Close into a reset. Firefox leaves when TCP ends, not before.
const LINGER: Duration = Duration::from_secs(1);

/// How much is read meanwhile, in bytes. A peer that sends more was not going
/// to stop, and a reset is what it gets.
const LAST_BYTES: u32 = 1 << 20;

/// Why a connection ends.
pub(super) enum End {
    /// A Close frame is owed.
    Close(Close),
    /// The peer is gone, or does not read: nothing can be sent.
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
    /// The service cannot do its part; the user agent comes back later.
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
    /// Ends the connection, as far as it has not ended itself. `drain` is what it
    /// has read, after `hello`.
    pub(super) async fn end(&mut self, end: End, drain: Option<&mut Drain>) {
        let End::Close(close) = end else { return };
        self.app.service.metrics().close(&close);
        tracing::debug!(code = close.code(), reason = %close, "WebSocket closed");
        if self.say_close(&close).await {
            let acks = match close {
                Close::GoingAway | Close::Superseded => drain,
                _ => None,
            };
            // A peer that keeps on sending, or has gone, is left.
            let _ = timeout(LINGER, self.drain(acks)).await;
        }
    }

    /// Sends the Close frame, and says whether it went out.
    async fn say_close(&mut self, close: &Close) -> bool {
        let frame = CloseFrame {
            code: close.code().into(),
            reason: close.to_string().into(),
        };
        let said = async {
            match self.socket.send(Message::Close(Some(frame))).await {
                // The peer closed first. The library has made the answer, which
                // RFC 6455 §5.5.1 asks for, and has yet to send it.
                Err(SocketError::Protocol(ProtocolError::SendAfterClosing)) => {
                    self.socket.flush().await
                }
                said => said,
            }
        };
        let patience = self.app.service.config().user_agent.write_timeout;
        matches!(timeout(patience, said).await, Ok(Ok(())))
    }

    /// Ends our side of TCP without waiting for the peer's Close (Firefox does
    /// not answer one, and stays until TCP is closed), and reads what is on the
    /// way, up to a bound.
    ///
    /// Nothing of that is obeyed. Acknowledgements of `acks` count: what a user
    /// agent had before it was told to go need not come to it again.
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
        let mut scrap = [0; 1024];
        while self.socket.get_mut().read(&mut scrap).await? > 0 {}
        Ok(())
    }
}

impl<IO> Drop for Connection<IO> {
    /// However it ends, also by a panic.
    fn drop(&mut self) {
        self.app.service.metrics().user_agents.dec();
    }
}
