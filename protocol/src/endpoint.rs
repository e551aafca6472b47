//! Endpoint and message URLs: opaque tokens that only this service can open.
//!
//! A token contains, encrypted, what the service needs to find its resource, so no index from URLs
//! to subscriptions is needed. It is deterministic (AES-256-GCM-SIV over a value that is unique to
//! the resource), so the same subscription always has the same URL. Every byte of a token depends
//! on every byte of its content, so two URLs of one user agent have nothing in common (RFC 8030
//! §8.2).

use std::ops::RangeInclusive;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::base64url;
use crate::id::{ChannelId, MessageId, ReceiptSubscriptionId, SubscriptionId, Uaid};

/// The content of a push resource's token (RFC 8030 §5): one life of one subscription. A
/// subscription resource's token (§4) has the same content, but neither URL can be derived from the
/// other (§8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushEndpoint {
    /// The user agent of the subscription.
    pub uaid: Uaid,
    /// The channel.
    pub channel: ChannelId,
    /// The life of the subscription; each life has its own endpoint.
    pub subscription: SubscriptionId,
}

/// The content of a push message resource's token (RFC 8030 §5). The token is also the `version` in
/// the WebSocket protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageUrl {
    /// The user agent whose log contains the message.
    pub uaid: Uaid,
    /// The message.
    pub id: MessageId,
}

/// The content of a subscription set resource's token (RFC 8030 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionSetUrl(pub Uaid);

/// The content of a receipt subscription resource's token (RFC 8030 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptSubscriptionUrl(pub ReceiptSubscriptionId);

/// The keys of the tokens: the first seals, all open.
///
/// To rotate keys, put the new key first, and keep old keys as long as their URLs must work.
pub struct Keyring(Vec<LessSafeKey>);

/// The keyring has no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a keyring needs at least one key")]
pub struct EmptyKeyring;

/// The text is not a token of this kind sealed by one of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token that this service has issued")]
pub struct BadToken;

/// Associated data that binds a token to its kind and format version, so that no token opens as
/// another kind (RFC 8030 §8.3).
const PUSH: &[u8] = b"bugle push endpoint 1";
const MESSAGE: &[u8] = b"bugle message 1";
const SUBSCRIPTION: &[u8] = b"bugle subscription 1";
const SUBSCRIPTION_SET: &[u8] = b"bugle subscription set 1";
const RECEIPT_SUBSCRIPTION: &[u8] = b"bugle receipt subscription 1";
const HANDLE: &[u8] = b"bugle handle 1";

impl Keyring {
    /// Creates a keyring from keys of 32 random bytes, the sealing key first.
    ///
    /// # Errors
    /// If there is no key.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self, EmptyKeyring> {
        let keys: Vec<_> = keys
            .iter()
            .filter_map(|key| UnboundKey::new(&AES_256_GCM_SIV, key).ok())
            .map(LessSafeKey::new)
            .collect();
        if keys.is_empty() {
            Err(EmptyKeyring)
        } else {
            Ok(Self(keys))
        }
    }

    /// With a fixed nonce, equal plaintexts seal to equal tokens, and nothing else leaks: the
    /// purpose of AES-GCM-SIV (RFC 8452 §4).
    pub(crate) fn seal(&self, kind: &[u8], plain: &[u8]) -> String {
        base64url::encode(self.seal_octets(kind, plain))
    }

    /// A code over `octets` for each key of the ring, the sealing key first: without that key it
    /// can be neither made nor guessed. AES-GCM-SIV's tag is a pseudorandom function of its input.
    pub(crate) fn codes<'k>(
        &'k self,
        kind: &'k [u8],
        octets: &'k [u8],
    ) -> impl Iterator<Item = [u8; 8]> + 'k {
        self.0.iter().filter_map(move |key| {
            let sealed = seal_with(key, kind, octets);
            sealed.last_chunk().copied()
        })
    }

    /// A pseudonym for logs and operators: it gives no access, and cannot be converted to or from
    /// the original without the key. 16 hex digits, stable as long as the first key is.
    pub fn handle(&self, octets: &[u8]) -> String {
        let sealed = self.seal_octets(HANDLE, octets);
        // A part of a sealed value cannot be opened.
        let last = sealed.iter().rev().take(8);
        last.map(|octet| format!("{octet:02x}")).collect()
    }

    fn seal_octets(&self, kind: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_with(&self.0[0], kind, plain)
    }

    fn open<const LENGTH: usize>(
        &self,
        kind: &[u8],
        token: &str,
    ) -> Result<[u8; LENGTH], BadToken> {
        let plain = self.open_any(kind, token, LENGTH..=LENGTH)?;
        plain.try_into().map_err(|_| BadToken)
    }

    /// Opens a token whose content has one of these lengths in bytes.
    pub(crate) fn open_any(
        &self,
        kind: &[u8],
        token: &str,
        lengths: RangeInclusive<usize>,
    ) -> Result<Vec<u8>, BadToken> {
        let tag = AES_256_GCM_SIV.tag_len();
        // Four characters of a token are three bytes. This bounds what is decoded.
        if token.len() > (lengths.end() + tag).div_ceil(3) * 4 {
            return Err(BadToken);
        }
        let sealed = base64url::decode_strict(token).map_err(|_| BadToken)?;
        let length = sealed.len().checked_sub(tag).ok_or(BadToken)?;
        if !lengths.contains(&length) {
            return Err(BadToken);
        }
        self.0
            .iter()
            .find_map(|key| {
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let mut sealed = sealed.clone();
                let plain = key.open_in_place(nonce, Aad::from(kind), &mut sealed);
                plain.ok().map(|plain| plain.to_vec())
            })
            .ok_or(BadToken)
    }
}

