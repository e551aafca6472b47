//! Subscriptions as application servers see them, and the pushes to them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bugle::Clock;
use bugle_client::{ClientError, Push, Target, new_key_pair};
use bugle_protocol::encryption::SubscriptionKeys;
use bugle_protocol::{KeyPair, PublicKey, Ttl, Urgency};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Request, Version};

use crate::contents::{Contents, MessageName};
use crate::ledger::Terms;

/// Lifetime of VAPID tokens; longer than any run.
const TOKEN_LIFETIME: Duration = Duration::from_secs(23 * 3600);

/// Maximum number of tokens to sign ahead, some 50 MB.
pub const MAX_SIGNED_AHEAD: u64 = 200_000;

/// Bytes that encryption adds to the contents (RFC 8291 §4): header, delimiter and tag.
pub const OVERHEAD: usize = HEADER + 17;

/// Length of the header of an aes128gcm body in bytes: salt 16, record size 4, length of
/// the keyid 1, keyid 65.
pub const HEADER: usize = 86;

/// A push resource and its encryption keys.
#[derive(Debug)]
pub struct Subscription {
    /// The push resource.
    pub target: Target,
    keys: Option<SubscriptionKeys>,
}

impl Subscription {
    /// Creates one from the response to `register`. Without `keys`, bodies have the format
    /// of encrypted ones but are plaintext.
    ///
    /// # Errors
    /// When the endpoint is not an HTTP URL.
    pub fn new(endpoint: &str, keys: Option<SubscriptionKeys>) -> Result<Self, ClientError> {
        let target = Target::new(endpoint)?;
        Ok(Self { target, keys })
    }
}

/// The subscriptions of all user agents of a run.
#[derive(Debug)]
pub struct Subscriptions(Vec<Mutex<Option<Arc<Subscription>>>>);

impl Subscriptions {
    /// No subscriptions yet for this many user agents.
    pub fn new(user_agents: u32) -> Self {
        Self((0..user_agents).map(|_| Mutex::default()).collect())
    }

    /// The subscription of a user agent, if it has one.
    pub fn get(&self, user_agent: u32) -> Option<Arc<Subscription>> {
        let slot = self.0.get(user_agent as usize)?;
        slot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets or removes the subscription of a user agent.
    pub fn set(&self, user_agent: u32, subscription: Option<Arc<Subscription>>) {
        if let Some(slot) = self.0.get(user_agent as usize) {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = subscription;
        }
    }
}

/// The properties of a push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushSpec {
    /// TTL and topic.
    pub terms: Terms,
    /// `None` omits the header.
    pub urgency: Option<Urgency>,
    /// Bytes of the posted body, at least those of the message header and of the
    /// encryption.
    pub size: usize,
}

/// How pushes are signed (RFC 8292).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// One token per origin.
    Once,
    /// A new token for each push.
    Fresh,
    /// No signature.
    Not,
}

/// Creates, encrypts and signs pushes.
#[derive(Debug)]
pub struct PushBuilder {
    contents: Contents,
    signing: Signing,
    vapid: KeyPair,
    key: PublicKey,
    /// The sender's public key in prepared bodies.
    keyid: PublicKey,
    clock: Clock,
    /// The current token and its origin.
    token: Mutex<Option<(String, HeaderValue)>>,
    fresh: AtomicU64,
    /// Tokens that were signed ahead, and their origin.
    ahead: Mutex<(String, Vec<HeaderValue>)>,
}

impl PushBuilder {
    /// Creates one with new keys.
    pub fn new(contents: Contents, signing: Signing, clock: Clock) -> Self {
        let vapid = new_key_pair();
        Self {
            contents,
            signing,
            key: vapid.public_key(),
            vapid,
            keyid: new_key_pair().public_key(),
            clock,
            token: Mutex::default(),
            fresh: AtomicU64::new(0),
            ahead: Mutex::default(),
        }
    }

    /// The key to which `register` restricts subscriptions, if pushes are signed.
    pub fn key(&self) -> Option<&PublicKey> {
        (self.signing != Signing::Not).then_some(&self.key)
    }

