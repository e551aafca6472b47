//! Header fields of a push: TTL, Urgency, Topic (RFC 8030 §5.2–5.4) and the
//! content codings of RFC 8291 and of its predecessor.

use std::fmt;
use std::str::FromStr;

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::base64url;
use crate::key::PublicKey;
use crate::params::{self, Param};
use crate::tolerances::Tolerances;

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

/// What is wrong with a header field of a push.
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
    /// RFC 8291 §4: no other coding and no list of codings.
    #[error("the Content-Encoding is neither aes128gcm nor aesgcm, alone and given once")]
    ContentEncoding,
    /// RFC 8291 knows one coding (`Tolerances::aesgcm`).
    #[error("the Content-Encoding aesgcm is not taken here: encrypt as aes128gcm (RFC 8291)")]
    AesgcmNotTaken,
    /// The aesgcm draft, §3 and §4.
    #[error("{0}")]
    Aesgcm(&'static str),
    /// An aes128gcm body holds its salt and key itself.
    #[error(
        "Encryption or a dh in Crypto-Key came with Content-Encoding aes128gcm, which carries its \
         salt and key in the body: leave them out, or send aesgcm"
    )]
    Aes128gcmWithAesgcmHeaders,
}

/// For how long a message is to be kept, in seconds, 0 to 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ttl(u32);

impl Ttl {
    /// Deliver now or never: such a message is not stored.
    pub const ZERO: Self = Self(0);

    /// What larger values count as (RFC 8030 §5.2): 2^31 seconds.
    pub const MAX: Self = Self(1 << 31);

    /// From seconds; more than 2^31 counts as 2^31.
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

    /// In seconds.
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
        // Digits that do not fit 64 bits are a large number, not an error (§5.2).
        Ok(Self::from_secs(text.parse().unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How soon a user agent wants to see a message (RFC 8030 §5.3).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Urgency {
    /// On power and Wi-Fi.
    VeryLow,
    /// On either power or Wi-Fi.
    Low,
    /// On neither; what a message without the header has.
    #[default]
    Normal,
    /// On low battery.
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

    /// Literals of ABNF are case-insensitive.
    fn from_str(text: &str) -> Result<Self, HeaderError> {
        [Self::VeryLow, Self::Low, Self::Normal, Self::High]
            .into_iter()
            .find(|urgency| text.eq_ignore_ascii_case(urgency.as_str()))
            .ok_or(HeaderError::Urgency)
    }
}

/// A message with a topic replaces the one before it with the same topic
/// (RFC 8030 §5.4). 1 to 32 characters of the base64url alphabet, compared
/// exactly.
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

/// How a message body is encrypted, with what the user agent needs beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentCoding {
    /// RFC 8291: salt and key are in the body.
    Aes128gcm,
    /// draft-ietf-webpush-encryption-04: salt and key are in header fields.
    Aesgcm {
        /// `Encryption`, as sent.
        encryption: String,
        /// `Crypto-Key`, the entry with `dh` alone: the VAPID key in it is not
        /// the user agent's business (RFC 8292 §4.2).
        crypto_key: String,
    },
}

impl ContentCoding {
    /// The word in `Content-Encoding`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Aes128gcm => "aes128gcm",
            Self::Aesgcm { .. } => "aesgcm",
        }
    }

    /// Reads Content-Encoding and, for aesgcm, Encryption and Crypto-Key.
    /// `None` when there is no Content-Encoding.
    ///
    /// # Errors
    /// When the coding is unknown or not tolerated, or what belongs to it is
    /// missing, doubled or malformed.
    pub(crate) fn parse(
        headers: &HeaderMap,
        tolerances: &Tolerances,
    ) -> Result<Option<Self>, HeaderError> {
        let Some(coding) =
            single(headers, &CONTENT_ENCODING).map_err(|_| HeaderError::ContentEncoding)?
        else {
            return Ok(None);
        };
        if coding.eq_ignore_ascii_case("aes128gcm") {
            let dh = crypto_key_params(headers).is_some_and(|p| p.iter().any(|p| p.name == "dh"));
            if dh || headers.contains_key(ENCRYPTION) {
                return Err(HeaderError::Aes128gcmWithAesgcmHeaders);
            }
            return Ok(Some(Self::Aes128gcm));
        }
        if coding.eq_ignore_ascii_case("aesgcm") {
            if !tolerances.aesgcm {
                return Err(HeaderError::AesgcmNotTaken);
            }
            return Self::parse_aesgcm(headers)
                .map(Some)
                .map_err(HeaderError::Aesgcm);
        }
        Err(HeaderError::ContentEncoding)
    }

