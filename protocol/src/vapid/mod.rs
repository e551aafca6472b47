//! Voluntary application server identification (VAPID, RFC 8292) and the two
//! forms of its drafts that senders still use.
//!
//! A push service reads [`Credentials`] from a request and verifies them against its [`Audience`].
//! The result, [`Verified`], can be cached while it is [`Verified::still_valid`]. An application
//! server signs with a [`KeyPair`](crate::KeyPair).

mod audience;
mod error;
mod jwt;

use std::fmt;
use std::time::Duration;

use aws_lc_rs::digest;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

pub use audience::{Audience, AudienceForm};
pub use error::VapidError;

use crate::coding::crypto_key_params;
use crate::key::PublicKey;
use crate::params::{self, Param, WHITE_SPACE};
use crate::time::UnixTime;
use crate::tolerances::Tolerances;
use jwt::Jwt;

/// RFC 8292 §2: the maximum lifetime of a token.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The token and the public key of a request, not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    token: String,
    key: PublicKey,
    form: Form,
}

/// The form of the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// By RFC 8292 and the grammar of RFC 9110.
    Standard,
    /// Deviates from that grammar (`Tolerances::loose_vapid`).
    Loose,
    /// A form of the drafts of RFC 8292 (`Tolerances::legacy_vapid`).
    Legacy,
}

/// An application server that has proved that it holds a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its public key.
    pub key: PublicKey,
    /// When the token expires (`exp`).
    pub expires_at: UnixTime,
    /// Its contact (`sub`), an unverified claim (RFC 8292 §5). Omitted if longer than 512 bytes.
    pub subject: Option<String>,
    /// How the token names this push service.
    pub audience: AudienceForm,
}

/// The unparsed credentials of a request, if it has any. Cached credentials need no parsing.
#[derive(Clone, Copy)]
pub struct Unread<'h>(&'h HeaderMap);

impl<'h> Unread<'h> {
    /// Takes the header fields of a request.
    pub const fn new(headers: &'h HeaderMap) -> Self {
        Self(headers)
    }

    /// SHA-256 of the Authorization field. Returns `None` if other fields contribute to the
    /// credentials (the legacy forms), or if there are none.
    pub fn digest(self) -> Option<[u8; 32]> {
        const SCHEME: &[u8] = b"vapid ";
        let mut fields = self.0.get_all(AUTHORIZATION).iter();
        let field = fields.next()?.as_bytes();
        let is_whole = field
            .get(..SCHEME.len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME));
        (is_whole && fields.next().is_none()).then(|| sha256(&[field]))
    }

    /// Parses the credentials, as [`Credentials::parse`].
    ///
    /// # Errors
    /// As [`Credentials::parse`].
    pub fn read(self, tolerances: &Tolerances) -> Result<Option<Credentials>, VapidError> {
        Credentials::parse(self.0, tolerances)
    }
}

impl Credentials {
    /// Reads the Authorization header field, and Crypto-Key for the legacy forms `WebPush <JWT>`
    /// and `Bearer <JWT>` if they are tolerated (VLEG-a).
    ///
    /// Returns `None` if the request has no VAPID: no such field, or another scheme (V-3).
    ///
    /// # Errors
    /// [`VapidError::Repeated`] if there are several credentials; others if the token or the key is
    /// missing, or the key is invalid. [`Credentials::verify`] checks the token.
    pub fn parse(headers: &HeaderMap, tolerances: &Tolerances) -> Result<Option<Self>, VapidError> {
        let mut fields = headers.get_all(AUTHORIZATION).iter();
        let Some(field) = fields.next() else {
            return Ok(None);
        };
        if fields.next().is_some() {
            return Err(VapidError::Repeated("the Authorization header"));
        }
        let text = String::from_utf8_lossy(field.as_bytes());
        let end = text.find(WHITE_SPACE).unwrap_or(text.len());
        let (scheme, params) = text.split_at(end);
        let rest = params.trim_matches(WHITE_SPACE);
        match scheme.to_ascii_lowercase().as_str() {
            "vapid" => Self::parse_vapid(params, tolerances).map(Some),
            _ if !tolerances.legacy_vapid => Ok(None),
            "webpush" => Self::parse_legacy(rest, headers).map(Some),
            "bearer" if jwt::is_jwt(rest) => Self::parse_legacy(rest, headers).map(Some),
            _ => Ok(None),
        }
    }

