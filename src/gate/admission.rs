//! Admission: decides which user agents a restricted service accepts.
//!
//! A user agent connects over WebSocket or with `POST /subscribe` (RFC 8030 §4). Both are checked
//! here against what a plain server URL can carry: a secret path, a token, HTTP Basic credentials,
//! and the client address. The subscriptions and subscription sets that it receives are
//! capabilities, so reading them checks only the address again. Application servers are not
//! checked: the endpoint they push to is a capability too.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, request};
use subtle::ConstantTimeEq;

use crate::config::AdmissionConfig;
use crate::gate::Refusal;

/// The query parameter that carries the token.
const TOKEN: &str = "token";

/// The checks configured in `[admission]`; by default there are none.
pub struct Admission(AdmissionConfig);

impl Admission {
    /// Applies the section `[admission]`.
    pub fn new(config: &AdmissionConfig) -> Self {
        Self(config.clone())
    }

    /// Strips the secret path from `path`: the result is `/` for the WebSocket or `/subscribe`.
    /// Returns `None` if `path` does not begin with the secret.
    pub fn entrance<'p>(&self, path: &'p str) -> Option<&'p str> {
        let Some(secret) = &self.0.path else {
            return Some(path);
        };
        let below = path.strip_prefix('/')?;
        let (segment, rest) = match below.find('/') {
            Some(slash) => below.split_at(slash),
            None => (below, "/"),
        };
        is_equal(segment, secret.reveal()).then_some(rest)
    }

    /// Checks a user agent's request from `address` to the entrance `at` (`/` or `/subscribe`).
    ///
    /// # Errors
    /// [`Refusal::Address`], [`Refusal::Path`] if the secret path is missing, [`Refusal::Token`],
    /// [`Refusal::Password`].
    pub fn check(&self, parts: &request::Parts, address: IpAddr, at: &str) -> Result<(), Refusal> {
        self.check_address(address)?;
        if self.entrance(parts.uri.path()) != Some(at) {
            return Err(Refusal::Path);
        }
        if let Some(token) = &self.0.token {
            let query = parts.uri.query().unwrap_or_default();
            let mut fields = url::form_urlencoded::parse(query.as_bytes());
            let given = fields.find(|(name, _)| name == TOKEN);
            if !given.is_some_and(|(_, given)| is_equal(&given, token.reveal())) {
                return Err(Refusal::Token);
            }
        }
        if let Some(credentials) = &self.0.basic {
            let given = basic(&parts.headers);
            if !given.is_some_and(|given| bool::from(given.ct_eq(credentials.reveal().as_bytes())))
            {
                return Err(Refusal::Password);
            }
        }
        Ok(())
    }

    /// Checks whether user agents may connect from `address`.
    ///
    /// # Errors
    /// [`Refusal::Address`]
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        match self.0.addresses.admit(address.to_canonical()) {
            true => Ok(()),
            false => Err(Refusal::Address),
        }
    }
}

/// Compares in constant time: the duration depends only on the lengths.
fn is_equal(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

/// Returns `user:password` from HTTP Basic (RFC 7617 §2).
fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    let field = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = field.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| STANDARD.decode(credentials.trim()).ok())?
}