    fn parse_aesgcm(headers: &HeaderMap) -> Result<Self, &'static str> {
        let encryption = single(headers, &ENCRYPTION)
            .ok()
            .flatten()
            .ok_or("aesgcm needs one Encryption header: salt=<22 characters of base64url>")?;
        let salts = params::parse(encryption).ok_or("the Encryption header is malformed")?;
        if salts.iter().filter(|p| p.starts_entry).count() != 1
            || salts.iter().any(|p| p.name == "aesgcm")
        {
            return Err("the Encryption header has more than one entry, or an aesgcm parameter");
        }
        if octets_of(&salts, "salt").map(|salt| salt.len()) != Some(16) {
            return Err("the Encryption header has no salt of 16 octets in base64url");
        }
        let keys = crypto_key_params(headers)
            .ok_or("aesgcm needs a Crypto-Key header: dh=<87 characters of base64url>")?;
        let dh =
            octets_of(&keys, "dh").ok_or("the Crypto-Key header has not one dh in base64url")?;
        PublicKey::from_bytes(&dh).map_err(|_| "the dh in Crypto-Key is not a point on P-256")?;
        Ok(Self::Aesgcm {
            encryption: encryption.to_owned(),
            crypto_key: dh_entry(&keys).ok_or("the keyid in Crypto-Key is not a plain word")?,
        })
    }

    /// The public key of the message encryption, where a header carries it.
    pub(crate) fn dh(&self) -> Option<PublicKey> {
        match self {
            Self::Aes128gcm => None,
            Self::Aesgcm { crypto_key, .. } => {
                let keys = params::parse(crypto_key)?;
                PublicKey::from_bytes(&octets_of(&keys, "dh")?).ok()
            }
        }
    }
}

/// All parameters of all `Crypto-Key` fields; `None` when there is no field,
/// or one that cannot be read.
pub(crate) fn crypto_key_params(headers: &HeaderMap) -> Option<Vec<Param>> {
    if !headers.contains_key(CRYPTO_KEY) {
        return None;
    }
    let mut all = Vec::new();
    for field in headers.get_all(CRYPTO_KEY) {
        all.extend(params::parse(field.to_str().ok()?)?);
    }
    Some(all)
}

/// The octets of the parameter that is there once under this name.
pub(crate) fn octets_of(params: &[Param], name: &str) -> Option<Vec<u8>> {
    let mut named = params.iter().filter(|p| p.name == name);
    let (value, another) = (named.next()?, named.next());
    if another.is_some() {
        None
    } else {
        base64url::decode(&value.value).ok()
    }
}

/// Prints `keyid` and `dh` of the entry that holds `dh`: what a user agent
/// needs to decrypt, and no VAPID key (VLEG-c). `None` when the keyid would
/// need quotes, within which user agents do not look for separators.
fn dh_entry(params: &[Param]) -> Option<String> {
    let mut entries: Vec<Vec<&Param>> = Vec::new();
    for param in params {
        match entries.last_mut() {
            Some(entry) if !param.starts_entry => entry.push(param),
            _ => entries.push(vec![param]),
        }
    }
    let entry = entries
        .into_iter()
        .find(|e| e.iter().any(|p| p.name == "dh"))?;
    let plain = |value: &str| {
        let mut chars = value.chars();
        chars.all(|c| c.is_ascii_graphic() && !",;=\"\\".contains(c))
    };
    let mut shown = Vec::new();
    for param in entry {
        match param.name.as_str() {
            "dh" => shown.push(format!("dh={}", param.value)),
            "keyid" if plain(&param.value) => shown.push(format!("keyid={}", param.value)),
            "keyid" => return None,
            _ => {}
        }
    }
    Some(shown.join(";"))
}

/// The text of a field that may stand once; the error is for one that stands
/// twice or is not text.
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

/// A field stands more than once, or is not text.
pub(crate) struct NotSingle;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ttl_by_its_grammar() {
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
    fn urgency_by_its_grammar() {
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
    fn topic_by_its_grammar() {
        for text in ["a", "-_Az09", &"x".repeat(32)] {
            assert_eq!(text.parse::<Topic>().as_ref().map(Topic::as_str), Ok(text));
        }
        for text in ["", "a b", "a.b", "a/b", "a=", "a,b", "é", &"x".repeat(33)] {
            assert_eq!(text.parse::<Topic>(), Err(HeaderError::Topic), "{text}");
        }
    }
}
