//! Who `bugle listen` is, kept in a file so that it can come back.

use std::path::Path;

use bugle_client::{PushSubscription, Subscription, new_channel_id, new_user_agent_keys};
use bugle_protocol::ChannelId;
use bugle_protocol::encryption::UserAgentKeys;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, files};

/// A user agent with one subscription. Whoever has this receives its pushes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The URL of its service, in the scheme of the protocol it speaks.
    pub server: String,
    /// What the service calls it over the WebSocket; `None` before the first
    /// registration.
    pub uaid: Option<String>,
    /// Its one channel there.
    pub channel: ChannelId,
    /// Its one subscription over HTTP (RFC 8030); `None` before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// The key that the subscription is restricted to, in base64url.
    pub vapid_key: Option<String>,
    /// Where its pushes are sent to; `None` before the first registration.
    pub endpoint: Option<String>,
    /// What its pushes are encrypted for.
    pub keys: UserAgentKeys,
}

impl Identity {
    /// A user agent that no service knows yet.
    pub(super) fn new(server: &Url, vapid_key: Option<String>) -> Self {
        Self {
            server: server.to_string(),
            uaid: None,
            channel: new_channel_id(),
            subscription: None,
            vapid_key,
            endpoint: None,
            keys: new_user_agent_keys(),
        }
    }

    /// What an application server is given; `None` before the registration.
    pub(super) fn subscription(&self) -> Option<PushSubscription> {
        let endpoint = self.endpoint.clone()?;
        let keys = self.keys.subscription_keys();
        Some(PushSubscription { endpoint, keys })
    }

    /// The identity in `path`; `None` when there is no file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        if !path.try_exists()? {
            return Ok(None);
        }
        let identity = serde_json::from_str(&files::read(path)?).map_err(|error| {
            let file = path.display();
            format!("{file} is no identity of bugle listen ({error}): name another by --identity")
        })?;
        Ok(Some(identity))
    }

    /// Keeps it for the next start.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self, path: &Path) -> Result<(), Failure> {
        Ok(files::replace_private(
            path,
            &serde_json::to_string_pretty(self)?,
        )?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn it_comes_back_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        assert!(Identity::load(&path).unwrap().is_none());
        let server = Url::parse("ws://127.0.0.1:8080").unwrap();
        let mut identity = Identity::new(&server, None);
        assert!(identity.subscription().is_none());
        identity.endpoint = Some("http://127.0.0.1:8080/push/a".to_owned());
        identity.save(&path).unwrap();
        assert!(Identity::load(&path).unwrap().unwrap() == identity);
        std::fs::write(&path, "{}").unwrap();
        let error = Identity::load(&path).err().unwrap().to_string();
        assert!(
            error.contains("identity.json") && error.contains("--identity"),
            "{error}"
        );
    }
}
