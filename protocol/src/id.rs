//! Identifiers of user agents, channels, subscriptions and messages.
//!
//! A [`WireUaid`] is a capability (WS-H-14): anyone who knows it receives that user agent's
//! messages. `Debug` therefore hides it.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;

/// The uaid that a user agent sends: 128 random bits, printed as 32 lower-case hex digits.
///
/// Never compare it or look it up, because the time would leak its digits; use its
/// [`digest`](Self::digest).
#[derive(Clone, Copy, Eq)]
pub struct WireUaid([u8; 16]);

/// A user agent in the service: the digest of its [`WireUaid`]. Comparing digests leaks nothing
/// about the uaids, and no store contains a uaid.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uaid([u8; 16]);

/// A channel of one user agent: the UUID that the user agent chose in `register`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId([u8; 16]);

/// One life of a subscription, 128 random bits. Never reused, so that the endpoint of a removed
/// subscription stays invalid (Push API: an endpoint is not reused).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SubscriptionId([u8; 16]);

/// A receipt subscription (RFC 8030 §5.1), 128 random bits. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReceiptSubscriptionId([u8; 16]);

/// A message. The store assigns ids in the order of acceptance and never reuses one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(u64);

/// The text is not an identifier of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 32 hex digits, with or without the dashes of a UUID.
    #[error("a uaid is 32 hex digits, with or without dashes")]
    Uaid,
    /// Not a UUID in its lower-case, dashed form (WS-R-2).
    #[error("a channelID is a UUID in lower case with dashes, 8-4-4-4-12")]
    ChannelId,
}

impl WireUaid {
    /// Creates it from 16 cryptographically random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The first 128 bits of its SHA-256, by which the service identifies the user agent.
    pub fn digest(&self) -> Uaid {
        let digest = digest(&SHA256, &self.0);
        let mut octets = [0; 16];
        for (octet, from) in octets.iter_mut().zip(digest.as_ref()) {
            *octet = *from;
        }
        Uaid(octets)
    }
}

impl Uaid {
    /// Creates it from the bytes of a digest.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl ChannelId {
    /// Creates it from the 16 bytes of a UUID.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes of the UUID.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl SubscriptionId {
    /// Creates it from 16 cryptographically random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl ReceiptSubscriptionId {
    /// Creates it from 16 cryptographically random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl MessageId {
    /// Creates it from the store's counter.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The store's counter.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// The digits, of 32, before which a UUID has a dash.
const DASHES: [usize; 4] = [8, 12, 16, 20];

/// Written by hand: every notification contains one, and `{:02x}` is ten times slower.
fn fmt_hex(bytes: &[u8; 16], dashed: bool, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        at += usize::from(dashed && DASHES.contains(&(i * 2)));
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
        at += 2;
    }
    // Digits and dashes are ASCII.
    f.write_str(str::from_utf8(&text[..at]).unwrap_or_default())
}

/// Parses exactly 32 hex digits.
fn parse_hex(mut digits: impl Iterator<Item = char>) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    for byte in &mut bytes {
        let pair = digits.next()?.to_digit(16)? << 4 | digits.next()?.to_digit(16)?;
        *byte = u8::try_from(pair).ok()?;
    }
    digits.next().is_none().then_some(bytes)
}

impl PartialEq for WireUaid {
    /// Compares in constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for WireUaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_hex(&self.0, false, f)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_hex(&self.0, true, f)
    }
}

impl fmt::Debug for WireUaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WireUaid(…)")
    }
}

impl fmt::Debug for Uaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Uaid(…)")
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChannelId(…)")
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubscriptionId(…)")
    }
}

impl fmt::Debug for ReceiptSubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptSubscriptionId(…)")
    }
}

impl FromStr for WireUaid {
    type Err = IdError;

    /// Accepts dashed, undashed and upper-case forms of the same uaid (WS-H-8).
    fn from_str(text: &str) -> Result<Self, IdError> {
        let dashed = text.len() == 36
            && DASHES
                .iter()
                .enumerate()
                .all(|(i, at)| text.as_bytes().get(at + i) == Some(&b'-'));
        if !(dashed || text.len() == 32) {
            return Err(IdError::Uaid);
        }
        parse_hex(text.chars().filter(|c| !dashed || *c != '-'))
            .map(Self)
            .ok_or(IdError::Uaid)
    }
}

impl FromStr for ChannelId {
    type Err = IdError;

    /// Accepts only the lower-case dashed form, because user agents compare the text in the
    /// response.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let id = parse_hex(text.chars().filter(|c| *c != '-'))
            .map(Self)
            .ok_or(IdError::ChannelId)?;
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(IdError::ChannelId)
        }
    }
}

impl Serialize for WireUaid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for ChannelId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChannelId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uaid_is_read_in_every_form_and_printed_in_one() {
        let issued = "3f3765e29bf541d096b61222647b10e4";
        for form in [
            issued,
            "3F3765E29BF541D096B61222647B10E4",
            "3f3765e2-9bf5-41d0-96b6-1222647b10e4",
            "3F3765E2-9BF5-41D0-96B6-1222647B10E4",
        ] {
            assert_eq!(
                form.parse::<WireUaid>().map(|id| id.to_string()).as_deref(),
                Ok(issued)
            );
        }
    }

    #[test]
    fn a_malformed_uaid_is_refused() {
        for text in [
            "",
            "nope",
            "3f3765e29bf541d096b61222647b10e",
            "3f3765e29bf541d096b61222647b10e4a",
            "3f3765e2-9bf541d0-96b6-1222-647b10e4",
            "gf3765e29bf541d096b61222647b10e4",
            "é3765e29bf541d096b61222647b10e4",
            "3f3765e2–9bf5–41d0–96b6",
        ] {
            assert_eq!(text.parse::<WireUaid>(), Err(IdError::Uaid), "{text}");
        }
    }

    #[test]
    fn channel_id_has_one_form() {
        let text = "acf30367-0632-4cc1-adef-fa15f40ef378";
        assert_eq!(
            text.parse::<ChannelId>()
                .map(|id| id.to_string())
                .as_deref(),
            Ok(text)
        );
        for text in [
            "ACF30367-0632-4CC1-ADEF-FA15F40EF378",
            "acf3036706324cc1adeffa15f40ef378",
            "acf30367-0632-4cc1-adeffa15f40ef-378",
            "acf30367-0632-4cc1-adef-fa15f40ef378-",
            "text",
        ] {
            assert_eq!(text.parse::<ChannelId>(), Err(IdError::ChannelId), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_capability() {
        let uaid = WireUaid::from_bytes([0xab; 16]);
        assert!(!format!("{uaid:?}").contains("ab"));
    }

    #[test]
    fn a_digest_is_the_beginning_of_a_sha_256() {
        // From `printf '\0%.0s' {1..16} | sha256sum`.
        let octets = *WireUaid::from_bytes([0; 16]).digest().as_bytes();
        assert_eq!(octets[..4], [0x37, 0x47, 0x08, 0xff]);
    }
}
