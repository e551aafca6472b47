//! Message encryption and the structure of encrypted bodies, on the published
//! examples.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::encryption::{
    DecryptError, EncryptError, MAX_PLAINTEXT, SubscriptionKeys, UserAgentKeys,
};
use bugle_protocol::push::{BodyError, PushHeaders};
use bugle_protocol::{ContentCoding, KeyPair, Tolerances};
use http::HeaderMap;
use serde_json::{Value, json};

use super::LENIENT;

const RFC8291: &str = include_str!("../vectors/rfc8291.json");
const RFC8188: &str = include_str!("../vectors/rfc8188.json");
const AESGCM: &str = include_str!("../vectors/aesgcm.json");

/// One published example.
struct Example(Value);

impl Example {
    fn new(json: &str) -> Self {
        Self(serde_json::from_str(json).unwrap())
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap()
    }

    fn octets(&self, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(self.text(name)).unwrap()
    }

    fn salt(&self) -> [u8; 16] {
        self.octets("salt").try_into().unwrap()
    }

    fn user_agent(&self) -> UserAgentKeys {
        let json = json!({ "private": self.text("ua_private"), "auth": self.text("auth_secret") });
        serde_json::from_value(json).unwrap()
    }

    fn subscription(&self) -> SubscriptionKeys {
        let json = json!({ "p256dh": self.text("ua_public"), "auth": self.text("auth_secret") });
        serde_json::from_value(json).unwrap()
    }

    fn sender(&self) -> KeyPair {
        KeyPair::from_base64url(self.text("as_private")).unwrap()
    }
}

#[test]
fn rfc8291_appendix_a() {
    let example = Example::new(RFC8291);
    let (keys, sender) = (example.user_agent(), example.sender());
    assert_eq!(keys.subscription_keys(), example.subscription());
    assert_eq!(
        sender.public_key().to_base64url(),
        example.text("as_public")
    );

    let plaintext = example.octets("plaintext");
    let body = keys
        .subscription_keys()
        .encrypt(&plaintext, &sender, example.salt());
    assert_eq!(body, Ok(example.octets("body")));
    assert_eq!(
        example.octets("body"),
        [example.octets("header"), example.octets("ciphertext")].concat()
    );
    let decrypted = keys.decrypt(&ContentCoding::Aes128gcm, &example.octets("body"));
    assert_eq!(decrypted, Ok(plaintext));
}

#[test]
fn the_example_of_the_aesgcm_draft() {
    let example = Example::new(AESGCM);
    let (plaintext, body) = (example.octets("plaintext"), example.octets("body"));
    let (coding, encrypted) = example
        .subscription()
        .encrypt_aesgcm(&plaintext, &example.sender(), example.salt())
        .unwrap();
    assert_eq!(encrypted, body);
    assert_eq!(
        example.user_agent().decrypt(&coding, &body),
        Ok(plaintext.clone())
    );

    let mut headers = HeaderMap::new();
    headers.insert("ttl", "0".parse().unwrap());
    for (name, value) in example.0["headers"].as_object().unwrap() {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, value.as_str().unwrap().parse().unwrap());
    }
    let as_sent = PushHeaders::parse(&headers, &LENIENT)
        .unwrap()
        .coding
        .unwrap()
        .unwrap();
    assert_eq!(example.user_agent().decrypt(&as_sent, &body), Ok(plaintext));
}

#[test]
fn keys_are_printed_as_they_were_read() {
    let example = Example::new(RFC8291);
    assert_eq!(
        serde_json::to_value(example.subscription()).unwrap(),
        json!({ "p256dh": example.text("ua_public"), "auth": example.text("auth_secret") })
    );
    assert_eq!(
        serde_json::to_value(example.user_agent()).unwrap(),
        json!({ "private": example.text("ua_private"), "auth": example.text("auth_secret") })
    );
    for broken in [
        json!({ "p256dh": example.text("ua_public"), "auth": "AAAA" }),
        json!({ "p256dh": "AAAA", "auth": example.text("auth_secret") }),
    ] {
        assert!(serde_json::from_value::<SubscriptionKeys>(broken).is_err());
    }
    let shown = format!("{:?} {:?}", example.subscription(), example.user_agent());
    assert_eq!(shown, "SubscriptionKeys(…) UserAgentKeys(…)");
}

