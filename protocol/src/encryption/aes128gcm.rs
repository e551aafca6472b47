//! The content coding `aes128gcm` as RFC 8291 uses it: a header of 86 bytes (salt 16, record size
//! 4, keyid length 1, keyid 65), then one record.

use super::content_key::{ContentKey, TAG, hkdf};
use super::{DecryptError, SubscriptionKeys, UserAgentKeys};
use crate::key::PublicKey;
use crate::key_pair::KeyPair;

const HEADER: usize = 86;
const RECORD_SIZE: u32 = 4096;
/// The delimiter between the data and the padding of the last record (RFC 8188 §2).
const DELIMITER: u8 = 0x02;

pub(super) fn encrypt(
    to: &SubscriptionKeys,
    plaintext: &[u8],
    ephemeral: &KeyPair,
    salt: [u8; 16],
) -> Vec<u8> {
    let sender = ephemeral.public_key();
    let secret = ephemeral.shared_secret(&to.p256dh);
    let record = [plaintext, &[DELIMITER]].concat();
    let sealed = content_key(&secret, to, &sender, &salt).seal(record);

    let mut body = Vec::with_capacity(HEADER + sealed.len());
    body.extend(salt);
    body.extend(RECORD_SIZE.to_be_bytes());
    body.push(65);
    body.extend(sender.as_bytes());
    body.extend(sealed);
    body
}

/// Ignores the record size (RFC 8291 §4 allows this, and common senders set it wrong); a body with
/// more than one record fails authentication.
pub(super) fn decrypt(keys: &UserAgentKeys, body: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let too_short = DecryptError::TooShort(body.len());
    let (salt, rest) = body.split_first_chunk::<16>().ok_or(too_short)?;
    let (size_and_length, rest) = rest.split_first_chunk::<5>().ok_or(too_short)?;
    if size_and_length[4] != 65 {
        return Err(DecryptError::KeyId);
    }
    let (keyid, record) = rest.split_first_chunk::<65>().ok_or(too_short)?;
    let sender = PublicKey::from_bytes(keyid).map_err(|_| DecryptError::KeyId)?;
    if record.len() <= TAG {
        return Err(too_short);
    }
    let secret = keys.private.shared_secret(&sender);
    let key = content_key(&secret, &keys.subscription_keys(), &sender, salt);
    let mut plaintext = key.open(record)?;
    let end = plaintext.iter().rposition(|octet| *octet != 0);
    match end {
        Some(end) if plaintext[end] == DELIMITER => {
            plaintext.truncate(end);
            Ok(plaintext)
        }
        _ => Err(DecryptError::Padding),
    }
}

/// RFC 8291 §3.4.
fn content_key(
    shared_secret: &[u8; 32],
    receiver: &SubscriptionKeys,
    sender: &PublicKey,
    salt: &[u8; 16],
) -> ContentKey {
    let info: [&[u8]; 3] = [
        b"WebPush: info\0",
        receiver.p256dh.as_bytes(),
        sender.as_bytes(),
    ];
    let ikm = hkdf(&receiver.auth, shared_secret, &info);
    ContentKey::derive(
        salt,
        &ikm,
        &[b"Content-Encoding: aes128gcm\0"],
        &[b"Content-Encoding: nonce\0"],
    )
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// 8291-4-g: after the data 0x02, after it zeros alone.
    #[test]
    fn the_padding_is_checked() {
        let keys = UserAgentKeys::from_random(&[1; 32], [2; 16]).unwrap();
        let to = keys.subscription_keys();
        let ephemeral = KeyPair::from_bytes(&[3; 32]).unwrap();
        let secret = ephemeral.shared_secret(&to.p256dh);
        let decrypted = |record: &[u8]| {
            let key = content_key(&secret, &to, &ephemeral.public_key(), &[4; 16]);
            let header = &encrypt(&to, b"", &ephemeral, [4; 16])[..HEADER];
            decrypt(&keys, &[header, &key.seal(record.to_vec())].concat())
        };
        assert_eq!(decrypted(b"data\x02"), Ok(b"data".to_vec()));
        assert_eq!(decrypted(b"data\x02\0\0"), Ok(b"data".to_vec()));
        assert_eq!(decrypted(b"\x02"), Ok(vec![]));
        for record in [b"data\x01".as_slice(), b"data\x02\x03", b"data", b"\0\0"] {
            assert_eq!(decrypted(record), Err(DecryptError::Padding), "{record:?}");
        }
    }
}
