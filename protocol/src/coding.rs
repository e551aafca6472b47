//! Content codings: `aes128gcm` (RFC 8291) and its predecessor `aesgcm`.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use serde::{Deserialize, Serialize};

use crate::base64url;
use crate::headers::{CRYPTO_KEY, ENCRYPTION, single};
use crate::key::PublicKey;
use crate::params::{self, Param, WHITE_SPACE};
use crate::tolerances::Tolerances;

/// The content coding of a message body, with the header fields that the user agent needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContentCoding {
    /// RFC 8291: salt and key are in the body.
    Aes128gcm,
    /// draft-ietf-webpush-encryption-04: salt and key are in header fields.
    Aesgcm {
        /// `Encryption`, as sent.
        encryption: String,
        /// `Crypto-Key`, reduced to the entry with `dh`: the user agent must not see the VAPID key
        /// in it (RFC 8292 §4.2).
        crypto_key: String,
    },
}

/// Why the content coding of a body is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingError {
    /// RFC 8291 §4: another coding, or a list of codings.
    #[error("the Content-Encoding is neither aes128gcm nor aesgcm, alone and given once")]
    Unknown,
    /// RFC 8291 defines one coding only (`Tolerances::aesgcm`).
    #[error("the Content-Encoding aesgcm is not taken here: encrypt as aes128gcm (RFC 8291)")]
    AesgcmNotTaken,
    /// A violation of the aesgcm draft, §3 and §4.
    #[error("{0}")]
    Aesgcm(&'static str),
    /// An aes128gcm body contains its salt and key itself.
    #[error(
        "Encryption or a dh in Crypto-Key came with Content-Encoding aes128gcm, which carries its \
         salt and key in the body: leave them out, or send aesgcm"
    )]
    Aes128gcmWithAesgcmHeaders,
}

impl ContentCoding {
    /// The word in `Content-Encoding`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Aes128gcm => "aes128gcm",
            Self::Aesgcm { .. } => "aesgcm",
        }
    }

    /// Reads Content-Encoding and, for aesgcm, Encryption and Crypto-Key. Returns `None` if there
    /// is no coding. [`PushHeaders::content`](crate::push::PushHeaders::content) checks whether
    /// body, salt and key match the coding.
    ///
    /// # Errors
    /// If the coding is unknown or not tolerated, or one of its header fields is missing, repeated
    /// or malformed.
    pub(crate) fn parse(
        headers: &HeaderMap,
        tolerances: &Tolerances,
    ) -> Result<Option<Self>, CodingError> {
        let Some(coding) = named(headers)? else {
            return Ok(None);
        };
        if coding.eq_ignore_ascii_case("aes128gcm") {
            let dh = crypto_key_params(headers).is_some_and(|p| p.iter().any(|p| p.name == "dh"));
            if dh || headers.contains_key(ENCRYPTION) {
                return Err(CodingError::Aes128gcmWithAesgcmHeaders);
            }
            return Ok(Some(Self::Aes128gcm));
        }
        if coding.eq_ignore_ascii_case("aesgcm") {
            if !tolerances.aesgcm {
                return Err(CodingError::AesgcmNotTaken);
            }
            let aesgcm = Self::parse_aesgcm(headers);
            return aesgcm.map(Some).map_err(CodingError::Aesgcm);
        }
        Err(CodingError::Unknown)
    }

    fn parse_aesgcm(headers: &HeaderMap) -> Result<Self, &'static str> {
        let encryption = single(headers, &ENCRYPTION)
            .ok()
            .flatten()
            .ok_or("aesgcm needs one Encryption header: salt=<22 characters of base64url>")?;
        let salts = params::parse(encryption).ok_or("the Encryption header is malformed")?;
        let salts = salts.params;
        if salts.iter().filter(|p| p.starts_entry).count() != 1
            || salts.iter().any(|p| p.name == "aesgcm")
        {
            return Err("the Encryption header has more than one entry, or an aesgcm parameter");
        }
        octets_of(&salts, "salt").ok_or("the Encryption header has not one salt in base64url")?;
        let keys = crypto_key_params(headers)
            .ok_or("aesgcm needs a Crypto-Key header: dh=<87 characters of base64url>")?;
        octets_of(&keys, "dh").ok_or("the Crypto-Key header has not one dh in base64url")?;
        Ok(Self::Aesgcm {
            encryption: encryption.to_owned(),
            crypto_key: dh_entry(&keys).ok_or("the keyid in Crypto-Key is not a plain word")?,
        })
    }
}

/// The named coding. `Content-Encoding` is a list, in which empty elements do not count (RFC 9110
/// §8.4, §5.6.1.2).
fn named(headers: &HeaderMap) -> Result<Option<&str>, CodingError> {
    let mut named = None;
    for field in headers.get_all(CONTENT_ENCODING) {
        let text = field.to_str().map_err(|_| CodingError::Unknown)?;
        let codings = text
            .split(',')
            .map(|coding| coding.trim_matches(WHITE_SPACE));
        for coding in codings.filter(|coding| !coding.is_empty()) {
            if named.replace(coding).is_some() {
                return Err(CodingError::Unknown);
            }
        }
    }
    Ok(named)
}

/// The sender's key of an `aesgcm` message, from header fields that [`ContentCoding::parse`] has
/// accepted.
///
/// # Errors
/// If the salt is not 16 bytes long, or the key is not a point on P-256 (the draft, §3 and §4).
pub(crate) fn aesgcm_key(encryption: &str, crypto_key: &str) -> Result<PublicKey, CodingError> {
    let octets = |text, name| octets_of(&params::parse(text)?.params, name);
    if octets(encryption, "salt").is_none_or(|salt| salt.len() != 16) {
        return Err(CodingError::Aesgcm(
            "the salt in the Encryption header has not 16 octets",
        ));
    }
    let dh = octets(crypto_key, "dh").and_then(|dh| PublicKey::from_bytes(&dh).ok());
    dh.ok_or(CodingError::Aesgcm(
        "the dh in Crypto-Key is not a point on P-256",
    ))
}

/// All parameters of all `Crypto-Key` fields; `None` if there is no field, or a malformed one.
pub(crate) fn crypto_key_params(headers: &HeaderMap) -> Option<Vec<Param>> {
    if !headers.contains_key(CRYPTO_KEY) {
        return None;
    }
    let mut all = Vec::new();
    for field in headers.get_all(CRYPTO_KEY) {
        let text = String::from_utf8_lossy(field.as_bytes());
        all.extend(params::parse(&text)?.params);
    }
    Some(all)
}

/// The bytes of the parameter with this name, if there is exactly one.
pub(crate) fn octets_of(params: &[Param], name: &str) -> Option<Vec<u8>> {
    let mut named = params.iter().filter(|p| p.name == name);
    let (value, another) = (named.next()?, named.next());
    if another.is_some() {
        None
    } else {
        base64url::decode(&value.value).ok()
    }
}

/// Prints `keyid` and `dh` of the entry that contains `dh`: what a user agent needs to decrypt,
/// without any VAPID key (VLEG-c). Returns `None` if the keyid would need quotes, because user
/// agents split at separators inside quotes too.
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