#[test]
fn the_longest_message_fills_4096_bytes() {
    let example = Example::new(RFC8291);
    let encrypt = |length| {
        let plaintext = vec![0xff; length];
        let keys = example.subscription();
        keys.encrypt(&plaintext, &example.sender(), example.salt())
    };
    assert_eq!(encrypt(MAX_PLAINTEXT).map(|body| body.len()), Ok(4096));
    assert_eq!(
        encrypt(MAX_PLAINTEXT + 1),
        Err(EncryptError::TooLong(MAX_PLAINTEXT + 1))
    );
    assert_eq!(encrypt(0).map(|body| body.len()), Ok(103));
}

#[test]
fn every_changed_byte_is_detected() {
    let example = Example::new(RFC8291);
    let (keys, body) = (example.user_agent(), example.octets("body"));
    for at in (0..body.len()).filter(|at| !(16..20).contains(at)) {
        let mut changed = body.clone();
        changed[at] ^= 0x01;
        let result = keys.decrypt(&ContentCoding::Aes128gcm, &changed);
        assert!(result.is_err(), "octet {at}");
    }
    for end in 0..body.len() {
        let result = keys.decrypt(&ContentCoding::Aes128gcm, &body[..end]);
        assert!(result.is_err(), "{end} octets");
    }
}

/// 8291-4-f.
#[test]
fn the_record_size_is_ignored() {
    let example = Example::new(RFC8291);
    let mut body = example.octets("body");
    body[16..20].fill(0);
    let decrypted = example
        .user_agent()
        .decrypt(&ContentCoding::Aes128gcm, &body);
    assert_eq!(decrypted, Ok(example.octets("plaintext")));
}

#[test]
fn a_body_of_the_other_coding_is_refused() {
    let example = Example::new(AESGCM);
    let keys = example.user_agent();
    let result = keys.decrypt(&ContentCoding::Aes128gcm, &[0x42; 200]);
    assert_eq!(result, Err(DecryptError::KeyId));
    let without_headers = ContentCoding::Aesgcm {
        encryption: "salt=AAAA".to_owned(),
        crypto_key: String::new(),
    };
    let result = keys.decrypt(&without_headers, &example.octets("body"));
    assert_eq!(result, Err(DecryptError::Headers));
}

/// VLEG-c, WS-N-6: of Crypto-Key, the user agent gets what it needs.
#[test]
fn only_the_key_of_the_message_is_forwarded() {
    let key = Example::new(AESGCM).text("as_public").to_owned();
    let forwarded = |crypto_key: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("ttl", "0".parse().unwrap());
        headers.insert("content-encoding", "aesgcm".parse().unwrap());
        headers.insert("encryption", "salt=lngarbyKfMoi9Z75xYXmkg".parse().unwrap());
        headers.insert("crypto-key", crypto_key.replace('K', &key).parse().unwrap());
        match PushHeaders::parse(&headers, &LENIENT)
            .unwrap()
            .coding
            .ok()?
        {
            Some(ContentCoding::Aesgcm { crypto_key, .. }) => Some(crypto_key.replace(&key, "K")),
            _ => None,
        }
    };
    for (sent, expected) in [
        ("dh=K", Some("dh=K")),
        ("dh=\"K\";p256ecdsa=X", Some("dh=K")),
        ("p256ecdsa=X,dh=K", Some("dh=K")),
        ("p256ecdsa=X;keyid=a , keyid=b;dh=K", Some("keyid=b;dh=K")),
        (
            "keyid=p256dh;dh=K;other=\"a;p256ecdsa=X\"",
            Some("keyid=p256dh;dh=K"),
        ),
        ("keyid=\"a;dh=X\";dh=K", None),
        ("keyid=\"a,b\";dh=K", None),
        ("dh=K;dh=K", None),
        ("dh=K,dh=K", None),
        ("p256ecdsa=K", None),
    ] {
        assert_eq!(forwarded(sent).as_deref(), expected, "{sent}");
    }
}

