//! What application servers send.

use std::time::Duration;

use bugle_protocol::accept;
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::link;
use bugle_protocol::prefer::Prefer;
use bugle_protocol::push::PushHeaders;
use bugle_protocol::vapid::{Audience, Credentials, Form};
use bugle_protocol::{
    ChannelId, ContentCoding, Keyring, MessageId, MessageUrl, PushEndpoint, ReceiptSubscriptionUrl,
    SubscriptionId, SubscriptionSetUrl, Tolerances, Uaid, UnixTime,
};
use http::{HeaderMap, HeaderName, HeaderValue};

/// An hour before the token of RFC 8292 §2.4 expires.
const NOW: UnixTime = UnixTime::from_secs(1_453_520_168);

/// All that reaches the most code.
const LENIENT: Tolerances = Tolerances {
    aud_without_port: true,
    legacy_vapid: true,
    loose_vapid: true,
    aesgcm: true,
    wrong_record_size: true,
    ..Tolerances::NONE
};

/// Reads `name: value` lines up to an empty one; gives what follows it.
fn request(data: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    let mut rest = data;
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let Some(colon) = line.iter().position(|octet| *octet == b':') else {
            break;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (headers, rest)
}

/// Header fields to credentials, to a verified sender. An error is short and
/// printable, for it goes into answers and logs.
pub fn vapid(data: &[u8]) {
    let (headers, _) = request(data);
    let audience = Audience::new("https", "push.example.net", None);
    let leeway = Duration::from_secs(60);
    if let Ok(Some(strict)) = Credentials::parse(&headers, &Tolerances::NONE) {
        assert_eq!(strict.form(), Form::Standard);
        assert_eq!(Credentials::parse(&headers, &LENIENT), Ok(Some(strict)));
    }
    let error = match Credentials::parse(&headers, &LENIENT) {
        Ok(None) => return,
        Ok(Some(credentials)) => match credentials.verify(&audience, &LENIENT, leeway, NOW) {
            Ok(verified) => {
                assert_eq!(verified.still_valid(leeway, NOW), Ok(()));
                assert_eq!(&verified.key, credentials.key());
                return;
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    let shown = error.to_string();
    assert!(shown.chars().count() < 400, "{shown}");
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

/// Header fields and a body to the content of a push. The VAPID key does not
/// reach the user agent (RFC 8292 §4.2).
pub fn push_headers(data: &[u8]) {
    let (headers, body) = request(data);
    let _ = Prefer::parse(&headers);
    let _ = accept::names(&headers, "text/event-stream");
    for relation in [link::PUSH, link::SET, link::RECEIPT] {
        if let Ok(Some(target)) = link::find(&headers, relation) {
            assert!(!target.contains('>'), "{target}");
        }
    }
    let Ok(read) = PushHeaders::parse(&headers, &LENIENT) else {
        return;
    };
    if let Ok(Some(ContentCoding::Aesgcm { crypto_key, .. })) = &read.coding {
        let is = |name| {
            crypto_key
                .split(';')
                .filter(move |p| p.starts_with(name))
                .count()
        };
        assert_eq!(is("dh="), 1, "{crypto_key}");
        assert_eq!(
            is("keyid=") + 1,
            crypto_key.split([';', ',']).count(),
            "{crypto_key}"
        );
    }
    if let Ok(taken) = read.content(body.to_vec(), None, &LENIENT) {
        let content = taken.content.as_ref();
        assert_eq!(content.map_or(&[][..], |content| &content.body), body);
        assert!(content.is_none_or(|content| content.coding.is_some()));
        // With another tolerance the same body is taken.
        let unencrypted = Tolerances {
            unencrypted: true,
            ..LENIENT
        };
        assert_eq!(read.content(body.to_vec(), None, &unencrypted), Ok(taken));
    }
}

/// The last segment of a URL. A token has one spelling; what the input seals
/// to opens again.
pub fn tokens(data: &[u8]) {
    let Ok(keyring) = Keyring::new(&[[9; 32], [8; 32]]) else {
        unreachable!("there are two keys");
    };
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(endpoint) = PushEndpoint::open(&keyring, text) {
            assert_eq!(endpoint.seal(&keyring), text);
        }
        if let Ok(message) = MessageUrl::open(&keyring, text) {
            assert_eq!(message.seal(&keyring), text);
        }
        if let Ok(own) = PushEndpoint::open_subscription(&keyring, text) {
            assert_eq!(own.seal_subscription(&keyring), text);
        }
        if let Ok(set) = SubscriptionSetUrl::open(&keyring, text) {
            assert_eq!(set.seal(&keyring), text);
        }
        if let Ok(receipts) = ReceiptSubscriptionUrl::open(&keyring, text) {
            assert_eq!(receipts.seal(&keyring), text);
        }
    }
    let octet = |at: usize| data.get(at).copied().unwrap_or_default();
    let part = |start: usize| std::array::from_fn(|i| octet(start + i));
    let endpoint = PushEndpoint {
        uaid: Uaid::from_bytes(part(0)),
        channel: ChannelId::from_bytes(part(16)),
        subscription: SubscriptionId::from_bytes(part(32)),
    };
    let token = endpoint.seal(&keyring);
    assert_eq!(PushEndpoint::open(&keyring, &token), Ok(endpoint));
    let message = MessageUrl {
        uaid: endpoint.uaid,
        id: MessageId::new(u64::from_be_bytes(std::array::from_fn(|i| octet(16 + i)))),
    };
    let token = message.seal(&keyring);
    assert_eq!(MessageUrl::open(&keyring, &token), Ok(message));
}

/// The keys of RFC 8291 appendix A.
fn user_agent() -> UserAgentKeys {
    const PRIVATE: [u8; 32] = [
        0xab, 0x57, 0x57, 0xa7, 0x0d, 0xd4, 0xa5, 0x3e, 0x55, 0x3a, 0x6b, 0xbf, 0x71, 0xff, 0xef,
        0xea, 0x28, 0x74, 0xec, 0x07, 0xa6, 0xb3, 0x79, 0xe3, 0xc4, 0x8f, 0x89, 0x5a, 0x02, 0xdc,
        0x33, 0xde,
    ];
    const AUTH: [u8; 16] = [
        0x05, 0x30, 0x59, 0x32, 0xa1, 0xc7, 0xea, 0xbe, 0x13, 0xb6, 0xce, 0xc9, 0xfd, 0xa4, 0x88,
        0x82,
    ];
    match UserAgentKeys::from_random(&PRIVATE, AUTH) {
        Ok(keys) => keys,
        Err(_) => unreachable!("a published key"),
    }
}

/// A request that a user agent decrypts: what it can decrypt, the service has
/// taken.
pub fn encryption(data: &[u8]) {
    let keys = user_agent();
    let (headers, body) = request(data);
    if let Ok(read) = PushHeaders::parse(&headers, &LENIENT)
        && let Ok(Some(coding)) = &read.coding
        && keys.decrypt(coding, body).is_ok()
    {
        let taken = read.content(body.to_vec(), None, &LENIENT);
        assert!(taken.is_ok_and(|taken| taken.content.is_some()));
    }
}
