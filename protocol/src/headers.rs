//! Header fields of a push: TTL, Urgency, Topic (RFC 8030 §5.2–5.4).

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// `TTL` (RFC 8030 §5.2).
pub const TTL: HeaderName = HeaderName::from_static("ttl");
/// `Urgency` (RFC 8030 §5.3).
pub const URGENCY: HeaderName = HeaderName::from_static("urgency");
/// `Topic` (RFC 8030 §5.4).
pub const TOPIC: HeaderName = HeaderName::from_static("topic");
/// `Encryption` of the legacy coding `aesgcm`.
pub const ENCRYPTION: HeaderName = HeaderName::from_static("encryption");
/// `Crypto-Key` of the legacy coding `aesgcm` and of legacy VAPID.
pub const CRYPTO_KEY: HeaderName = HeaderName::from_static("crypto-key");

/// Why a header field of a push is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// RFC 8030 §5.2: a push message has a TTL.
    #[error("the TTL header is missing: say for how many seconds to keep the message, 0 = do not")]
    TtlMissing,
    /// RFC 8030 §5.2: `TTL = 1*DIGIT`.
    #[error("the TTL header is not a whole number of seconds (digits alone, one value)")]
    TtlMalformed,
    /// RFC 8030 §5.3: one of four words, once.
    #[error("the Urgency header is not one of very-low, low, normal, high, given once")]
    Urgency,
    /// RFC 8030 §5.4: at most 32 characters of the base64url alphabet.
    #[error("the Topic header is not 1 to 32 characters of A-Z a-z 0-9 - _, given once")]
    Topic,
}

/// How long to keep a message, in seconds, from 0 to 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ttl(u32);

impl Ttl {
    /// Deliver now or never: such a message is not stored.
    pub const ZERO: Self = Self(0);

    /// The maximum, 2^31 seconds; larger values count as it (RFC 8030 §5.2).
    pub const MAX: Self = Self(1 << 31);

    /// Creates a TTL from seconds; more than 2^31 count as 2^31.
    pub const fn from_secs(secs: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 2^31 in this branch"
        )]
        if secs < Self::MAX.0 as u64 {
            Self(secs as u32)
        } else {
            Self::MAX
        }
    }

    /// The TTL in seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl FromStr for Ttl {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HeaderError::TtlMalformed);
        }
        // A number that does not fit 64 bits is large, not malformed (§5.2).
        Ok(Self::from_secs(text.parse().unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How urgently a user agent wants a message (RFC 8030 §5.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Urgency {
    /// Delivered on power and Wi-Fi.
    VeryLow,
    /// Delivered on either power or Wi-Fi.
    Low,
    /// Delivered on neither; the default without the header.
    #[default]
    Normal,
    /// Delivered on low battery.
    High,
}

impl Urgency {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VeryLow => "very-low",
            Self::Low => "low",
            Self::Normal => "normal",
            Self::High => "high",
        }
    }
}

impl FromStr for Urgency {
    type Err = HeaderError;

    /// Literals in ABNF are case-insensitive.
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        [Self::VeryLow, Self::Low, Self::Normal, Self::High]
            .into_iter()
            .find(|urgency| text.eq_ignore_ascii_case(urgency.as_str()))
            .ok_or(HeaderError::Urgency)
    }
}

/// A message with a topic replaces the previous one with the same topic (RFC 8030 §5.4). 1 to 32
/// characters of the base64url alphabet, compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Topic(String);

impl Topic {
    /// The topic as it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let in_alphabet = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=32).contains(&text.len()) && text.bytes().all(in_alphabet) {
            Ok(Self(text.to_owned()))
        } else {
            Err(HeaderError::Topic)
        }
    }
}

/// The text of a field that may occur once. Fails if it is repeated or not text.
pub(crate) fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, NotSingle> {
    let mut fields = headers.get_all(name).iter();
    let text = |field: &'h HeaderValue| field.to_str().map_err(|_| NotSingle);
    match (fields.next(), fields.next()) {
        (first, None) => first.map(text).transpose(),
        _ => Err(NotSingle),
    }
}

/// The field is repeated, or is not text.
pub(crate) struct NotSingle;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_is_parsed_by_its_grammar() {
        let secs = |text: &str| text.parse::<Ttl>().map(Ttl::as_secs);
        assert_eq!(secs("0"), Ok(0));
        assert_eq!(secs("007"), Ok(7));
        assert_eq!(secs("2147483647"), Ok(2_147_483_647));
        for large in [
            "2147483648",
            "2147483649",
            "99999999999999999999",
            &"9".repeat(400),
        ] {
            assert_eq!(secs(large), Ok(2_147_483_648), "{large}");
        }
        for text in ["", "-1", "+1", "1.5", "abc", "1, 2", " 1", "1e3", "٣"] {
            assert_eq!(secs(text), Err(HeaderError::TtlMalformed), "{text}");
        }
    }

    #[test]
    fn urgency_is_parsed_by_its_grammar() {
        for urgency in [
            Urgency::VeryLow,
            Urgency::Low,
            Urgency::Normal,
            Urgency::High,
        ] {
            assert_eq!(urgency.as_str().to_uppercase().parse(), Ok(urgency));
        }
        assert!(Urgency::VeryLow < Urgency::Low && Urgency::Normal < Urgency::High);
        for text in ["", "urgent", "low, high", "low "] {
            assert_eq!(text.parse::<Urgency>(), Err(HeaderError::Urgency), "{text}");
        }
    }

    #[test]
    fn topic_is_parsed_by_its_grammar() {
        for text in ["a", "-_Az09", &"x".repeat(32)] {
            assert_eq!(text.parse::<Topic>().as_ref().map(Topic::as_str), Ok(text));
        }
        for text in ["", "a b", "a.b", "a/b", "a=", "a,b", "é", &"x".repeat(33)] {
            assert_eq!(text.parse::<Topic>(), Err(HeaderError::Topic), "{text}");
        }
    }
}
