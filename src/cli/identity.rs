//! The identity of `bugle listen`, kept in a file across restarts.

use std::path::Path;

use bugle_client::{
    McsDevice, PushSubscription, Subscription, new_channel_id, new_user_agent_keys,
};
use bugle_protocol::ChannelId;
use bugle_protocol::encryption::UserAgentKeys;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Failure, files};

/// A user agent with one subscription. Anyone who has this file receives its pushes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The URL of its service, with the scheme of the protocol in use.
    pub server: String,
    /// Its id at the service over the WebSocket; `None` before the first registration.
    pub uaid: Option<String>,
    /// Its only channel at the service.
    pub channel: ChannelId,
    /// Its only subscription over HTTP (RFC 8030); `None` before the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// Its credentials in the push protocol of Chromium; `None` before the first check-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<McsDevice>,
    /// The key to which the subscription is restricted, in base64url.
    pub vapid_key: Option<String>,
    /// The endpoint for its pushes; `None` before the first registration.
    pub endpoint: Option<String>,
    /// The keys that its pushes are encrypted with.
    pub keys: UserAgentKeys,
}

impl Identity {
    /// Creates a user agent that no service knows yet.
    pub(super) fn new(server: &Url, vapid_key: Option<String>) -> Self {
        Self {
            server: server.to_string(),
            uaid: None,
            channel: new_channel_id(),
            subscription: None,
            device: None,
            vapid_key,
            endpoint: None,
            keys: new_user_agent_keys(),
        }
    }

    /// The subscription for application servers; `None` before the registration.
    pub(super) fn subscription(&self) -> Option<PushSubscription> {
        let endpoint = self.endpoint.clone()?;
        let keys = self.keys.subscription_keys();
        Some(PushSubscription { endpoint, keys })
    }

    /// Reads the identity in `path`; returns `None` if there is no file.
    ///
    /// # Errors
    /// If the file cannot be read or is not an identity.
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

    /// Writes the identity for the next start.
    ///
    /// # Errors
    /// If the file cannot be written.
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
    fn an_identity_reads_back_from_its_file() {
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
