//! Who may come in as a user agent, where a service is not for everybody.
//!
//! A user agent comes in by the WebSocket or by `POST /subscribe` (RFC 8030 §4),
//! and shows there what is asked of it: all that a plain server URL can carry.
//! The subscriptions and sets that it is given are capabilities: only the
//! address is looked at again where they are read. Application servers are not
//! concerned: their endpoint is a capability too.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, request};
use subtle::ConstantTimeEq;

use crate::config::AdmissionConfig;
use crate::gate::Refusal;

/// The parameter of the URL that carries the token.
const TOKEN: &str = "token";

/// What is asked of user agents; nothing by default.
pub struct Admission(AdmissionConfig);

impl Admission {
    /// What the section `[admission]` says.
    pub fn new(config: &AdmissionConfig) -> Self {
        Self(config.clone())
    }

    /// What `path` would be without the secret path: `/` for the WebSocket,
    /// `/subscribe`. `None` when it does not begin with the secret.
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

    /// Whether a user agent from `address` may come in by a request to one of
    /// the entrances, `at`.
    ///
    /// # Errors
    /// [`Refusal::Address`], [`Refusal::Path`] where the secret path is missing,
    /// [`Refusal::Token`], [`Refusal::Password`].
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

    /// Whether a user agent may come from an address.
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

/// Compares in a time that depends on the lengths alone.
fn is_equal(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

/// The `user:password` of HTTP Basic (RFC 7617 §2).
fn basic(headers: &HeaderMap) -> Option<Vec<u8>> {
    let field = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = field.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| STANDARD.decode(credentials.trim()).ok())?
}