    /// The request for a push.
    ///
    /// # Errors
    /// When the message is too long to encrypt, or the request is invalid.
    pub fn request(
        &self,
        to: &Subscription,
        name: MessageName,
        spec: &PushSpec,
        version: Version,
    ) -> Result<Request<Bytes>, ClientError> {
        let topic = spec.terms.topic.map(|topic| format!("topic-{topic}"));
        let push = Push {
            text: None,
            ttl: Ttl::from_secs(spec.terms.ttl.into()),
            urgency: spec.urgency,
            topic: topic.and_then(|topic| topic.parse().ok()),
            receipt: None,
        };
        let contents = self
            .contents
            .print(name, spec.size.saturating_sub(OVERHEAD));
        let body = self.body(to, &contents)?;
        push.request(&to.target, version, self.authorization(to), Some(body))
    }

    fn body(&self, to: &Subscription, contents: &[u8]) -> Result<Vec<u8>, ClientError> {
        if let Some(keys) = &to.keys {
            let mut salt = [0; 16];
            // Run, user agent and number are unique to the message.
            salt.copy_from_slice(&contents[..16]);
            return Ok(keys.encrypt(contents, &new_key_pair(), salt)?);
        }
        let mut body = Vec::with_capacity(contents.len() + OVERHEAD);
        body.extend([0; 16]);
        body.extend(4096_u32.to_be_bytes());
        body.push(65);
        body.extend(self.keyid.as_bytes());
        body.extend(contents);
        body.extend([0; 17]);
        Ok(body)
    }

    /// Signs tokens ahead for `count` pushes to a service, at most [`MAX_SIGNED_AHEAD`], so that
    /// signing does not delay due pushes. Blocks. Does nothing unless each push has its own
    /// token.
    pub fn sign_ahead(&self, to: &Subscription, count: u64) {
        if self.signing == Signing::Fresh {
            let tokens = (0..count.min(MAX_SIGNED_AHEAD)).filter_map(|_| self.sign_fresh(to));
            let signed = (to.target.origin().to_owned(), tokens.collect());
            *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = signed;
        }
    }

    fn authorization(&self, to: &Subscription) -> Option<HeaderValue> {
        match self.signing {
            Signing::Not => None,
            Signing::Fresh => self.take_ahead(to).or_else(|| self.sign_fresh(to)),
            Signing::Once => self.token_in_use(to),
        }
    }

    fn take_ahead(&self, to: &Subscription) -> Option<HeaderValue> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let (signed, tokens) = &mut *ahead;
        if *signed == to.target.origin() {
            tokens.pop()
        } else {
            None
        }
    }

    fn sign_fresh(&self, to: &Subscription) -> Option<HeaderValue> {
        let number = self.fresh.fetch_add(1, Ordering::Relaxed);
        self.sign(to, Some(&format!("mailto:{number}@load.example")))
    }

    fn token_in_use(&self, to: &Subscription) -> Option<HeaderValue> {
        let origin = to.target.origin();
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        match &*token {
            Some((signed, token)) if signed == origin => Some(token.clone()),
            _ => {
                let value = self.sign(to, None)?;
                *token = Some((origin.to_owned(), value.clone()));
                Some(value)
            }
        }
    }

    fn sign(&self, to: &Subscription, subject: Option<&str>) -> Option<HeaderValue> {
        let origin = to.target.url().origin().ascii_serialization();
        let expires_at = self.clock.now() + TOKEN_LIFETIME;
        let value = self.vapid.authorization(&origin, expires_at, subject);
        HeaderValue::from_str(&value).ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_push_has_its_own_token_signed_ahead_or_not() {
        let builder = PushBuilder::new(Contents::new(1), Signing::Fresh, Clock::system());
        let one = Subscription::new("http://127.0.0.1:1/push/a", None).unwrap();
        let elsewhere = Subscription::new("http://127.0.0.1:2/push/a", None).unwrap();
        builder.sign_ahead(&one, 2);
        let tokens = [&one, &elsewhere, &one, &one].map(|to| builder.authorization(to).unwrap());
        assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 4);
        // Both tokens that were signed ahead were used, and only for their origin.
        assert_eq!(builder.fresh.load(Ordering::Relaxed), 4);
    }
}