    /// RFC 8292 §3: parameters in any order, unknown ones and `realm` ignored.
    /// `credentials = auth-scheme [ 1*SP ( token68 / #auth-param ) ]` (RFC 9110
    /// §11.4).
    fn parse_vapid(text: &str, tolerances: &Tolerances) -> Result<Self, VapidError> {
        let read = params::parse(text).ok_or(VapidError::Malformed)?;
        let token = once(&read.params, "t", "the parameter t")?;
        let key = once(&read.params, "k", "the parameter k")?;
        let (token, key) = match (token, key) {
            (Some(token), Some(key)) => (token, key),
            (None, _) => return Err(VapidError::Missing("t")),
            _ => return Err(VapidError::Missing("k")),
        };
        let is_spaced = !text.trim_start_matches(' ').starts_with('\t');
        let form = match is_spaced && read.is_auth_params && !key.ends_with('=') {
            true => Form::Standard,
            false if tolerances.loose_vapid => Form::Loose,
            false => return Err(VapidError::Grammar),
        };
        Ok(Self {
            token: token.to_owned(),
            key: PublicKey::from_base64url(key)?,
            form,
        })
    }

    /// VLEG-a and VLEG-b.
    fn parse_legacy(token: &str, headers: &HeaderMap) -> Result<Self, VapidError> {
        let params = crypto_key_params(headers).unwrap_or_default();
        let key = once(&params, "p256ecdsa", "the p256ecdsa of Crypto-Key")?;
        Ok(Self {
            token: token.to_owned(),
            key: PublicKey::from_base64url(key.ok_or(VapidError::LegacyKeyMissing)?)?,
            form: Form::Legacy,
        })
    }

    /// The public key that the sender claims to own.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The form in which they were sent.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// SHA-256 of the key and the whole token, as the key of a cache of [`Verified`] (8292-5-b):
    /// its size does not depend on the token.
    pub fn digest(&self) -> [u8; 32] {
        sha256(&[self.key.as_bytes(), self.token.as_bytes()])
    }

    /// Verifies the token: its header, `exp`, `nbf` and `aud`, and finally its signature. `leeway`
    /// is the tolerated clock difference (V-7), applied to both ends.
    ///
    /// # Errors
    /// The first error found (RFC 8292 §4.2).
    pub fn verify(
        &self,
        audience: &Audience,
        tolerances: &Tolerances,
        leeway: Duration,
        now: UnixTime,
    ) -> Result<Verified, VapidError> {
        const LONGEST_SUBJECT: usize = 512;
        let jwt = Jwt::parse(&self.token)?;
        let verified = Verified {
            key: self.key,
            expires_at: jwt.date("exp").map_err(VapidError::ExpiryMalformed)?,
            audience: audience.find_in(jwt.claims.get("aud"), tolerances)?,
            subject: match jwt.claims.get("sub") {
                Some(Value::String(sub)) if sub.len() <= LONGEST_SUBJECT => Some(sub.clone()),
                _ => None,
            },
        };
        verified.still_valid(leeway, now)?;
        // An `nbf` that is not a date is ignored; RFC 8292 does not use it.
        if let Ok(not_before) = jwt.date("nbf")
            && not_before > now + leeway
        {
            return Err(VapidError::NotYetValid(
                not_before.since(now).as_secs(),
                now,
            ));
        }
        jwt.check_signature(&self.key)?;
        Ok(verified)
    }
}

impl Verified {
    /// Whether the token may be used at `now`: it has not expired, and does not expire more than 24
    /// hours ahead. Cheap; check it at each use of a cached result.
    ///
    /// # Errors
    /// [`VapidError::Expired`] and [`VapidError::ExpiryTooFar`].
    pub fn still_valid(&self, leeway: Duration, now: UnixTime) -> Result<(), VapidError> {
        if now > self.expires_at + leeway {
            return Err(VapidError::Expired(
                now.since(self.expires_at).as_secs(),
                now,
            ));
        }
        if self.expires_at > now + MAX_LIFETIME + leeway {
            return Err(VapidError::ExpiryTooFar(
                self.expires_at.since(now).as_secs(),
                now,
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(… {:?})", self.form)
    }
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The value of the parameter `name`. The error of a repeated one calls it `what`.
fn once<'p>(
    params: &'p [Param],
    name: &str,
    what: &'static str,
) -> Result<Option<&'p str>, VapidError> {
    let mut named = params.iter().filter(|param| param.name == name);
    let value = named.next().map(|param| param.value.as_str());
    if named.next().is_some() {
        return Err(VapidError::Repeated(what));
    }
    Ok(value)
}
