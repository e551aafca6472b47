//! Checking a token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::vapid::{Audience, AudienceForm, Credentials, VapidError, Verified};
use bugle_protocol::{KeyPair, UnixTime};
use http::{HeaderMap, HeaderValue};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};

use super::{LEEWAY, LENIENT, NOW, ORIGIN, good_token, key, now, sender, verify};

const HEADER: &str = r#"{"typ":"JWT","alg":"ES256"}"#;

/// A good set of claims, with one of them changed, or left out if null.
fn claims(name: &str, value: Value) -> String {
    let mut claims = json!({ "aud": ORIGIN, "exp": NOW + 3600, "sub": "mailto:a@example.com" });
    let members = claims.as_object_mut().unwrap();
    members.remove(name);
    if !value.is_null() {
        members.insert(name.to_owned(), value);
    }
    claims.to_string()
}

fn verify_with(name: &str, value: Value) -> Result<Verified, VapidError> {
    verify(&sender().sign_json(HEADER, &claims(name, value)))
}

/// 8292-2-g, V-17.
#[test]
fn only_es256_and_no_extension() {
    for (alg, shown) in [
        (json!("none"), "\"none\""),
        (json!("HS256"), "\"HS256\""),
        (json!("RS256"), "\"RS256\""),
        (json!("ES384"), "\"ES384\""),
        (json!("es256"), "\"es256\""),
        (json!(["ES256"]), "[\"ES256\"]"),
        (json!("a\u{7}b"), "\"a\\u0007b\""),
    ] {
        let token = sender().sign_json(&json!({ "alg": alg }).to_string(), &claims("", json!(1)));
        assert_eq!(verify(&token), Err(VapidError::Algorithm(shown.to_owned())));
    }
    let with = |header: &str| verify(&sender().sign_json(header, &claims("", json!(1))));
    assert_eq!(with("{}"), Err(VapidError::Algorithm("absent".to_owned())));
    for crit in ["[\"b64\"]", "[]", "null"] {
        let header = format!(r#"{{"alg":"ES256","crit":{crit}}}"#);
        assert_eq!(with(&header), Err(VapidError::Critical));
    }
    assert!(with(r#"{"alg":"ES256","kid":"x","typ":7}"#).is_ok());
}

/// 8292-2-c, 8292-2-d, 8292-4.2-i3, V-6, V-7.
#[test]
fn exp_is_a_number_of_seconds_within_24_hours() {
    for exp in [
        json!(NOW + 86_400),
        json!(NOW + 86_459),
        json!(NOW - 59),
        json!(1_700_003_600.75),
    ] {
        assert!(verify_with("exp", exp.clone()).is_ok(), "{exp}");
    }
    let verified = verify_with("exp", json!(1_700_003_600.75)).unwrap();
    assert_eq!(
        verified.expires_at,
        UnixTime::from_millis(1_700_003_600_750)
    );

    let malformed = |what| Err(VapidError::ExpiryMalformed(what));
    for (exp, expected) in [
        (json!(null), malformed("absent")),
        (json!("1700003600"), malformed("a string")),
        (json!(true), malformed("not a number")),
        (json!([NOW]), malformed("not a number")),
        (json!(-1), malformed("negative")),
        (json!(-0.5), malformed("negative")),
        (json!(0), Err(VapidError::Expired(NOW, now()))),
        (json!(NOW - 120), Err(VapidError::Expired(120, now()))),
        (
            json!(NOW + 86_520),
            Err(VapidError::ExpiryTooFar(86_520, now())),
        ),
        (
            json!(NOW + 90_000),
            Err(VapidError::ExpiryTooFar(90_000, now())),
        ),
    ] {
        assert_eq!(verify_with("exp", exp.clone()), expected, "{exp}");
    }
    for exp in [json!(u64::MAX), json!(1e300), json!(NOW * 1000)] {
        let result = verify_with("exp", exp.clone());
        assert!(matches!(result, Err(VapidError::ExpiryTooFar(..))), "{exp}");
    }
    let overflow = sender().sign_json(HEADER, &format!(r#"{{"aud":"{ORIGIN}","exp":1e999}}"#));
    assert_eq!(verify(&overflow), Err(VapidError::Json("claims")));
}

#[test]
fn nbf_may_not_lie_ahead() {
    for nbf in [json!(NOW), json!(NOW + 59), json!(0), json!("x"), json!({})] {
        assert!(verify_with("nbf", nbf.clone()).is_ok(), "{nbf}");
    }
    assert_eq!(
        verify_with("nbf", json!(NOW + 120)),
        Err(VapidError::NotYetValid(120, now()))
    );
}

/// 8292-4.2-i4, V-4, V-16.
#[test]
fn aud_is_our_origin() {
    let form = |aud| verify_with("aud", aud).map(|verified| verified.audience);
    assert_eq!(form(json!(ORIGIN)), Ok(AudienceForm::Exact));
    assert_eq!(form(json!(["x", ORIGIN])), Ok(AudienceForm::Exact));
    let bare = json!("https://push.example.net");
    assert_eq!(form(bare), Ok(AudienceForm::WithoutPort));
    for (aud, got) in [
        (
            json!("https://other.example.net:8443"),
            "\"https://other.example.net:8443\"",
        ),
        (
            json!(format!("{ORIGIN}/")),
            "\"https://push.example.net:8443/\"",
        ),
        (
            json!("http://push.example.net:8443"),
            "\"http://push.example.net:8443\"",
        ),
        (json!("*"), "\"*\""),
        (json!(7), "7"),
        (json!(null), "absent"),
    ] {
        let expected = ORIGIN.to_owned();
        let got = got.to_owned();
        assert_eq!(form(aud), Err(VapidError::Audience { expected, got }));
    }
}

/// 8292-2.1-a, 8292-2.1-b, 8292-2.2-a.
#[test]
fn sub_and_other_claims_may_be_anything() {
    let subject = |sub| verify_with("sub", sub).unwrap().subject;
    assert_eq!(subject(json!(null)), None);
    assert_eq!(subject(json!(5)), None);
    assert_eq!(subject(json!("hello")).as_deref(), Some("hello"));
    assert_eq!(subject(json!("x".repeat(513))), None);
    assert!(verify_with("iat", json!(NOW)).is_ok());
    assert!(verify_with("extra", json!({ "a": [1, 2] })).is_ok());
}

/// 8292-4.2-i2: any changed bit of any part, another key, another form.
#[test]
fn the_signature_covers_every_bit() {
    let token = good_token();
    for at in 0..token.len() {
        for bit in 0..7 {
            let mut octets = token.clone().into_bytes();
            octets[at] ^= 1 << bit;
            let changed = String::from_utf8(octets).unwrap();
            let Ok(value) = HeaderValue::from_str(&format!("vapid t=\"{changed}\", k={}", key()))
            else {
                continue;
            };
            let mut headers = HeaderMap::new();
            headers.insert("authorization", value);
            let audience = Audience::new("https", "push.example.net", Some(8443));
            let result = Credentials::parse(&headers, &LENIENT)
                .and_then(|c| c.unwrap().verify(&audience, &LENIENT, LEEWAY, now()));
            assert!(result.is_err(), "bit {bit} of character {at}");
        }
    }
    let other = KeyPair::from_bytes(&[0x22; 32]).unwrap();
    let signed = other.sign(ORIGIN, UnixTime::from_secs(NOW + 3600), None);
    assert_eq!(verify(&signed), Err(VapidError::Signature));
}

#[test]
fn a_signature_in_der_is_refused_by_its_length() {
    let token = good_token();
    let (signed, _) = token.rsplit_once('.').unwrap();
    let signing_key = SigningKey::from_slice(&sender().to_bytes()).unwrap();
    let signature: p256::ecdsa::DerSignature = signing_key.sign(signed.as_bytes());
    let der = URL_SAFE_NO_PAD.encode(signature.as_bytes());
    let result = verify(&format!("{signed}.{der}"));
    assert_eq!(
        result,
        Err(VapidError::SignatureLength(signature.as_bytes().len()))
    );
}

#[test]
fn malformed_tokens_are_refused() {
    let (signed, signature) = good_token()
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for token in [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "a.b.c.d".to_owned(),
        signed.clone(),
        format!("{signed}."),
        format!("{signed}.{signature}="),
        format!("={signed}.{signature}"),
        format!("{signed}.{signature}.{signature}"),
    ] {
        assert!(verify(&token).is_err(), "{token}");
    }
    let of = |header: &str, claims: &str| verify(&sender().sign_json(header, claims));
    assert_eq!(of("[]", "{}"), Err(VapidError::Json("header")));
    assert_eq!(of(r#"["ES256"]"#, "{}"), Err(VapidError::Json("header")));
    assert_eq!(of(HEADER, "7"), Err(VapidError::Json("claims")));
    assert_eq!(of(HEADER, "{} {}"), Err(VapidError::Json("claims")));
    assert_eq!(
        of(HEADER, &"[".repeat(5000)),
        Err(VapidError::Json("claims"))
    );
}
