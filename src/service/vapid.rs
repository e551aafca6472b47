//! Who signed a push. A token is checked once and then remembered until it
//! expires: senders use one for hours, and its signature is the dearest part
//! of a push.

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
    /// By the digest of the credentials, with the form in which they came first;
    /// nothing that was not verified is here.
    known: Cache<[u8; 32], (Verified, Form)>,
}

/// An application server that has signed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Who it is.
    pub key: PublicKey,
    /// How its token names this service.
    pub audience: AudienceForm,
    /// How its credentials are written.
    pub form: Form,
}

impl Verifier {
    /// Remembers up to `capacity` tokens. `leeway` is for clocks that differ.
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

    /// Who signed the request; `None` when it carries no VAPID. A signature that
    /// is not known to be good is checked if `admit` lets it.
    ///
    /// # Errors
    /// When it carries VAPID that is not valid (RFC 8292 §4.2); that of `admit`.
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
        // Of these, the digest does not say the form.
        if unread.is_none()
            && let Some((known, _)) = self.known.get(&digest)
        {
            return Ok(Some(self.vouch(&known, form, now, metrics)?));
        }
        admit()?;
        metrics.signatures.inc();
        let mut verified =
            credentials.verify(&self.audience, &self.tolerances, self.leeway, now)?;
        // Nobody asks for the contact again.
        verified.subject = None;
        let sender = Sender::of(&verified, form);
        self.known.insert(digest, (verified, form));
        Ok(Some(sender))
    }

    /// Who signed a token that is remembered, unless it has ended since.
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
