//! Errors of VAPID credentials.

use crate::key::KeyError;
use crate::time::UnixTime;

/// Why VAPID credentials are refused. The sender is at fault; the message says how to fix it, and
/// shows neither the token nor the key.
///
/// [`VapidError::Repeated`] makes the request ambiguous (V-15); with all others, authentication was
/// attempted and failed (RFC 8292 §4.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VapidError {
    /// V-15: more than one is present.
    #[error("{0} stands more than once: send one")]
    Repeated(&'static str),
    /// RFC 9110 §11.4.
    #[error("the Authorization header cannot be read: send `vapid t=<JWT>, k=<public key>`")]
    Malformed,
    /// RFC 9110 §11.4, RFC 8292 §3.2 (`Tolerances::loose_vapid`).
    #[error(
        "the Authorization header is not `vapid t=<JWT>, k=<public key>` to the letter: commas \
         alone separate the parameters, and the key has no padding (RFC 9110 §11.4)"
    )]
    Grammar,
    /// 8292-4.2-i1.
    #[error("the Authorization header has no {0}: send `vapid t=<JWT>, k=<public key>`")]
    Missing(&'static str),
    /// VLEG-a.
    #[error(
        "the token came without its key: send `Crypto-Key: p256ecdsa=<public key>` with it, or \
         better `Authorization: vapid t=<JWT>, k=<public key>`"
    )]
    LegacyKeyMissing,
    /// RFC 8292 §3.2.
    #[error("the VAPID key is not valid: {0}")]
    Key(#[from] KeyError),
    /// RFC 7515 §7.1.
    #[error("the VAPID token is not a JWT: three parts of base64url without padding, dots between")]
    Token,
    /// RFC 7519 §7.2.
    #[error("the {0} of the VAPID token is not a JSON object")]
    Json(&'static str),
    /// 8292-2-g.
    #[error("the alg of the VAPID token is {0}; only \"ES256\" is possible (RFC 8292 §2)")]
    Algorithm(String),
    /// V-17.
    #[error("the VAPID token has crit in its header; no extension is understood here")]
    Critical,
    /// 8292-2-c.
    #[error(
        "the exp of the VAPID token is {0}: send a number, the seconds since 1970 of a time \
         within 24 hours (RFC 8292 §2)"
    )]
    ExpiryMalformed(&'static str),
    /// 8292-4.2-i3: seconds since the expiry, and the time of the service.
    #[error(
        "the VAPID token expired {0} seconds ago by the clock of this service, which shows {1}: \
         sign a new one, and set the clock that is wrong"
    )]
    Expired(u64, UnixTime),
    /// 8292-2-d: seconds until the expiry, and the time of the service.
    #[error(
        "the VAPID token expires in {0} seconds by the clock of this service, which shows {1}; \
         more than 86400 (24 hours) is not allowed (RFC 8292 §2)"
    )]
    ExpiryTooFar(u64, UnixTime),
    /// RFC 7519 §4.1.5: seconds until `nbf`, and the time of the service.
    #[error(
        "the nbf of the VAPID token is {0} seconds ahead of the clock of this service, which \
         shows {1}: set the clock that is wrong"
    )]
    NotYetValid(u64, UnixTime),
    /// 8292-2-b.
    #[error("the aud of the VAPID token is {got}; the origin of this push service is {expected}")]
    Audience {
        /// The origin that must be in `aud`.
        expected: String,
        /// The actual value, shortened.
        got: String,
    },
    /// RFC 7518 §3.4.
    #[error("the signature of the VAPID token has {0} octets; ES256 has 64: r, then s, not DER")]
    SignatureLength(usize),
    /// 8292-4.2-i2.
    #[error("the VAPID token was not signed with the private key that belongs to k")]
    Signature,
}

/// At most 100 characters of the sender's text, without control characters.
pub(super) fn excerpt(text: &str) -> String {
    const LENGTH: usize = 100;
    let printable = |c: char| {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.to_string()
        }
    };
    let mut shown: String = text.chars().take(LENGTH).map(printable).collect();
    if text.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    shown
}
