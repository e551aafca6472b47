//! Key derivation and the cipher that both codings share: HKDF with SHA-256,
//! then AES-128-GCM over one record (RFC 8188 §2.2 and §2.3).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};

use super::DecryptError;

/// The content encryption key and nonce of one message.
pub(super) struct ContentKey {
    key: LessSafeKey,
    nonce: [u8; 12],
}

/// Size of the AES-128-GCM tag of a record, in bytes.
pub(super) const TAG: usize = 16;

impl ContentKey {
    /// Derives both from the message's salt and input keying material.
    #[expect(clippy::expect_used, reason = "the invariant is stated")]
    pub(super) fn derive(salt: &[u8; 16], ikm: &[u8], cek: &[&[u8]], nonce: &[&[u8]]) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &hkdf(salt, ikm, cek)[..16])
            .expect("a key of AES-128 has 16 octets");
        let mut derived = [0; 12];
        derived.copy_from_slice(&hkdf(salt, ikm, nonce)[..12]);
        Self {
            key: LessSafeKey::new(key),
            nonce: derived,
        }
    }

    /// Encrypts the only record of a message. Consumes the key, so that no nonce is used twice.
    #[expect(clippy::expect_used, reason = "the invariant is stated")]
    pub(super) fn seal(self, mut record: Vec<u8>) -> Vec<u8> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
            .expect("a record is far shorter than what AES-GCM can take");
        record
    }

    /// Decrypts the only record of a message.
    pub(super) fn open(self, record: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let mut octets = record.to_vec();
        let length = self
            .key
            .open_in_place(nonce, Aad::empty(), &mut octets)
            .map_err(|_| DecryptError::Authentication)?
            .len();
        octets.truncate(length);
        Ok(octets)
    }
}

/// HKDF (RFC 5869) with 32 bytes of output, one block of SHA-256. A shorter key is a prefix of it,
/// because any expansion up to one block is.
#[expect(clippy::expect_used, reason = "the invariant is stated")]
pub(super) fn hkdf(salt: &[u8], ikm: &[u8], info: &[&[u8]]) -> [u8; 32] {
    let mut octets = [0; 32];
    Salt::new(HKDF_SHA256, salt)
        .extract(ikm)
        .expand(info, HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut octets))
        .expect("one block is within what HKDF can give");
    octets
}
