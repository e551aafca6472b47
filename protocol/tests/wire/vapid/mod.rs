//! VAPID, clause by clause (RFC 8292).

mod credentials;
mod token;

use std::time::Duration;

use bugle_protocol::vapid::{Audience, AudienceForm, Credentials, VapidError, Verified};
use bugle_protocol::{KeyPair, UnixTime};
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::LENIENT;

const NOW: u64 = 1_700_000_000;
const ORIGIN: &str = "https://push.example.net:8443";
const LEEWAY: Duration = Duration::from_secs(60);

fn sender() -> KeyPair {
    KeyPair::from_bytes(&[0x21; 32]).unwrap()
}

fn key() -> String {
    sender().public_key().to_base64url()
}

fn now() -> UnixTime {
    UnixTime::from_secs(NOW)
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(*name, value);
    }
    headers
}

fn parse(authorization: &str) -> Result<Option<Credentials>, VapidError> {
    Credentials::parse(&headers(&[("authorization", authorization)]), &LENIENT)
}

fn verify(token: &str) -> Result<Verified, VapidError> {
    let audience = Audience::new("https", "push.example.net", Some(8443));
    parse(&format!("vapid t={token}, k={}", key()))?
        .unwrap()
        .verify(&audience, &LENIENT, LEEWAY, now())
}

fn good_token() -> String {
    sender().sign(ORIGIN, UnixTime::from_secs(NOW + 3600), None)
}

#[test]
fn the_example_of_rfc8292_2_4() {
    let example: Value = serde_json::from_str(include_str!("../../vectors/rfc8292.json")).unwrap();
    let text = |name: &str| example[name].as_str().unwrap();
    let credentials = parse(&format!("vapid t={}, k={}", text("t"), text("k")))
        .unwrap()
        .unwrap();
    let audience = Audience::new("https", "push.example.net", None);
    let exp = example["jwt_claims"]["exp"].as_u64().unwrap();
    let at = |time| credentials.verify(&audience, &LENIENT, LEEWAY, UnixTime::from_secs(time));
    let verified = at(exp - 3600).unwrap();
    assert_eq!(verified.key.to_base64url(), text("k"));
    assert_eq!(verified.expires_at, UnixTime::from_secs(exp));
    assert_eq!(verified.subject.as_deref(), Some("mailto:push@example.com"));
    assert_eq!(verified.audience, AudienceForm::Exact);
    assert_eq!(
        at(exp + 61),
        Err(VapidError::Expired(61, UnixTime::from_secs(exp + 61)))
    );
    assert_eq!(
        at(exp - 86_461),
        Err(VapidError::ExpiryTooFar(
            86_461,
            UnixTime::from_secs(exp - 86_461)
        ))
    );
}

#[test]
fn what_a_key_pair_signs_verifies() {
    let expires_at = UnixTime::from_secs(NOW + 86_400);
    let header = sender().authorization(ORIGIN, expires_at, Some("https://example.com"));
    let audience = Audience::new("https", "push.example.net", Some(8443));
    let verified = parse(&header)
        .unwrap()
        .unwrap()
        .verify(&audience, &LENIENT, Duration::ZERO, now())
        .unwrap();
    assert_eq!(verified.key, sender().public_key());
    assert_eq!(verified.expires_at, expires_at);
    assert_eq!(verified.subject.as_deref(), Some("https://example.com"));
}

/// 8292-5-b: a kept result ends with its token.
#[test]
fn a_cached_result_is_checked_again() {
    let verified = verify(&good_token()).unwrap();
    let at = |time| verified.still_valid(LEEWAY, UnixTime::from_secs(time));
    assert_eq!(at(NOW + 3600), Ok(()));
    assert_eq!(
        at(NOW + 3661),
        Err(VapidError::Expired(61, UnixTime::from_secs(NOW + 3661)))
    );
    assert_eq!(
        at(NOW - 86_400),
        Err(VapidError::ExpiryTooFar(
            90_000,
            UnixTime::from_secs(NOW - 86_400)
        ))
    );

    let digest = |text: &str| parse(text).unwrap().unwrap().digest();
    let (t, k) = (good_token(), key());
    let other = KeyPair::from_bytes(&[0x22; 32]).unwrap();
    let same = digest(&format!("vapid t={t}, k={k}"));
    assert_eq!(same, digest(&format!("vapid k={k}, t={t}")));
    assert_ne!(same, digest(&format!("vapid t={t}x, k={k}")));
    assert_ne!(
        same,
        digest(&format!(
            "vapid t={t}, k={}",
            other.public_key().to_base64url()
        ))
    );
}

/// 8292-4.2-d: messages go to logs.
#[test]
fn debug_output_contains_no_token_or_key() {
    let (t, k) = (good_token(), key());
    let credentials = parse(&format!("vapid t={t}, k={k}")).unwrap().unwrap();
    let audience = Audience::new("https", "elsewhere.example", None);
    let error = credentials
        .verify(&audience, &LENIENT, LEEWAY, now())
        .unwrap_err();
    for shown in [format!("{credentials:?}"), format!("{error:?} {error}")] {
        assert!(
            !shown.contains(&t[..20]) && !shown.contains(&k[..20]),
            "{shown}"
        );
    }
}
