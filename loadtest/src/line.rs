//! The connection of a user agent: by WebSocket as Firefox, or by MCS as Chromium.

use bugle_client::{ClientError, McsDevice, McsRegistration, McsUserAgent, Notification};
use url::Url;

use crate::run::Run;

/// The site as which user agents subscribe; `chromium.origins` must admit it.
const SITE: &str = "https://localhost";

/// Names of received messages that a device keeps for its next login, because the service may not
/// have removed them.
const KEPT: usize = 1000;

/// The code of an acknowledgement: delivered (WS-N-8).
const DELIVERED: u16 = 100;

/// An open connection.
pub enum Line {
    /// By WebSocket.
    WebSocket(Box<bugle_client::UserAgent>),
    /// By MCS.
    Mcs(Box<McsUserAgent>),
}

/// A device that connects by MCS.
#[derive(Default)]
pub struct Device {
    credentials: Option<McsDevice>,
    registration: Option<McsRegistration>,
    /// The names of the last messages that it received.
    received: Vec<String>,
}

impl Line {
    /// Waits without a limit for the next message. Cancellation-safe.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn receive(&mut self) -> Result<Notification, ClientError> {
        match self {
            Self::WebSocket(agent) => agent.receive().await,
            Self::Mcs(agent) => agent.receive().await,
        }
    }

    /// Acknowledges a message.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn acknowledge(&mut self, notification: &Notification) -> Result<(), ClientError> {
        match self {
            Self::WebSocket(agent) => agent.acknowledge(notification, DELIVERED).await,
            Self::Mcs(agent) => agent.acknowledge().await,
        }
    }

    /// Closes the connection. Returns whether the service has read everything before.
    pub async fn close(self) -> bool {
        match self {
            Self::WebSocket(agent) => agent.close().await,
            Self::Mcs(mut agent) => agent.ping().await.is_ok(),
        }
    }
}

impl Device {
    /// Whether it is registered.
    pub fn is_registered(&self) -> bool {
        self.registration.is_some()
    }

    /// Remembers a message for the next login.
    pub fn has_received(&mut self, notification: &Notification) {
        if self.received.len() >= KEPT {
            self.received.drain(..KEPT / 2);
        }
        self.received.push(notification.version.clone());
    }

    /// Registers, after its first check-in. Returns the endpoint.
    ///
    /// # Errors
    /// When the service refuses, or the run signs no pushes: a Chromium subscribes with a key only.
    pub async fn register(&mut self, run: &Run, id: String) -> Result<String, ClientError> {
        let url = http(&run.setup.url);
        let key = run.pushes.key().copied();
        let key = key.ok_or_else(|| {
            ClientError::Protocol(
                "a Chromium subscribes with a key only: do not use --unsigned".to_owned(),
            )
        })?;
        let credentials = match &self.credentials {
            Some(known) => known.clone(),
            None => McsDevice::check_in(&run.dialer, &url, None).await?,
        };
        let site = SITE.to_owned();
        let registration = McsRegistration { site, id, key };
        let token = credentials
            .register(&run.dialer, &url, &registration)
            .await?;
        self.credentials = Some(credentials);
        self.registration = Some(registration);
        Ok(format!("{url}push/{token}"))
    }

    /// Logs in.
    ///
    /// # Errors
    /// When it has not checked in, or the connection fails.
    pub async fn connect(&self, run: &Run) -> Result<Line, ClientError> {
        let known = self.credentials.as_ref().ok_or_else(not_registered)?;
        let (url, received) = (http(&run.setup.url), self.received.clone());
        let agent = McsUserAgent::connect(&run.dialer, &url, known, received).await?;
        Ok(Line::Mcs(Box::new(agent)))
    }

    /// Ends its registration.
    ///
    /// # Errors
    /// When the service refuses.
    pub async fn unregister(&mut self, run: &Run) -> Result<(), ClientError> {
        let registration = self.registration.take().ok_or_else(not_registered)?;
        let known = self.credentials.as_ref().ok_or_else(not_registered)?;
        let url = http(&run.setup.url);
        known.unregister(&run.dialer, &url, &registration).await
    }
}

fn not_registered() -> ClientError {
    ClientError::Protocol("the device is not registered".to_owned())
}

/// The URL for HTTP of that for user agents.
fn http(url: &Url) -> Url {
    let mut http = url.clone();
    let scheme = match url.scheme() {
        "wss" | "https" => "https",
        _ => "http",
    };
    // Both schemes are special, so one may replace the other.
    let _ = http.set_scheme(scheme);
    http
}
