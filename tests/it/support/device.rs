//! A device of Chromium: checks in, registers, and receives.

use std::time::Duration;

use bugle::Config;
use bugle::config::{Origins, Sites};
use bugle_client::{ClientError, Dialer, McsDevice, McsRegistration, McsUserAgent, Notification};
use bugle_protocol::KeyPair;
use tokio::time::timeout;
use url::Url;

use super::app_server::{Push, decrypted, key_pair, user_agent_keys};
use super::secrets;
use super::server::Server;
use super::user_agent::TIMEOUT;

/// The site that the tests' services admit.
pub const SITE: &str = "https://site.example";

/// Switches Chromium on, for [`SITE`] alone.
pub fn chromium(config: &mut Config) {
    config.chromium.enabled = true;
    let site = SITE.parse().unwrap();
    config.chromium.origins = Sites::Of(Origins::from_iter([site]));
}

/// A device with one registration.
pub struct Device {
    pub dialer: Dialer,
    pub device: McsDevice,
    pub registration: McsRegistration,
    pub token: String,
    pub keys: KeyPair,
}

/// The base of the routes of a service.
pub fn base(server: &Server) -> Url {
    server.origin().parse().unwrap()
}

/// A registration of the admitted site.
pub fn registration(seed: u8, id: &str) -> McsRegistration {
    McsRegistration {
        site: SITE.to_owned(),
        id: id.to_owned(),
        key: key_pair(seed).public_key(),
    }
}

impl Device {
    /// Checks in as a new device and registers.
    pub async fn new(server: &Server) -> Self {
        let dialer = Dialer::new(None).unwrap();
        let device = McsDevice::check_in(&dialer, &base(server), None)
            .await
            .unwrap();
        secrets::see(&device.security_token.to_string());
        secrets::see(&device.id.to_string());
        let registration = registration(1, "3F2504E0-4F89-41D3-9A0C-0305E82C3301");
        secrets::see(&registration.subtype());
        let mut this = Self {
            dialer,
            device,
            registration,
            token: String::new(),
            keys: key_pair(1),
        };
        this.token = this.register(server).await.unwrap();
        this
    }

    /// Registers, again or for the first time.
    pub async fn register(&self, server: &Server) -> Result<String, ClientError> {
        let (url, device) = (base(server), &self.device);
        let registered = device.register(&self.dialer, &url, &self.registration);
        let token = registered.await?;
        secrets::see(&token);
        Ok(token)
    }

    pub async fn unregister(&self, server: &Server) {
        let (url, device) = (base(server), &self.device);
        let ended = device.unregister(&self.dialer, &url, &self.registration);
        ended.await.unwrap();
    }

    /// The endpoint, with the host of the service.
    pub fn endpoint(&self, server: &Server) -> String {
        format!("{}/fcm/send/{}", server.origin(), self.token)
    }

    /// A signed push.
    pub fn push<'s>(&self, server: &'s Server) -> Push<'s> {
        Push::to(server, &self.endpoint(server)).signed(&self.keys)
    }

    /// Logs in.
    pub async fn connect(&self, server: &Server) -> McsUserAgent {
        self.reconnect(server, &[]).await
    }

    /// Logs in with the names of messages that were received before.
    pub async fn reconnect(&self, server: &Server, received: &[String]) -> McsUserAgent {
        let connected = self.try_connect(server, received).await;
        connected.unwrap()
    }

    pub async fn try_connect(
        &self,
        server: &Server,
        received: &[String],
    ) -> Result<McsUserAgent, ClientError> {
        let (url, received) = (base(server), received.to_vec());
        McsUserAgent::connect(&self.dialer, &url, &self.device, received).await
    }
}

/// The next message, decrypted.
pub async fn text(agent: &mut McsUserAgent) -> String {
    let message = next(agent).await;
    let text = message.decrypt(&user_agent_keys()).unwrap();
    String::from_utf8(text.unwrap_or_default()).unwrap()
}

/// The next message.
pub async fn next(agent: &mut McsUserAgent) -> Notification {
    let message = timeout(TIMEOUT, agent.receive()).await;
    let message = message.expect("a message").unwrap();
    secrets::see(&message.version);
    message
}

/// Waits until the service closes the connection.
pub async fn closed(agent: &mut McsUserAgent) {
    let end = async { while agent.receive().await.is_ok() {} };
    timeout(TIMEOUT, end).await.expect("the service closes");
}

/// Asserts that nothing arrives: neither before the answer to a heartbeat nor with it.
pub async fn is_quiet(agent: &mut McsUserAgent) {
    agent.ping().await.unwrap();
}

/// Waits until nothing more is in flight at a service: a heartbeat after the confirmation.
pub async fn confirm(agent: &mut McsUserAgent) {
    agent.acknowledge().await.unwrap();
    agent.ping().await.unwrap();
}

/// A short heartbeat, for tests of silence.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// Checks that a body is the text that was encrypted.
pub fn is_text(message: &Notification, expected: &str) {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let body = message.data.as_ref().unwrap();
    assert_eq!(decrypted(&URL_SAFE_NO_PAD.decode(body).unwrap()), expected);
}
