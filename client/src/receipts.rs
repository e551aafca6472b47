//! Receipts: what became of the messages of an application server (RFC 8030
//! §6.3).

use http::StatusCode;

use crate::http2::{Http2Connection, Monitor};
use crate::{ClientError, Dialer};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The URL of the message, as its push was given it.
    pub message: String,
    /// 204 when its user agent has acknowledged it, 410 when the service has
    /// given up.
    pub status: StatusCode,
}

impl Receipt {
    /// Whether the user agent has acknowledged the message.
    pub fn is_delivered(&self) -> bool {
        self.status == StatusCode::NO_CONTENT
    }
}

/// A receipt subscription that is monitored.
pub struct Receipts {
    monitor: Monitor,
}

impl Receipts {
    /// Connects to the service of the receipt subscription `url`.
    ///
    /// # Errors
    /// When there is no connection, or no HTTP/2 on it.
    pub async fn open(dialer: &Dialer, url: &str) -> Result<Self, ClientError> {
        let connection = Http2Connection::open(dialer, url).await?;
        let monitor = connection.monitor(url, None);
        Ok(Self { monitor })
    }

    /// Waits for the next receipt, for as long as it takes.
    ///
    /// # Errors
    /// [`ClientError::Gone`] when the receipt subscription is;
    /// others when the connection ends.
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
