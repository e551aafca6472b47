//! The start of tests of signatures.

use bugle_protocol::key_pair::KeyPair;

use super::app_server::key_pair;
use super::server::Server;
use super::user_agent::{CHANNEL, UserAgent};

/// A service, and one of its endpoints that is restricted to `keys`.
pub struct Scene {
    pub server: Server,
    pub user_agent: UserAgent,
    pub endpoint: String,
    pub keys: KeyPair,
}

impl Scene {
    /// Connects to the service and subscribes.
    pub async fn at(server: Server) -> Self {
        let mut user_agent = UserAgent::connect(&server).await;
        let keys = key_pair(1);
        let key = keys.public_key().to_base64url();
        let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
        Self {
            server,
            user_agent,
            endpoint,
            keys,
        }
    }

    /// The public key as the value of `k`.
    pub fn key(&self) -> String {
        self.keys.public_key().to_base64url()
    }
}