fn seal_with(key: &LessSafeKey, kind: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut sealed = plain.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    match key.seal_in_place_append_tag(nonce, Aad::from(kind), &mut sealed) {
        Ok(()) => sealed,
        Err(_) => unreachable!("AES-GCM-SIV refuses only inputs of many gigabytes"),
    }
}

impl PushEndpoint {
    /// The last segment of the endpoint's URL: 86 characters of base64url.
    pub fn seal(&self, keyring: &Keyring) -> String {
        self.seal_as(PUSH, keyring)
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as an endpoint.
    pub fn open(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        Self::open_as(PUSH, keyring, token)
    }

    /// The last segment of the subscription's own URL, which only its user agent gets: 86
    /// characters of base64url.
    pub fn seal_subscription(&self, keyring: &Keyring) -> String {
        self.seal_as(SUBSCRIPTION, keyring)
    }

    /// Opens what [`seal_subscription`](Self::seal_subscription) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a subscription.
    pub fn open_subscription(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        Self::open_as(SUBSCRIPTION, keyring, token)
    }

    /// The [handle](Keyring::handle) of the subscription.
    pub fn handle(&self, keyring: &Keyring) -> String {
        keyring.handle(&self.octets())
    }

    fn seal_as(&self, kind: &[u8], keyring: &Keyring) -> String {
        keyring.seal(kind, &self.octets())
    }

    fn octets(&self) -> Vec<u8> {
        let parts = [
            self.uaid.as_bytes(),
            self.channel.as_bytes(),
            self.subscription.as_bytes(),
        ];
        parts.map(|part| *part).concat()
    }

    fn open_as(kind: &[u8], keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        let plain = keyring.open::<48>(kind, token)?;
        let part = |at: usize| -> [u8; 16] { std::array::from_fn(|i| plain[at + i]) };
        Ok(Self {
            uaid: Uaid::from_bytes(part(0)),
            channel: ChannelId::from_bytes(part(16)),
            subscription: SubscriptionId::from_bytes(part(32)),
        })
    }
}

impl SubscriptionSetUrl {
    /// The last segment of the set's URL: 43 characters of base64url.
    pub fn seal(&self, keyring: &Keyring) -> String {
        keyring.seal(SUBSCRIPTION_SET, self.0.as_bytes())
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a subscription set.
    pub fn open(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        let plain = keyring.open(SUBSCRIPTION_SET, token)?;
        Ok(Self(Uaid::from_bytes(plain)))
    }
}

impl ReceiptSubscriptionUrl {
    /// The last segment of the receipt subscription's URL: 43 characters of
    /// base64url.
    pub fn seal(&self, keyring: &Keyring) -> String {
        keyring.seal(RECEIPT_SUBSCRIPTION, self.0.as_bytes())
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a receipt subscription.
    pub fn open(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        let plain = keyring.open(RECEIPT_SUBSCRIPTION, token)?;
        Ok(Self(ReceiptSubscriptionId::from_bytes(plain)))
    }
}

impl MessageUrl {
    /// The last segment of the message's URL: 54 characters of base64url.
    pub fn seal(&self, keyring: &Keyring) -> String {
        let mut plain = [0; 24];
        plain[..16].copy_from_slice(self.uaid.as_bytes());
        plain[16..].copy_from_slice(&self.id.get().to_be_bytes());
        keyring.seal(MESSAGE, &plain)
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    /// If no key of the ring sealed it as a message.
    pub fn open(keyring: &Keyring, token: &str) -> Result<Self, BadToken> {
        let plain = keyring.open::<24>(MESSAGE, token)?;
        Ok(Self {
            uaid: Uaid::from_bytes(std::array::from_fn(|i| plain[i])),
            id: MessageId::new(u64::from_be_bytes(std::array::from_fn(|i| plain[16 + i]))),
        })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const ENDPOINT: PushEndpoint = PushEndpoint {
        uaid: Uaid::from_bytes([1; 16]),
        channel: ChannelId::from_bytes([2; 16]),
        subscription: SubscriptionId::from_bytes([3; 16]),
    };
    const MESSAGE_7: MessageUrl = MessageUrl {
        uaid: Uaid::from_bytes([1; 16]),
        id: MessageId::new(7),
    };

    #[test]
    fn a_token_opens_to_what_was_sealed_and_is_always_the_same() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let token = ENDPOINT.seal(&keyring);
        assert_eq!(token.len(), 86);
        assert_eq!(token, ENDPOINT.seal(&keyring));
        assert_eq!(PushEndpoint::open(&keyring, &token), Ok(ENDPOINT));
        assert_eq!(
            MessageUrl::open(&keyring, &MESSAGE_7.seal(&keyring)),
            Ok(MESSAGE_7)
        );
    }

    #[test]
    fn a_handle_stays_the_same_and_is_no_part_of_a_token() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let handle = ENDPOINT.handle(&keyring);
        assert_eq!(handle, ENDPOINT.handle(&keyring));
        assert!(handle.len() == 16 && handle.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_ne!(handle, keyring.handle(ENDPOINT.uaid.as_bytes()));
        let other = Keyring::new(&[[8; 32]]).unwrap();
        assert_ne!(handle, ENDPOINT.handle(&other));
    }

    #[test]
    fn tokens_of_older_keys_open_after_a_rotation() {
        let old = Keyring::new(&[[9; 32]]).unwrap();
        let rotated = Keyring::new(&[[8; 32], [9; 32]]).unwrap();
        let dropped = Keyring::new(&[[8; 32]]).unwrap();
        let token = ENDPOINT.seal(&old);
        assert_eq!(PushEndpoint::open(&rotated, &token), Ok(ENDPOINT));
        assert_ne!(ENDPOINT.seal(&rotated), token);
        assert_eq!(PushEndpoint::open(&dropped, &token), Err(BadToken));
    }

    #[test]
    fn no_token_opens_as_another_kind() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let as_endpoint = keyring.seal(PUSH, &[0; 24]);
        assert_eq!(MessageUrl::open(&keyring, &as_endpoint), Err(BadToken));
    }