/// An aes128gcm body with this record size, keyid and length of its record.
fn body(rs: u32, keyid: &[u8], record: usize) -> Vec<u8> {
    let length = u8::try_from(keyid.len()).unwrap();
    [
        &[0x5a; 16],
        &rs.to_be_bytes()[..],
        &[length],
        keyid,
        &vec![0xa5; record],
    ]
    .concat()
}

/// What a push service can judge of an aes128gcm body (8291-4, E-2).
#[test]
fn structure_of_a_body() {
    let key = Example::new(RFC8291).octets("as_public");
    let compressed = [&[0x02], &key[1..33]].concat();
    let first_octet = [&[0x02], &key[1..]].concat();
    let off_curve = [&[0x04][..], &[0x01; 64]].concat();
    let published = Example::new(RFC8188);
    let of = |name: &str| Example(published.0[name].clone()).octets("body");

    for (what, body, expected) in [
        ("shortest", body(4096, &key, 17), Ok(103)),
        (
            "one less",
            body(4096, &key, 16),
            Err(BodyError::TooShort(102)),
        ),
        ("largest", body(4096, &key, 4010), Ok(4096)),
        ("record size equal", body(100, &key, 100), Ok(186)),
        ("record size of 17", body(17, &key, 17), Ok(103)),
        ("record size too small", body(100, &key, 200), Ok(286)),
        (
            "keyid compressed",
            body(4096, &compressed, 100),
            Err(BodyError::KeyId),
        ),
        (
            "keyid hybrid",
            body(4096, &first_octet, 100),
            Err(BodyError::KeyId),
        ),
        (
            "keyid off the curve",
            body(4096, &off_curve, 100),
            Err(BodyError::KeyId),
        ),
        (
            "keyid of 64",
            body(4096, &key[..64], 100),
            Err(BodyError::KeyId),
        ),
        ("RFC 8188 §3.1", of("one_record"), Err(BodyError::KeyId)),
        ("RFC 8188 §3.2", of("two_records"), Err(BodyError::KeyId)),
        ("20 octets", vec![0; 20], Err(BodyError::TooShort(20))),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("ttl", "0".parse().unwrap());
        headers.insert("content-encoding", "aes128gcm".parse().unwrap());
        let content = PushHeaders::parse(&headers, &LENIENT)
            .unwrap()
            .content(body, None, &LENIENT);
        let length = content.map(|taken| taken.content.unwrap().body.len());
        assert_eq!(length, expected, "{what}");
    }
}

/// E-2, 8291-4-b, 8188-2.1-b.
#[test]
fn the_record_size_is_checked_unless_tolerated() {
    let key = Example::new(RFC8291).octets("as_public");
    for (size, record, wrong) in [
        (4096, 17, false),
        (u32::MAX, 4010, false),
        (18, 18, false),
        (18, 17, false),
        (200, 200, false),
        (17, 17, true),
        (0, 17, true),
        (199, 200, true),
        // Two records and a bit.
        (100, 201, true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("ttl", "0".parse().unwrap());
        headers.insert("content-encoding", "aes128gcm".parse().unwrap());
        let read = PushHeaders::parse(&headers, &Tolerances::NONE).unwrap();
        let body = body(size, &key, record);
        let taken = read.content(body.clone(), None, &LENIENT).unwrap();
        let refused = read.content(body, None, &Tolerances::NONE).err();
        let expected = wrong.then_some(BodyError::RecordSize { size, record });
        assert_eq!(refused, expected);
        assert_eq!((taken.wrong_record_size, taken.unencrypted), (wrong, false));
    }
}
