//! base64url (RFC 4648 §5), the only base64 alphabet of the protocol.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose};
use base64::{DecodeError, alphabet};

/// Accepts input with or without padding: Firefox pads the `register` key, other senders do not
/// (V-8). Rejects `+` and `/`.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Accepts only the canonical form of a token: no padding, no stray trailing bits.
const STRICT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD);

/// Encodes without padding.
pub(crate) fn encode(octets: impl AsRef<[u8]>) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(octets)
}

/// Decodes with or without padding.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, DecodeError> {
    LENIENT.decode(text)
}

/// Decodes only the form that [`encode`] produces.
pub(crate) fn decode_strict(text: &str) -> Result<Vec<u8>, DecodeError> {
    STRICT.decode(text)
}
