//! How a connection ends.

use std::time::Duration;

use bugle_protocol::session::Close;
use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as SocketError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::Connection;
use crate::error::Error;

/// For how long a closed connection is read, so that the peer's last frames do
/// not turn our Close into a reset. Firefox leaves when TCP ends, not before.
const LINGER: Duration = Duration::from_secs(1);

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

impl From<Error> for End {
    /// The service cannot do its part; the user agent comes back later.
    fn from(_: Error) -> Self {
        Self::Close(Close::Unavailable)
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
    /// Ends the connection, as far as it has not ended itself.
    pub(super) async fn end(&mut self, end: End) {
        if let End::Close(close) = end {
            self.site.service.metrics().close(&close);
            tracing::debug!(code = close.code(), reason = %close, "WebSocket closed");
            self.close(&close).await;
        }
        self.site.service.metrics().user_agents.dec();
    }

    /// Sends the Close frame and ends TCP without waiting for the peer's:
    /// Firefox does not answer one, and stays until TCP is closed.
    async fn close(&mut self, close: &Close) {
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
        let patience = self.site.service.config().user_agent.write_timeout;
        if !matches!(timeout(patience, said).await, Ok(Ok(()))) {
            return;
        }
        let io = self.socket.get_mut();
        let drained = async {
            io.shutdown().await?;
            let mut scrap = [0; 256];
            while io.read(&mut scrap).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // A peer that keeps on talking, or has gone, is left.
        let _ = timeout(LINGER, drained).await;
    }
}
