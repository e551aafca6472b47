//! Message encryption for Web Push, as application servers and user agents perform it: `aes128gcm`
//! (RFC 8291) and its predecessor `aesgcm` (draft-ietf-webpush-encryption-04). The push service
//! does not use it.
//!
//! An application server holds [`SubscriptionKeys`] and encrypts; the user
//! agent holds [`UserAgentKeys`] and decrypts.

mod aes128gcm;
mod aesgcm;
mod content_key;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::base64url;
use crate::coding::{ContentCoding, aesgcm_key};
use crate::key::PublicKey;
use crate::key_pair::{KeyPair, KeyPairError};

/// Maximum length of a plaintext in bytes: it fits a body of 4096, the size that every push service
/// accepts (RFC 8291 §4).
pub const MAX_PLAINTEXT: usize = 3993;

/// The message cannot be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// RFC 8291 §4.
    #[error("the message has {0} octets; at most {MAX_PLAINTEXT} can be encrypted (RFC 8291 §4)")]
    TooLong(usize),
}

/// The message cannot be decrypted. A user agent discards it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// Shorter than its header and an empty record.
    #[error("the encrypted body has only {0} octets")]
    TooShort(usize),
    /// RFC 8291 §4: the keyid must be a point on P-256 of 65 bytes.
    #[error("the keyid of the body is not a P-256 point of 65 octets (RFC 8291 §4)")]
    KeyId,
    /// The aesgcm draft, §3 and §4.
    #[error("the Encryption header has no salt of 16 octets, or Crypto-Key no valid dh")]
    Headers,
    /// The tag does not match.
    #[error("the message was changed on its way, or is for other keys")]
    Authentication,
    /// RFC 8188 §2: a 0x02 before the padding; in aesgcm, two bytes of length before it.
    #[error("the message is not padded as its content coding says")]
    Padding,
}

/// The `keys` of a PushSubscription, with which messages are encrypted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionKeys {
    /// The user agent's public key.
    #[serde(serialize_with = "print", deserialize_with = "read_key")]
    pub p256dh: PublicKey,
    /// The authentication secret (RFC 8291 §3.2).
    #[serde(serialize_with = "print", deserialize_with = "read_auth")]
    pub auth: [u8; 16],
}

/// The private half of a subscription, for the user agent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAgentKeys {
    #[serde(serialize_with = "print_pair", deserialize_with = "read_pair")]
    private: KeyPair,
    #[serde(serialize_with = "print", deserialize_with = "read_auth")]
    auth: [u8; 16],
}

impl UserAgentKeys {
    /// Creates the keys from random bytes.
    ///
    /// # Errors
    /// For about one in 2^32 values of `private`: use other random bytes.
    pub fn from_random(private: &[u8; 32], auth: [u8; 16]) -> Result<Self, KeyPairError> {
        let private = KeyPair::from_bytes(private)?;
        Ok(Self { private, auth })
    }

    /// The public half, for the application server.
    pub fn subscription_keys(&self) -> SubscriptionKeys {
        SubscriptionKeys {
            p256dh: self.private.public_key(),
            auth: self.auth,
        }
    }

    /// Decrypts a message in either coding.
    ///
    /// # Errors
    /// If the message is for other keys, was altered, or is malformed.
    pub fn decrypt(&self, coding: &ContentCoding, body: &[u8]) -> Result<Vec<u8>, DecryptError> {
        match coding {
            ContentCoding::Aes128gcm => aes128gcm::decrypt(self, body),
            ContentCoding::Aesgcm {
                encryption,
                crypto_key,
            } => {
                let sender = aesgcm_key(encryption, crypto_key);
                let sender = sender.map_err(|_| DecryptError::Headers)?;
                aesgcm::decrypt(self, encryption, &sender, body)
            }
        }
    }
}

impl SubscriptionKeys {
    /// Encrypts as in RFC 8291. Returns the body of a push with `Content-Encoding: aes128gcm`, in
    /// one record of size 4096.
    ///
    /// `ephemeral` and `salt` must be random and used for this message only.
    ///
    /// # Errors
    /// If the plaintext is longer than [`MAX_PLAINTEXT`] bytes.
    pub fn encrypt(
        &self,
        plaintext: &[u8],
        ephemeral: &KeyPair,
        salt: [u8; 16],
    ) -> Result<Vec<u8>, EncryptError> {
        check_length(plaintext)?;
        Ok(aes128gcm::encrypt(self, plaintext, ephemeral, salt))
    }

    /// Encrypts as in draft-ietf-webpush-encryption-04. Returns the header fields and the body of a
    /// push with `Content-Encoding: aesgcm`, for receivers that cannot read the standard's coding.
    ///
    /// # Errors
    /// If the plaintext is longer than [`MAX_PLAINTEXT`] bytes.
    pub fn encrypt_aesgcm(
        &self,
        plaintext: &[u8],
        ephemeral: &KeyPair,
        salt: [u8; 16],
    ) -> Result<(ContentCoding, Vec<u8>), EncryptError> {
        check_length(plaintext)?;
        let coding = ContentCoding::Aesgcm {
            encryption: format!("salt={}", base64url::encode(salt)),
            crypto_key: format!("dh={}", ephemeral.public_key().to_base64url()),
        };
        let body = aesgcm::encrypt(self, plaintext, ephemeral, salt);
        Ok((coding, body))
    }
}

fn check_length(plaintext: &[u8]) -> Result<(), EncryptError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(EncryptError::TooLong(plaintext.len()));
    }
    Ok(())
}

impl fmt::Debug for SubscriptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubscriptionKeys(…)")
    }
}

impl fmt::Debug for UserAgentKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserAgentKeys(…)")
    }
}

fn print<S: Serializer>(octets: &impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&base64url::encode(octets))
}

fn print_pair<S: Serializer>(pair: &KeyPair, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&pair.to_base64url())
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
    let text = String::deserialize(deserializer)?;
    PublicKey::from_base64url(&text).map_err(de::Error::custom)
}

fn read_pair<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyPair, D::Error> {
    let text = String::deserialize(deserializer)?;
    KeyPair::from_base64url(&text).map_err(de::Error::custom)
}

fn read_auth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
    let text = String::deserialize(deserializer)?;
    base64url::decode(&text)
        .ok()
        .and_then(|octets| octets.try_into().ok())
        .ok_or_else(|| de::Error::custom("auth is not 16 octets in base64url (RFC 8291 §3.2)"))
}
