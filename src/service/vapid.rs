//! Authenticates the sender of a push by VAPID. A verified token is cached until it expires,
//! because senders use one for hours, and checking a signature is the most expensive part of a
//! push.

use std::time::Duration;

use bugle_protocol::vapid::{Audience, AudienceForm, Form, Unread, VapidError, Verified};
use bugle_protocol::{PublicKey, Tolerances, UnixTime};
use quick_cache::sync::Cache;

use crate::observe::metrics::Metrics;

/// Checks VAPID credentials against the origin of this service.
pub struct Verifier {
    audience: Audience,
    tolerances: Tolerances,
    leeway: Duration,
    /// Verified credentials by their digest, with the form in which they were first read.
    known: Cache<[u8; 32], (Verified, Form)>,
}

/// An application server that has signed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its public key.
    pub key: PublicKey,
    /// The form of the audience in its token.
    pub audience: AudienceForm,
    /// The form of its credentials.
    pub form: Form,
}

impl Verifier {
    /// Caches up to `capacity` tokens. `leeway` is the tolerance for clocks that differ.
    pub fn new(
        audience: Audience,
        tolerances: Tolerances,
        leeway: Duration,
        capacity: usize,
    ) -> Self {
        Self {
            audience,
            tolerances,
            leeway,
            known: Cache::new(capacity),
        }
    }

    /// Returns the signer of a request, or `None` if it has no VAPID credentials. Calls `admit`
    /// before it checks a signature that is not in the cache.
    ///
    /// # Errors
    /// If the credentials are invalid (RFC 8292 §4.2); the error of `admit`.
    pub fn verify<E: From<VapidError>>(
        &self,
        given: Unread<'_>,
        now: UnixTime,
        metrics: &Metrics,
        admit: impl FnOnce() -> Result<(), E>,
    ) -> Result<Option<Sender>, E> {
        let unread = given.digest();
        if let Some((known, form)) = unread.and_then(|digest| self.known.get(&digest)) {
            return Ok(Some(self.vouch(&known, form, now, metrics)?));
        }
        let Some(credentials) = given.read(&self.tolerances)? else {
            return Ok(None);
        };
        let digest = unread.unwrap_or_else(|| credentials.digest());
        let form = credentials.form();
        // This digest does not determine the form.
        if unread.is_none()
            && let Some((known, _)) = self.known.get(&digest)
        {
            return Ok(Some(self.vouch(&known, form, now, metrics)?));
        }
        admit()?;
        metrics.signatures.inc();
        let mut verified =
            credentials.verify(&self.audience, &self.tolerances, self.leeway, now)?;
        // The contact is not needed again.
        verified.subject = None;
        let sender = Sender::of(&verified, form);
        self.known.insert(digest, (verified, form));
        Ok(Some(sender))
    }

    /// Returns the signer of a cached token, unless it has expired since.
    fn vouch(
        &self,
        known: &Verified,
        form: Form,
        now: UnixTime,
        metrics: &Metrics,
    ) -> Result<Sender, VapidError> {
        metrics.known_tokens.inc();
        known.still_valid(self.leeway, now)?;
        Ok(Sender::of(known, form))
    }
}

impl Sender {
    const fn of(verified: &Verified, form: Form) -> Self {
        Self {
            key: verified.key,
            audience: verified.audience,
            form,
        }
    }
}
