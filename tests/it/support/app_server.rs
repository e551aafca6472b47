//! An application server that sends pushes, optionally signed and encrypted.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::key_pair::KeyPair;
use bugle_protocol::{ContentCoding, UnixTime};

use super::http::{self, Reply, Version};
use super::secrets;
use super::server::Server;

/// The deterministic key pair for a seed.
pub fn key_pair(seed: u8) -> KeyPair {
    let keys = KeyPair::from_bytes(&[seed; 32]).unwrap();
    secrets::see(&keys.public_key().to_base64url());
    keys
}

/// The encryption keys of the user agent in the tests.
pub fn user_agent_keys() -> UserAgentKeys {
    let keys = UserAgentKeys::from_random(&[200; 32], [201; 16]).unwrap();
    secrets::see(&serde_json::to_string(&keys.subscription_keys()).unwrap());
    keys
}

/// A text, encrypted for [`user_agent_keys`].
pub fn encrypted(text: &str) -> Vec<u8> {
    let keys = user_agent_keys().subscription_keys();
    keys.encrypt(text.as_bytes(), &key_pair(202), [203; 16])
        .unwrap()
}

/// Decrypts the result of [`encrypted`].
pub fn decrypted(body: &[u8]) -> String {
    let plain = user_agent_keys()
        .decrypt(&ContentCoding::Aes128gcm, body)
        .unwrap();
    String::from_utf8(plain).unwrap()
}

/// An `Authorization` value signed for the service.
pub fn authorization(server: &Server, keys: &KeyPair) -> String {
    let expires_at = UnixTime::from_secs(server.now() + 12 * 3600);
    keys.authorization(&server.origin(), expires_at, None)
}

/// A push that is being built.
#[derive(Clone)]
pub struct Push<'s> {
    server: &'s Server,
    path: String,
    version: Version,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl<'s> Push<'s> {
    /// A push without a body, TTL 60.
    pub fn to(server: &'s Server, endpoint: &str) -> Self {
        let path = endpoint
            .strip_prefix(&server.origin())
            .expect("an endpoint of the service");
        let headers = vec![("ttl".to_owned(), "60".to_owned())];
        let (path, version, body) = (path.to_owned(), Version::of_run(), Vec::new());
        Self {
            server,
            path,
            version,
            headers,
            body,
        }
    }

    /// Sets a header and removes others with its name.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.without(name).another(name, value)
    }

    /// Adds a header.
    pub fn another(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self
    }

    pub fn ttl(self, secs: u64) -> Self {
        self.header("ttl", &secs.to_string())
    }

    pub fn topic(self, topic: &str) -> Self {
        self.header("topic", topic)
    }

    pub fn signed(self, keys: &KeyPair) -> Self {
        let authorization = authorization(self.server, keys);
        self.header("authorization", &authorization)
    }

    /// The value of `Authorization`.
    pub fn authorization(&self) -> &str {
        let mut headers = self.headers.iter();
        headers
            .find(|(name, _)| name == "authorization")
            .map_or("", |(_, value)| value)
    }

    /// Sets an encrypted text as the body.
    pub fn text(self, text: &str) -> Self {
        self.body(encrypted(text))
            .header("content-encoding", "aes128gcm")
    }

    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub fn over(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sends it.
    pub async fn send(&self) -> Reply {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let (authority, path) = (self.server.authority(), self.path.as_str());
        http::send(self.version, authority, "POST", path, &headers, &self.body).await
    }

    /// Sends the push, asserts that it is accepted, and returns the URL of the message.
    pub async fn accepted(&self) -> String {
        let reply = self.send().await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").to_owned()
    }
}

/// Sends a request without a body to a resource.
pub async fn ask(server: &Server, method: &str, url: &str) -> Reply {
    let path = url
        .strip_prefix(&server.origin())
        .expect("a URL of the service");
    let version = Version::of_run();
    http::send(version, server.authority(), method, path, &[], b"").await
}

/// Standard base64, an alphabet that is not valid for keys.
pub fn standard_base64(octets: &[u8]) -> String {
    STANDARD.encode(octets)
}
