//! Receipts, which report to an application server the fate of its messages (RFC 8030
//! §6.3).

use http::StatusCode;

use crate::http2::{Http2Connection, Monitor};
use crate::{ClientError, Dialer};

/// The fate of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The URL of the message, as the response to its push gave it.
    pub message: String,
    /// 204 if the user agent has acknowledged the message, 410 if the service has given up.
    pub status: StatusCode,
}

impl Receipt {
    /// Whether the user agent has acknowledged the message.
    pub fn is_delivered(&self) -> bool {
        self.status == StatusCode::NO_CONTENT
    }
}

/// A monitored receipt subscription.
pub struct Receipts {
    monitor: Monitor,
}

impl Receipts {
    /// Connects to the service of the receipt subscription `url`.
    ///
    /// # Errors
    /// When the connection or its HTTP/2 handshake fails.
    pub async fn open(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        let connection = Http2Connection::open(dialer, url).await?;
        let monitor = connection.monitor(url, None);
        Ok(Self { monitor })
    }

    /// Waits without a limit for the next receipt.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the receipt subscription no longer exists; other errors
    /// when the connection ends.
    pub async fn receive(&mut self) -> Result<Receipt, ClientError> {
        let promise = self.monitor.next().await?;
        let message = promise.url.clone();
        let status = promise.response().await?.status();
        match status {
            StatusCode::NO_CONTENT | StatusCode::GONE => Ok(Receipt { message, status }),
            _ => Err(ClientError::Protocol(format!(
                "a receipt with status {}; 204 and 410 are defined (RFC 8030 §6.3)",
                status.as_u16()
            ))),
        }
    }
}
