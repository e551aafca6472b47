//! P-256 key pairs for clients: to sign VAPID tokens (RFC 8292) or to encrypt messages (RFC 8291
//! §3.1). Never use one pair for both (RFC 8292 §3.2).

use std::fmt;

use p256::SecretKey;
use p256::ecdh::diffie_hellman;
use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};

use crate::base64url;
use crate::key::PublicKey;

/// A private key on P-256 with its precomputed public key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair(SigningKey);

/// The input is not a private key on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyPairError {
    /// The text contains characters outside the base64url alphabet.
    #[error("the private key is not base64url (RFC 4648 §5: no '+', '/' or white space)")]
    Encoding,
    /// A private key must be 32 bytes long.
    #[error("the private key has {0} octets; one on P-256 has 32")]
    Length(usize),
    /// The number is 0, or not less than the order of the curve.
    #[error("the 32 octets are not a private key on P-256: draw new random ones")]
    Range,
    /// Neither PKCS #8 nor SEC 1, or not on P-256.
    #[error(
        "the PEM text holds no private key on P-256: expected BEGIN PRIVATE KEY (PKCS #8) or \
         BEGIN EC PRIVATE KEY (SEC 1), not encrypted"
    )]
    Pem,
    /// Not a JSON object with the members of RFC 7518 §6.2.
    #[error("the JWK is not a JSON object with kty, crv and d, and if it has x and y, with both")]
    Jwk,
    /// `kty` is not `EC`, or `crv` not `P-256`.
    #[error("the JWK is not a key on P-256: expected kty EC and crv P-256")]
    JwkCurve,
    /// `x` and `y` do not match `d`.
    #[error("the x and y of the JWK are not the public key that belongs to its d")]
    JwkMismatch,
}

/// RFC 7518 §6.2.
#[derive(Serialize, Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: Option<String>,
    y: Option<String>,
    d: String,
}

impl KeyPair {
    /// Creates a pair from 32 bytes, random or stored.
    ///
    /// # Errors
    /// [`KeyPairError::Range`] for about one in 2^32 random inputs: use other random bytes.
    pub fn from_bytes(octets: &[u8; 32]) -> Result<Self, KeyPairError> {
        SigningKey::from_slice(octets)
            .map(Self)
            .map_err(|_| KeyPairError::Range)
    }

    /// The 32 bytes of the private key.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// Decodes the raw private key from base64url, with or without padding, as `web-push
    /// generate-vapid-keys` prints it.
    ///
    /// # Errors
    /// If the text is not base64url of a private key.
    pub fn from_base64url(text: &str) -> Result<Self, KeyPairError> {
        let octets = base64url::decode(text.trim()).map_err(|_| KeyPairError::Encoding)?;
        let octets = octets
            .try_into()
            .map_err(|octets: Vec<u8>| KeyPairError::Length(octets.len()))?;
        Self::from_bytes(&octets)
    }

    /// The raw private key: 43 characters of base64url.
    pub fn to_base64url(&self) -> String {
        base64url::encode(self.to_bytes())
    }

    /// Reads PEM, PKCS #8 or SEC 1. Skips blocks before the key, such as the parameters that
    /// `openssl ecparam` prints.
    ///
    /// # Errors
    /// [`KeyPairError::Pem`].
    pub fn from_pem(text: &str) -> Result<Self, KeyPairError> {
        let begins = ["-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY"];
        let start = begins.iter().find_map(|begin| text.find(begin));
        let block = text[start.unwrap_or(0)..].trim_end();
        SecretKey::from_pem(block)
            .map(|secret| Self(secret.into()))
            .map_err(|_| KeyPairError::Pem)
    }

