//! What is printed is read back the same; what is encrypted is decrypted the
//! same, and by nobody else; what is no value of a grammar is refused.

use std::time::Duration;

use bugle_protocol::encryption::{MAX_PLAINTEXT, SubscriptionKeys, UserAgentKeys};
use bugle_protocol::push::PushHeaders;
use bugle_protocol::vapid::{Audience, Credentials};
use bugle_protocol::{
    ChannelId, ContentCoding, KeyPair, PublicKey, Topic, Ttl, UnixTime, Urgency, WireUaid,
};
use http::{HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::LENIENT;

const URGENCIES: [Urgency; 4] = [
    Urgency::VeryLow,
    Urgency::Low,
    Urgency::Normal,
    Urgency::High,
];

fn key_pair() -> impl Strategy<Value = KeyPair> {
    any::<[u8; 32]>().prop_filter_map("out of range", |octets| KeyPair::from_bytes(&octets).ok())
}

fn user_agent() -> impl Strategy<Value = UserAgentKeys> {
    any::<([u8; 32], [u8; 16])>().prop_filter_map("out of range", |(private, auth)| {
        UserAgentKeys::from_random(&private, auth).ok()
    })
}

fn audience() -> Audience {
    Audience::new("https", "push.example.net", None)
}

/// The text with some of its letters in the other case.
fn recased(text: &str, upper: u64) -> String {
    let recase = |(i, c): (usize, char)| {
        if upper >> (i % 64) & 1 == 1 {
            c.to_ascii_uppercase()
        } else {
            c
        }
    };
    text.chars().enumerate().map(recase).collect()
}

proptest! {
    #[test]
    fn ttl(secs: u64, text in "[0-9]{1,40}", other in any::<String>()) {
        let ttl = Ttl::from_secs(secs);
        prop_assert_eq!(ttl.to_string().parse(), Ok(ttl));
        prop_assert!(text.parse::<Ttl>().is_ok_and(|ttl| ttl <= Ttl::MAX));
        let digits = !other.is_empty() && other.bytes().all(|b| b.is_ascii_digit());
        prop_assert_eq!(other.parse::<Ttl>().is_ok(), digits);
    }

    #[test]
    fn urgency(urgency in select(&URGENCIES), upper: u64, other in "[a-z-]{0,9}") {
        prop_assert_eq!(recased(urgency.as_str(), upper).parse(), Ok(urgency));
        let known = URGENCIES.iter().any(|urgency| urgency.as_str() == other);
        prop_assert_eq!(other.parse::<Urgency>().is_ok(), known);
    }

    #[test]
    fn topic(text in "[A-Za-z0-9_-]{1,32}", other in any::<String>()) {
        let topic = text.parse::<Topic>();
        prop_assert_eq!(topic.as_ref().map(Topic::as_str), Ok(text.as_str()));
        if let Ok(topic) = other.parse::<Topic>() {
            prop_assert_eq!(topic.as_str(), other);
        }
    }

    #[test]
    fn identifiers(octets: [u8; 16], upper: u64, other in any::<String>()) {
        let (uaid, channel) = (WireUaid::from_bytes(octets), ChannelId::from_bytes(octets));
        prop_assert_eq!(uaid.to_string().parse(), Ok(uaid));
        prop_assert_eq!(recased(&uaid.to_string(), upper).parse(), Ok(uaid));
        prop_assert_eq!(recased(&channel.to_string(), upper).parse(), Ok(uaid));
        prop_assert_eq!(channel.to_string().parse(), Ok(channel));
        prop_assert!(other.parse::<WireUaid>().is_err() && other.parse::<ChannelId>().is_err());
    }

    #[test]
    fn times_never_overflow(millis: u64, secs: u64, more: Duration) {
        let time = UnixTime::from_millis(millis);
        prop_assert!(time + more >= time && time + Ttl::from_secs(secs) >= time);
        prop_assert!(UnixTime::from_secs(secs).since(time) <= Duration::from_millis(u64::MAX));
    }

    #[test]
    fn headers_of_a_push(
        ttl in any::<u64>().prop_map(Ttl::from_secs),
        urgency in select(&URGENCIES),
        topic in proptest::option::of("[A-Za-z0-9_-]{1,32}"),
        coded: bool,
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("ttl", ttl.to_string().parse().unwrap());
        headers.insert("urgency", urgency.as_str().parse().unwrap());
        if let Some(topic) = &topic {
            headers.insert("topic", topic.parse().unwrap());
        }
        if coded {
            headers.insert("content-encoding", "aes128gcm".parse().unwrap());
        }
        let expected = PushHeaders {
            ttl,
            ttl_is_assumed: false,
            urgency,
            topic: topic.map(|topic| topic.parse().unwrap()),
            coding: Ok(coded.then_some(ContentCoding::Aes128gcm)),
            content_type: None,
        };
        prop_assert_eq!(PushHeaders::parse(&headers, &LENIENT), Ok(expected));
    }

    #[test]
    fn arbitrary_header_values_are_read_or_refused(
        name in select(&["authorization", "crypto-key", "encryption", "ttl", "topic"]),
        octets in vec(0x20_u8..=0xff, 0..80),
    ) {
        let octets: Vec<u8> = octets.into_iter().filter(|octet| *octet != 0x7f).collect();
        let mut headers = HeaderMap::new();
        headers.insert("ttl", HeaderValue::from_static("0"));
        headers.insert("content-encoding", HeaderValue::from_static("aesgcm"));
        headers.insert("authorization", HeaderValue::from_static("WebPush a.b.c"));
        headers.insert(name, HeaderValue::from_bytes(&octets).unwrap());
        let read = PushHeaders::parse(&headers, &LENIENT);
        prop_assert!(!read.is_ok_and(|read| read.coding.is_ok()));
        if let Ok(Some(credentials)) = Credentials::parse(&headers, &LENIENT) {
            let result = credentials.verify(&audience(), &LENIENT, Duration::ZERO, UnixTime::from_secs(0));
            prop_assert!(result.is_err());
        }
    }
}

proptest! {
    // A key costs a multiplication on the curve, slow without optimization.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn keys(pair in key_pair(), octets: [u8; 65]) {
        let key = pair.public_key();
        prop_assert_eq!(PublicKey::from_bytes(key.as_bytes()), Ok(key));
        prop_assert_eq!(PublicKey::from_base64url(&key.to_base64url()), Ok(key));
        let padded = format!("{}=", key.to_base64url());
        prop_assert_eq!(PublicKey::from_base64url(&padded), Ok(key));
        prop_assert!(PublicKey::from_bytes(&octets).is_err());

        for read in [
            KeyPair::from_base64url(&pair.to_base64url()),
            KeyPair::from_jwk(&pair.to_jwk()),
            KeyPair::from_pem(&pair.to_pem().unwrap()),
        ] {
            prop_assert_eq!(read.as_ref(), Ok(&pair));
        }
    }

    #[test]
    fn a_signed_token_verifies(
        pair in key_pair(),
        now in 0_u64..1 << 40,
        lifetime in 0_u64..=86_400,
        subject in proptest::option::of("\\PC{0,60}"),
        upper: u64,
        quoted: bool,
        swapped: bool,
    ) {
        let (now, expires_at) = (UnixTime::from_secs(now), UnixTime::from_secs(now + lifetime));
        let token = pair.sign(audience().origin(), expires_at, subject.as_deref());
        let quote = if quoted { "\"" } else { "" };
        let mut parameters = [
            format!("{}={quote}{token}{quote}", recased("t", upper >> 6)),
            format!("{}={quote}{}{quote}", recased("k", upper >> 7), pair.public_key().to_base64url()),
        ];
        if swapped {
            parameters.reverse();
        }
        let text = format!("{} {}", recased("vapid", upper), parameters.join(", "));
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", text.parse().unwrap());
            Credentials::parse(&headers, &LENIENT)
        };
        let credentials = parse(&text).unwrap().unwrap();
        let as_printed = pair.authorization(audience().origin(), expires_at, subject.as_deref());
        prop_assert_eq!(parse(&as_printed), Ok(Some(credentials.clone())));

        let verified = credentials.verify(&audience(), &LENIENT, Duration::ZERO, now).unwrap();
        prop_assert_eq!(verified.key, pair.public_key());
        prop_assert_eq!(verified.expires_at, expires_at);
        prop_assert_eq!(verified.subject, subject);
    }

    #[test]
    fn an_encrypted_message_decrypts(
        receiver in user_agent(),
        stranger in user_agent(),
        ephemeral in key_pair(),
        salt: [u8; 16],
        plaintext in vec(any::<u8>(), 0..=MAX_PLAINTEXT),
        flip: Index,
    ) {
        let keys = receiver.subscription_keys();
        let body = keys.encrypt(&plaintext, &ephemeral, salt).unwrap();
        let aes128gcm = ContentCoding::Aes128gcm;
        let (aesgcm, legacy_body) = keys.encrypt_aesgcm(&plaintext, &ephemeral, salt).unwrap();
        for (coding, body) in [(&aes128gcm, &body), (&aesgcm, &legacy_body)] {
            prop_assert_eq!(receiver.decrypt(coding, body), Ok(plaintext.clone()));
            prop_assert!(stranger.decrypt(coding, body).is_err());
            let mut changed = body.clone();
            let bit = flip.index(body.len() * 8);
            changed[bit / 8] ^= 1 << (bit % 8);
            let record_size = *coding == aes128gcm && (16..20).contains(&(bit / 8));
            prop_assert_eq!(receiver.decrypt(coding, &changed).is_ok(), record_size);
        }
    }

    #[test]
    fn user_agent_keys_are_stored_and_read_back(receiver in user_agent()) {
        let kept = serde_json::to_string(&receiver).unwrap();
        let given = serde_json::to_string(&receiver.subscription_keys()).unwrap();
        let read: SubscriptionKeys = serde_json::from_str(&given).unwrap();
        prop_assert_eq!(read, receiver.subscription_keys());
        prop_assert_eq!(serde_json::from_str::<UserAgentKeys>(&kept).unwrap(), receiver);
    }

    #[test]
    fn arbitrary_bodies_are_refused(receiver in user_agent(), body in vec(any::<u8>(), 0..200)) {
        prop_assert!(receiver.decrypt(&ContentCoding::Aes128gcm, &body).is_err());
        let keys = receiver.subscription_keys();
        let ephemeral = KeyPair::from_bytes(&[1; 32]).unwrap();
        let (aesgcm, _) = keys.encrypt_aesgcm(b"", &ephemeral, [0; 16]).unwrap();
        prop_assert!(receiver.decrypt(&aesgcm, &body).is_err());
    }
}
