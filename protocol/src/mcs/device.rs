//! The credentials of a device: one profile of one browser.

use std::num::NonZeroU64;

use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use crate::endpoint::Keyring;
use crate::id::Uaid;

/// Binds a security token to its use.
const CREDENTIALS: &[u8] = b"bugle device credentials 1";
/// Keeps the uaid of a device apart from those of other user agents.
const UAID: &[u8] = b"bugle device 1";

/// A device. Whoever has its id and its security token receives its messages.
///
/// The service stores no device: the token is a code over the id under the service's keys. So a
/// lost or replaced store changes no credentials, and a client needs no new check-in, which it does
/// only every other day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Device(NonZeroU64);

impl Device {
    /// A new device from random bytes; `None` if they are all zero, which no id is.
    pub fn from_random(bytes: [u8; 8]) -> Option<Self> {
        // The check-in has it as a signed number.
        Self::of(u64::from_be_bytes(bytes) >> 1)
    }

    /// The device with this id, which a sealed token contains.
    pub(super) fn of(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// The device with this id, if a key of the ring has issued the security token.
    pub fn authenticate(keyring: &Keyring, id: u64, security_token: u64) -> Option<Self> {
        let device = Self::of(id)?;
        let given = security_token.to_be_bytes();
        let octets = id.to_be_bytes();
        let mut issued = keyring.codes(CREDENTIALS, &octets);
        let is_issued = issued.any(|code| token_of(code).to_be_bytes().ct_eq(&given).into());
        is_issued.then_some(device)
    }

    /// Its id, not 0 and less than 2^63.
    pub const fn id(self) -> u64 {
        self.0.get()
    }

    /// Its security token, not 0.
    pub fn security_token(self, keyring: &Keyring) -> u64 {
        let octets = self.id().to_be_bytes();
        let mut issued = keyring.codes(CREDENTIALS, &octets);
        // A keyring has at least one key.
        issued.next().map_or(1, token_of)
    }

    /// By which the service identifies it as a user agent.
    pub fn uaid(self) -> Uaid {
        Uaid::from_bytes(id_of(&[UAID, &self.id().to_be_bytes()]))
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Device(…)")
    }
}

/// A token is never 0, which means none.
fn token_of(code: [u8; 8]) -> u64 {
    (u64::from_be_bytes(code) >> 1).max(1)
}

/// The first 128 bits of the SHA-256 of the parts. The first part fixes how many bytes those before
/// the last have, so that no two lists give the same text.
pub(super) fn id_of(parts: &[&[u8]]) -> [u8; 16] {
    let digest = digest(&SHA256, &parts.concat());
    let mut octets = [0; 16];
    for (octet, from) in octets.iter_mut().zip(digest.as_ref()) {
        *octet = *from;
    }
    octets
}