    /// Prints PKCS #8 in PEM.
    ///
    /// # Errors
    /// [`KeyPairError::Pem`] if the encoder fails, which no known key causes.
    pub fn to_pem(&self) -> Result<String, KeyPairError> {
        let pem = self.0.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| pem.to_string())
            .map_err(|_| KeyPairError::Pem)
    }

    /// Reads a private JSON Web Key (RFC 7518 §6.2); other members are ignored.
    ///
    /// # Errors
    /// If it is not a key on P-256, or its public part does not match.
    pub fn from_jwk(json: &str) -> Result<Self, KeyPairError> {
        let jwk: Jwk = serde_json::from_str(json).map_err(|_| KeyPairError::Jwk)?;
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return Err(KeyPairError::JwkCurve);
        }
        let pair = Self::from_base64url(&jwk.d)?;
        let (x, y) = pair.coordinates();
        match (jwk.x, jwk.y) {
            (None, None) => Ok(pair),
            (Some(given_x), Some(given_y)) if given_x == x && given_y == y => Ok(pair),
            (Some(_), Some(_)) => Err(KeyPairError::JwkMismatch),
            _ => Err(KeyPairError::Jwk),
        }
    }

    /// Prints a private JSON Web Key (RFC 7518 §6.2), including its public part.
    pub fn to_jwk(&self) -> String {
        let (x, y) = self.coordinates();
        let d = self.to_base64url();
        serde_json::json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "d": d }).to_string()
    }

    /// The public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from(&p256::PublicKey::from(self.0.verifying_key()))
    }

    /// The coordinates of the public key, each in base64url.
    fn coordinates(&self) -> (String, String) {
        let point = self.public_key();
        let (x, y) = point.as_bytes()[1..].split_at(32);
        (base64url::encode(x), base64url::encode(y))
    }

    /// The key that signs (RFC 8292 §2).
    pub(crate) fn signing_key(&self) -> &SigningKey {
        &self.0
    }

    /// ECDH (RFC 8291 §3.1): the shared secret with the owner of `other`.
    #[expect(clippy::expect_used, reason = "the invariant is stated")]
    pub(crate) fn shared_secret(&self, other: &PublicKey) -> [u8; 32] {
        let point = p256::PublicKey::from_sec1_bytes(other.as_bytes())
            .expect("a PublicKey is on the curve: its constructors check that");
        let shared = diffie_hellman(self.0.as_nonzero_scalar(), point.as_affine());
        (*shared.raw_secret_bytes()).into()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(…)")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn pair() -> KeyPair {
        KeyPair::from_bytes(&[7; 32]).unwrap()
    }

    #[test]
    fn every_form_is_read_back() {
        let pair = pair();
        for read in [
            KeyPair::from_bytes(&pair.to_bytes()),
            KeyPair::from_base64url(&pair.to_base64url()),
            KeyPair::from_base64url(&format!("{}=\n", pair.to_base64url())),
            KeyPair::from_pem(&pair.to_pem().unwrap()),
            KeyPair::from_jwk(&pair.to_jwk()),
        ] {
            assert_eq!(read.as_ref(), Ok(&pair));
        }
    }

    /// Made by `openssl ecparam -name prime256v1 -genkey`.
    #[test]
    fn sec1_pem_after_its_parameters_is_read() {
        let read = KeyPair::from_pem(include_str!("../tests/vectors/sec1.pem")).unwrap();
        let again = KeyPair::from_pem(&read.to_pem().unwrap());
        assert_eq!(again, Ok(read));
    }

    #[test]
    fn a_malformed_key_is_refused() {
        assert_eq!(KeyPair::from_bytes(&[0; 32]), Err(KeyPairError::Range));
        assert_eq!(KeyPair::from_bytes(&[0xff; 32]), Err(KeyPairError::Range));
        assert_eq!(KeyPair::from_base64url("+/"), Err(KeyPairError::Encoding));
        assert_eq!(
            KeyPair::from_base64url("AAAA"),
            Err(KeyPairError::Length(3))
        );
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----",
            "é-----BEGIN EC PRIVATE KEY é",
        ] {
            assert_eq!(KeyPair::from_pem(text), Err(KeyPairError::Pem), "{text}");
        }
    }

    #[test]
    fn a_jwk_of_another_key_or_curve_is_refused() {
        let jwk = pair().to_jwk();
        let other = KeyPair::from_bytes(&[8; 32]).unwrap();
        let mixed = jwk.replace(&pair().to_base64url(), &other.to_base64url());
        assert_eq!(KeyPair::from_jwk(&mixed), Err(KeyPairError::JwkMismatch));
        let curve = jwk.replace("P-256", "P-384");
        assert_eq!(KeyPair::from_jwk(&curve), Err(KeyPairError::JwkCurve));
        assert_eq!(KeyPair::from_jwk("[]"), Err(KeyPairError::Jwk));
    }

    #[test]
    fn debug_shows_no_secret() {
        assert_eq!(format!("{:?}", pair()), "KeyPair(…)");
    }
}
