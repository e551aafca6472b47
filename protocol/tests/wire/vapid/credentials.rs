//! Reading credentials from header fields, in the standard's form and in
//! those of its drafts.

use bugle_protocol::Tolerances;
use bugle_protocol::key::KeyError;
use bugle_protocol::vapid::{Audience, Credentials, Form, VapidError};
use http::HeaderMap;

use super::{LEEWAY, LENIENT, good_token, headers, key, now, parse, sender};

/// 8292-3-c, 8292-3-d, V-8, V-18.
#[test]
fn parameters_in_every_spelling() {
    let (t, k) = (good_token(), key());
    for text in [
        format!("vapid t={t}, k={k}"),
        format!("vapid t={t},k={k}"),
        format!("VAPID K={k} , T={t}"),
        format!("Vapid   k=\"{k}\",t=\"{t}\""),
        format!("vapid ,, t={t}, foo=bar, v=1, k={k} ,"),
        format!("vapid realm=\"a, b\", t={t}, k={k}="),
        format!("vapid\tt={t}, k={k}"),
    ] {
        let credentials = parse(&text).unwrap().unwrap();
        assert_eq!(credentials.key(), &sender().public_key(), "{text}");
        assert_ne!(credentials.form(), Form::Legacy);
        let plain = parse(&format!("vapid t={t},k={k}")).unwrap().unwrap();
        assert_eq!(credentials.digest(), plain.digest(), "{text}");
    }
}

/// V-3.
#[test]
fn other_schemes_offer_no_vapid() {
    assert_eq!(Credentials::parse(&HeaderMap::new(), &LENIENT), Ok(None));
    for text in [
        "",
        "Basic dXNlcjpwYXNz",
        "Bearer abc",
        "Bearer a.b",
        "Bearer a..b",
        "Bearer a.b.c.d",
        "vapidx t=a",
        "\u{e9}",
    ] {
        assert_eq!(parse(text), Ok(None), "{text}");
    }
    let proxy = format!("vapid t={}, k={}", good_token(), key());
    assert_eq!(
        Credentials::parse(&headers(&[("proxy-authorization", &proxy)]), &LENIENT),
        Ok(None)
    );
}

/// 8292-4.2-i1, 8292-3.2-a, V-2, V-8, V-15.
#[test]
fn missing_malformed_and_repeated_parameters() {
    let (t, k) = (good_token(), key());
    let twice = |name| Err(VapidError::Repeated(name));
    for (text, expected) in [
        (format!("vapid t={t}"), Err(VapidError::Missing("k"))),
        (format!("vapid k={k}"), Err(VapidError::Missing("t"))),
        ("vapid".to_owned(), Err(VapidError::Missing("t"))),
        (format!("vapid {t}"), Err(VapidError::Malformed)),
        (format!("vapid t=\"{t}, k={k}"), Err(VapidError::Malformed)),
        (format!("vapid t={t},t={t},k={k}"), twice("the parameter t")),
        (format!("vapid t={t},k={k},K={k}"), twice("the parameter k")),
        (
            format!("vapid t={t},k={}", &k[..84]),
            Err(VapidError::Key(KeyError::Length(63))),
        ),
        (
            format!("vapid t={t},k={}", &k[..44]),
            Err(VapidError::Key(KeyError::Length(33))),
        ),
        (
            format!("vapid t={t},k=C{}", &k[1..]),
            Err(VapidError::Key(KeyError::NotOnCurve)),
        ),
        (
            format!("vapid t={t},k=+{}", &k[1..]),
            Err(VapidError::Key(KeyError::Encoding)),
        ),
    ] {
        assert_eq!(parse(&text), expected.map(|()| None), "{text}");
    }
    let lines = headers(&[
        ("authorization", "Basic a"),
        ("authorization", "vapid t=a,k=b"),
    ]);
    assert_eq!(
        Credentials::parse(&lines, &LENIENT),
        Err(VapidError::Repeated("the Authorization header"))
    );
}

/// VLEG-a and VLEG-b.
#[test]
fn the_forms_of_the_drafts() {
    let (t, k) = (good_token(), key());
    for scheme in ["WebPush", "webpush", "Bearer", "BEARER"] {
        for crypto_key in [
            format!("p256ecdsa={k}"),
            format!("p256ecdsa=\"{k}\""),
            format!("dh=AAAA;p256ecdsa={k}"),
            format!("dh=AAAA, p256ecdsa={k}"),
        ] {
            let authorization = format!("{scheme} {t}");
            let fields = [
                ("authorization", authorization.as_str()),
                ("crypto-key", &crypto_key),
            ];
            let credentials = Credentials::parse(&headers(&fields), &LENIENT)
                .unwrap()
                .unwrap();
            assert_eq!(credentials.form(), Form::Legacy);
            let audience = Audience::new("https", "push.example.net", Some(8443));
            assert!(
                credentials
                    .verify(&audience, &LENIENT, LEEWAY, now())
                    .is_ok()
            );
        }
    }
    let refused = |crypto_key: &str, expected| {
        let authorization = format!("WebPush {t}");
        let fields = [
            ("authorization", authorization.as_str()),
            ("crypto-key", crypto_key),
        ];
        assert_eq!(
            Credentials::parse(&headers(&fields), &LENIENT),
            Err(expected),
            "{crypto_key}"
        );
    };
    refused("dh=AAAA", VapidError::LegacyKeyMissing);
    refused("p256ecdsa", VapidError::LegacyKeyMissing);
    refused("p256ecdsa=AAAA", VapidError::Key(KeyError::Length(3)));
    refused(
        &format!("p256ecdsa={k},p256ecdsa={k}"),
        VapidError::Repeated("the p256ecdsa of Crypto-Key"),
    );
    assert_eq!(
        parse(&format!("Bearer {t}")),
        Err(VapidError::LegacyKeyMissing)
    );
}

/// An aesgcm sender with the standard's scheme: `Crypto-Key` holds only `dh`.
#[test]
fn crypto_key_is_ignored_beside_the_vapid_scheme() {
    let authorization = format!("vapid t={}, k={}", good_token(), key());
    let fields = [
        ("authorization", authorization.as_str()),
        ("crypto-key", "dh=AAAA"),
    ];
    assert!(
        Credentials::parse(&headers(&fields), &LENIENT)
            .unwrap()
            .is_some()
    );
}

/// V-3: a scheme that is not taken is one like any other.
#[test]
fn legacy_forms_are_ignored_unless_tolerated() {
    let standard = format!("vapid t={}, k={}", good_token(), key());
    for (authorization, is_read) in [
        (standard, true),
        (format!("WebPush {}", good_token()), false),
        (format!("Bearer {}", good_token()), false),
    ] {
        let crypto_key = format!("p256ecdsa={}", key());
        let fields = [
            ("authorization", &*authorization),
            ("crypto-key", &crypto_key),
        ];
        let read = Credentials::parse(&headers(&fields), &Tolerances::NONE).unwrap();
        assert_eq!(read.is_some(), is_read, "{authorization}");
    }
}