    #[test]
    fn a_subscription_and_its_endpoint_do_not_open_each_other() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let (push, own) = (
            ENDPOINT.seal(&keyring),
            ENDPOINT.seal_subscription(&keyring),
        );
        assert_eq!(
            PushEndpoint::open_subscription(&keyring, &own),
            Ok(ENDPOINT)
        );
        assert_eq!(PushEndpoint::open(&keyring, &own), Err(BadToken));
        assert_eq!(
            PushEndpoint::open_subscription(&keyring, &push),
            Err(BadToken)
        );
        let set = SubscriptionSetUrl(ENDPOINT.uaid);
        let token = set.seal(&keyring);
        assert_eq!(SubscriptionSetUrl::open(&keyring, &token), Ok(set));
        assert!(ReceiptSubscriptionUrl::open(&keyring, &token).is_err());
    }

    #[test]
    fn tokens_of_neighbouring_ids_have_nothing_in_common() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let next = MessageUrl {
            id: MessageId::new(8),
            ..MESSAGE_7
        };
        let (one, other) = (MESSAGE_7.seal(&keyring), next.seal(&keyring));
        let same = one
            .bytes()
            .zip(other.bytes())
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 10, "{same} of 54 characters are the same");
    }

    #[test]
    fn the_format_has_not_changed() {
        let keyring = Keyring::new(&[[9; 32]]).unwrap();
        let token = "aOOygrE-bTK_8XfZNX49ys4OURquj_Ufxqh72ExUvb63dS-M-bS0yA";
        assert_eq!(MESSAGE_7.seal(&keyring), token);
    }
}
