//! The content coding `aesgcm` of draft-ietf-webpush-encryption-04: salt and key are in header
//! fields, the padding precedes the data.

use super::content_key::{ContentKey, TAG, hkdf};
use super::{DecryptError, SubscriptionKeys, UserAgentKeys};
use crate::coding::octets_of;
use crate::key::PublicKey;
use crate::key_pair::KeyPair;
use crate::params;

/// Size of the padding length field, in bytes.
const PADDING_LENGTH: usize = 2;

pub(super) fn encrypt(
    to: &SubscriptionKeys,
    plaintext: &[u8],
    ephemeral: &KeyPair,
    salt: [u8; 16],
) -> Vec<u8> {
    let secret = ephemeral.shared_secret(&to.p256dh);
    let key = content_key(&secret, to, &ephemeral.public_key(), &salt);
    key.seal([&[0; PADDING_LENGTH], plaintext].concat())
}

pub(super) fn decrypt(
    keys: &UserAgentKeys,
    encryption: &str,
    sender: &PublicKey,
    body: &[u8],
) -> Result<Vec<u8>, DecryptError> {
    let params = params::parse(encryption)
        .ok_or(DecryptError::Headers)?
        .params;
    let salt = octets_of(&params, "salt").and_then(|salt| salt.try_into().ok());
    let salt = salt.ok_or(DecryptError::Headers)?;
    if body.len() < PADDING_LENGTH + TAG {
        return Err(DecryptError::TooShort(body.len()));
    }
    let secret = keys.private.shared_secret(sender);
    let key = content_key(&secret, &keys.subscription_keys(), sender, &salt);
    let padded = key.open(body)?;
    let (length, rest) = padded
        .split_first_chunk::<PADDING_LENGTH>()
        .ok_or(DecryptError::Padding)?;
    match rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) {
        Some((padding, data)) if padding.iter().all(|octet| *octet == 0) => Ok(data.to_vec()),
        _ => Err(DecryptError::Padding),
    }
}

/// The draft, §4.
fn content_key(
    shared_secret: &[u8; 32],
    receiver: &SubscriptionKeys,
    sender: &PublicKey,
    salt: &[u8; 16],
) -> ContentKey {
    let ikm = hkdf(
        &receiver.auth,
        shared_secret,
        &[b"Content-Encoding: auth\0"],
    );
    let context: [&[u8]; 5] = [
        b"P-256\0",
        &[0, 65],
        receiver.p256dh.as_bytes(),
        &[0, 65],
        sender.as_bytes(),
    ];
    let labelled = |label: &'static [u8]| [&[label], context.as_slice()].concat();
    ContentKey::derive(
        salt,
        &ikm,
        &labelled(b"Content-Encoding: aesgcm\0"),
        &labelled(b"Content-Encoding: nonce\0"),
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_padding_is_checked() {
        let keys = UserAgentKeys::from_random(&[1; 32], [2; 16]).unwrap();
        let to = keys.subscription_keys();
        let ephemeral = KeyPair::from_bytes(&[3; 32]).unwrap();
        let sender = ephemeral.public_key();
        let secret = ephemeral.shared_secret(&to.p256dh);
        let decrypted = |record: &[u8]| {
            let key = content_key(&secret, &to, &sender, &[4; 16]);
            let salt = "salt=BAQEBAQEBAQEBAQEBAQEBA";
            decrypt(&keys, salt, &sender, &key.seal(record.to_vec()))
        };
        assert_eq!(decrypted(b"\0\0data"), Ok(b"data".to_vec()));
        assert_eq!(decrypted(b"\0\x02\0\0data"), Ok(b"data".to_vec()));
        assert_eq!(decrypted(b"\0\0"), Ok(vec![]));
        for record in [b"\0\x02\0\x01data".as_slice(), b"\x01\0data"] {
            assert_eq!(decrypted(record), Err(DecryptError::Padding), "{record:?}");
        }
        assert_eq!(decrypted(b"\0"), Err(DecryptError::TooShort(17)));
    }
}
