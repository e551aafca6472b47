//! P-256 public keys: `k` in VAPID, `key` in `register`, `keyid` and `dh` in message encryption.

use std::fmt;
use std::hash::{Hash, Hasher};

use p256::elliptic_curve::sec1::ToSec1Point;
use subtle::ConstantTimeEq;

use crate::base64url;

/// A point on P-256 in uncompressed form, 65 bytes (RFC 8292 §3.2), verified to be on the curve.
#[derive(Clone, Copy, Eq)]
pub struct PublicKey([u8; 65]);

/// The input is not an uncompressed P-256 point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text contains characters outside the base64url alphabet.
    #[error("the key is not base64url (RFC 4648 §5: no '+', '/' or white space)")]
    Encoding,
    /// A point must be 65 bytes long.
    #[error("the key has {0} octets; an uncompressed P-256 point has 65")]
    Length(usize),
    /// The first byte is not 0x04, or the point is not on the curve.
    #[error("the 65 octets of the key are not an uncompressed point on P-256")]
    NotOnCurve,
}

impl PublicKey {
    /// Decodes base64url, with or without padding (V-8).
    ///
    /// # Errors
    /// If the text is not base64url of an uncompressed point on the curve.
    pub fn from_base64url(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&base64url::decode(text).map_err(|_| KeyError::Encoding)?)
    }

    /// Creates it from the 65 bytes of an uncompressed point.
    ///
    /// # Errors
    /// If there are not 65 bytes, the first is not 0x04, or the point is not on the curve.
    pub fn from_bytes(octets: &[u8]) -> Result<Self, KeyError> {
        let point = <[u8; 65]>::try_from(octets).map_err(|_| KeyError::Length(octets.len()))?;
        if point[0] != 0x04 || p256::PublicKey::from_sec1_bytes(&point).is_err() {
            return Err(KeyError::NotOnCurve);
        }
        Ok(Self(point))
    }

    /// Restores a key from stored [`as_bytes`](Self::as_bytes). It does not check again that the
    /// point is on the curve, which would be the most expensive part of reading a subscription.
    ///
    /// # Errors
    /// If there are not 65 bytes.
    pub fn from_kept(octets: &[u8]) -> Result<Self, KeyError> {
        let point = octets.try_into();
        point.map(Self).map_err(|_| KeyError::Length(octets.len()))
    }

    /// Restores a key from [`compressed`](Self::compressed).
    ///
    /// # Errors
    /// If it is not the compressed form of a point on the curve.
    pub fn from_compressed(octets: &[u8; 33]) -> Result<Self, KeyError> {
        let point = p256::PublicKey::from_sec1_bytes(octets);
        point
            .map(|point| Self::from(&point))
            .map_err(|_| KeyError::NotOnCurve)
    }

    /// The 33 bytes of its compressed form (SEC 1 §2.3.3).
    pub fn compressed(&self) -> [u8; 33] {
        let mut octets = [0; 33];
        octets.copy_from_slice(&self.0[..33]);
        octets[0] = 2 + (self.0[64] & 1);
        octets
    }

    /// The 65 bytes; the first is 0x04.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// Encodes as 87 characters of base64url, without padding.
    pub fn to_base64url(&self) -> String {
        base64url::encode(self.0)
    }
}

impl From<&p256::PublicKey> for PublicKey {
    fn from(key: &p256::PublicKey) -> Self {
        let mut point = [0; 65];
        point.copy_from_slice(key.to_sec1_point(false).as_bytes());
        Self(point)
    }
}

impl AsRef<[u8]> for PublicKey {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for PublicKey {
    /// Compares in constant time: a subscription's key is compared with keys that attackers send.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for PublicKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(…)")
    }
}
