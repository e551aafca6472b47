//! JSON Web Tokens as VAPID uses them: JWS compact serialization, ES256
//! (RFC 7515 §7.1, RFC 7518 §3.4).

use std::time::Duration;

use jsonwebtoken::crypto::aws_lc;
use jsonwebtoken::{Algorithm, DecodingKey};
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer;
use serde_json::{Map, Value};

use super::error::{VapidError, excerpt};
use crate::base64url;
use crate::key::PublicKey;
use crate::key_pair::KeyPair;
use crate::time::UnixTime;

/// A parsed token whose signature is not verified yet.
pub(super) struct Jwt<'t> {
    pub(super) claims: Map<String, Value>,
    /// The text that the signature covers.
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Jwt<'t> {
    /// Parses a token and checks its header. Does no cryptography.
    ///
    /// Of a repeated member, the last counts (RFC 7515 §4).
    pub(super) fn parse(token: &'t str) -> Result<Self, VapidError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VapidError::Token)?;
        let (header, claims) = signed.split_once('.').ok_or(VapidError::Token)?;
        let header = object(header, "header")?;
        match header.get("alg") {
            Some(Value::String(alg)) if alg == "ES256" => {}
            Some(other) => return Err(VapidError::Algorithm(excerpt(&other.to_string()))),
            None => return Err(VapidError::Algorithm("absent".to_owned())),
        }
        if header.contains_key("crit") {
            return Err(VapidError::Critical);
        }
        let signature = base64url::decode_strict(signature).map_err(|_| VapidError::Token)?;
        if signature.len() != 64 {
            return Err(VapidError::SignatureLength(signature.len()));
        }
        Ok(Self {
            claims: object(claims, "claims")?,
            signed,
            signature,
        })
    }

    /// Verifies the signature (8292-4.2-i2). This is the only expensive step, so it comes last.
    pub(super) fn check_signature(&self, key: &PublicKey) -> Result<(), VapidError> {
        // Names the backend, instead of inferring it from features that another crate may have
        // enabled.
        let key = DecodingKey::from_ec_der(key.as_bytes());
        let verifier = (aws_lc::DEFAULT_PROVIDER.verifier_factory)(&Algorithm::ES256, &key)
            .map_err(|_| VapidError::Signature)?;
        verifier
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_| VapidError::Signature)
    }

    /// A NumericDate: seconds since 1970, with or without a fraction (V-6). A value out of range
    /// counts as the largest possible time.
    ///
    /// # Errors
    /// A description of the actual value.
    pub(super) fn date(&self, claim: &str) -> Result<UnixTime, &'static str> {
        let seconds = match self.claims.get(claim) {
            Some(Value::Number(number)) => number.as_f64().ok_or("not a number")?,
            Some(Value::String(_)) => return Err("a string"),
            Some(_) => return Err("not a number"),
            None => return Err("absent"),
        };
        if seconds < 0.0 {
            return Err("negative");
        }
        let since_epoch = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Ok(UnixTime::from_millis(0) + since_epoch)
    }
}

/// Decodes one part of a token.
fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, VapidError> {
    let json = base64url::decode_strict(part).map_err(|_| VapidError::Token)?;
    serde_json::from_slice(&json).map_err(|_| VapidError::Json(name))
}

/// Whether `text` has the form of a token: three parts of base64url.
pub(super) fn is_jwt(text: &str) -> bool {
    let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(in_alphabet);
    text.split('.').count() == 3 && text.split('.').all(is_part)
}

impl KeyPair {
    /// Signs a VAPID token for one push service (RFC 8292 §2).
    ///
    /// `audience` is the origin of the endpoint URL, `expires_at` at most 24
    /// hours ahead, `subject` a `mailto:` or `https:` URI.
    pub fn sign(&self, audience: &str, expires_at: UnixTime, subject: Option<&str>) -> String {
        let mut claims = serde_json::json!({ "aud": audience, "exp": expires_at.as_secs() });
        if let Some(subject) = subject {
            claims["sub"] = subject.into();
        }
        self.sign_json(r#"{"typ":"JWT","alg":"ES256"}"#, &claims.to_string())
    }

    /// Signs any header and claims, for tests of verifiers.
    pub fn sign_json(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            base64url::encode(header),
            base64url::encode(claims)
        );
        let signature: Signature = self.signing_key().sign(signed.as_bytes());
        format!("{signed}.{}", base64url::encode(signature.to_bytes()))
    }

    /// The value of an Authorization header field: a token from [`KeyPair::sign`] with the public
    /// key (RFC 8292 §3).
    pub fn authorization(
        &self,
        audience: &str,
        expires_at: UnixTime,
        subject: Option<&str>,
    ) -> String {
        let token = self.sign(audience, expires_at, subject);
        format!("vapid t={token}, k={}", self.public_key().to_base64url())
    }
}
