//! Every header field against its ABNF: what the grammar derives is read, in
//! every spelling of it, and what it does not derive is refused where the
//! standards alone count.

use bugle_protocol::prefer::Prefer;
use bugle_protocol::push::PushHeaders;
use bugle_protocol::vapid::Credentials;
use bugle_protocol::{ContentCoding, KeyPair, Tolerances, accept, link};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::select;

use super::LENIENT;
use super::abnf::{
    among, any_word, list, ows, parameter, quoted, quoted_string, recased, token, word,
};

const TOKEN: &str = "eyJ0eXAi.eyJhdWQi.AbC-_123";
const TARGET: &str = "https://push.example/receipts/a,b;c";

fn key() -> String {
    let pair = KeyPair::from_bytes(&[0x21; 32]).unwrap();
    pair.public_key().to_base64url()
}

fn fields(name: &'static str, values: &[&str]) -> HeaderMap {
    let name = HeaderName::from_static(name);
    let value = |value: &&str| HeaderValue::from_bytes(value.trim().as_bytes()).unwrap();
    let fields = values.iter().map(value);
    let mut headers = HeaderMap::new();
    for value in fields {
        headers.append(&name, value);
    }
    headers
}

/// What both readings make of an `Authorization`, the strict one first.
fn vapid(text: &str) -> [Option<Credentials>; 2] {
    let headers = fields("authorization", &[text]);
    [Tolerances::NONE, LENIENT]
        .map(|tolerances| Credentials::parse(&headers, &tolerances).ok().flatten())
}

/// A parameter that means nothing here.
fn other_parameter() -> impl Strategy<Value = String> {
    let name = token().prop_filter("t and k have a meaning", |name| {
        !["t", "k"].contains(&&*name.to_ascii_lowercase())
    });
    parameter(name, any_word())
}

fn credentials() -> impl Strategy<Value = Vec<String>> {
    let (t, k) = (recased("t"), recased("k"));
    let t = parameter(t, word(TOKEN)).boxed();
    let k = parameter(k, word(&key())).boxed();
    among(vec![t, k], other_parameter())
}

proptest! {
    /// RFC 9110 §11.4: `credentials = auth-scheme [ 1*SP ( token68 /
    /// #auth-param ) ]`; §11.2: `auth-param = token BWS "=" BWS ( token /
    /// quoted-string )`.
    #[test]
    fn authorization(
        scheme in recased("vapid"),
        space in " {1,3}",
        params in credentials().prop_flat_map(list),
    ) {
        let text = format!("{scheme}{space}{params}");
        let plain = vapid(&format!("vapid t={TOKEN}, k={}", key()));
        prop_assert!(plain.iter().all(Option::is_some));
        prop_assert_eq!(vapid(&text), plain, "{}", text);
    }

    /// Neither rule has a semicolon: it is a tolerance.
    #[test]
    fn authorization_with_semicolons(params in credentials()) {
        let text = format!("vapid {}", params.join("; "));
        let [strict, lenient] = vapid(&text);
        prop_assert!(strict.is_none() && lenient.is_some(), "{text}");
    }

    /// RFC 8288 §3: `Link = #link-value`, `link-value = "<" URI-Reference ">"
    /// *( OWS ";" OWS link-param )`, `link-param = token BWS [ "=" BWS ( token /
    /// quoted-string ) ]`.
    #[test]
    fn link_field(
        rel in parameter(recased("rel"), quoted(link::RECEIPT)),
        params in links_params(),
        other_params in links_params(),
        spaces in (ows(), ows()),
        is_first: bool,
        empty in select(&["", ", ,"]),
    ) {
        let (before, after) = spaces;
        let print = |target: &str, params: &[String]| {
            let params = params.iter().map(|param| format!("{before};{after}{param}"));
            format!("<{target}>{}", params.collect::<String>())
        };
        let ours = print(TARGET, &[params, vec![rel]].concat());
        let other = print("/other", &other_params);
        let text = match is_first {
            true => format!("{ours}{empty},{after}{other}"),
            false => format!("{other}{before},{empty}{ours}"),
        };
        let found = link::find(&fields("link", &[&text]), link::RECEIPT);
        prop_assert_eq!(found, Ok(Some(TARGET.to_owned())), "{}", text);
    }

    /// RFC 7240 §2: `Prefer = 1#preference`, `preference = token [ BWS "=" BWS
    /// word ] *( OWS ";" [ OWS parameter ] )`, `parameter = token [ BWS "=" BWS
    /// word ]`.
    #[test]
    fn prefer(
        wait in parameter(recased("wait"), word("0")).prop_flat_map(with_parameters),
        asynchronous in recased("respond-async").prop_flat_map(with_parameters),
        others in prop::collection::vec(other_preference(), 0..3),
        order in Just([0, 1, 2]).prop_shuffle(),
    ) {
        let others = others.join(", ");
        let parts = order.map(|at: usize| [&wait, &asynchronous, &others][at].as_str());
        let text = parts.join(" ,");
        for headers in [fields("prefer", &[&text]), fields("prefer", &parts)] {
            let read = Prefer::parse(&headers);
            prop_assert_eq!((read.respond_async, read.wait_none), (true, true), "{}", text);
        }
    }

    /// RFC 9110 §8.4: `Content-Encoding = #content-coding`, `content-coding =
    /// token`; RFC 8291 §4 allows one.
    #[test]
    fn content_encoding(
        one in recased("aes128gcm").prop_flat_map(|coding| list(vec![coding])),
        empty in list(vec![]),
        other in token().prop_flat_map(|coding| list(vec!["aes128gcm".to_owned(), coding])),
    ) {
        let read = |values: &[&str]| {
            let mut headers = fields("content-encoding", values);
            headers.insert("ttl", HeaderValue::from_static("0"));
            PushHeaders::parse(&headers, &Tolerances::NONE).unwrap().coding
        };
        prop_assert_eq!(read(&[&one]), Ok(Some(ContentCoding::Aes128gcm)), "{}", one);
        prop_assert_eq!(read(&[&one, &empty]), Ok(Some(ContentCoding::Aes128gcm)));
        prop_assert_eq!(read(&[&empty]), Ok(None), "{}", empty);
        prop_assert!(read(&[&other]).is_err(), "{other}");
        prop_assert!(read(&[&one, &one]).is_err());
    }

    /// draft-ietf-webpush-encryption-04 §3 and §4: `Encryption` and `Crypto-Key`
    /// are `#( parameter *( OWS ";" OWS parameter ) )`.
    #[test]
    fn encryption_and_crypto_key(
        salt in word("BAQEBAQEBAQEBAQEBAQEBA"),
        dh in word(&key()),
        names in (recased("salt"), recased("dh")),
        keyid in word("p256dh"),
        spaces in (ows(), ows()),
        other in (recased("p256ecdsa"), word(&key())),
    ) {
        let ((salt_name, dh_name), (before, after)) = (names, spaces);
        let encryption = format!("keyid={keyid}{before};{after}{salt_name}={salt}");
        let own = format!("{dh_name}={dh}{before};{after}keyid={keyid}");
        let crypto_key = format!("{}={}{before},{after}{own}", other.0, other.1);
        let mut headers = fields("encryption", &[&encryption]);
        headers.extend(fields("crypto-key", &[&crypto_key]));
        headers.insert("content-encoding", HeaderValue::from_static("aesgcm"));
        headers.insert("ttl", HeaderValue::from_static("0"));
        let coding = PushHeaders::parse(&headers, &LENIENT).unwrap().coding;
        let expected = ContentCoding::Aesgcm {
            encryption,
            crypto_key: format!("dh={};keyid=p256dh", key()),
        };
        prop_assert_eq!(coding, Ok(Some(expected)), "{}", crypto_key);
    }

    /// RFC 9110 §12.5.1: `Accept = #( media-range [ weight ] )`; §12.4.2:
    /// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`, where 0
    /// is "not acceptable".
    #[test]
    fn accept_field(
        name in recased("text/event-stream"),
        weight in prop_oneof![Just(String::new()), "[ \t]{0,1};[ \t]{0,1}[qQ]=(0\\.[0-9]{0,2}[1-9]|1(\\.0{0,3})?)"],
        none in "[ \t]{0,1};[ \t]{0,1}[qQ]=0(\\.0{0,3})?",
        params in prop::collection::vec((token(), any_word()), 0..2),
        others in prop::collection::vec("(a|text)/[a-z]{1,5}(;q=0)?", 0..3),
    ) {
        let params = params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("q"));
        let params: String = params.map(|(name, value)| format!("; {name}={value}")).collect();
        let text = |weight: &str| {
            let ours = vec![format!("{name}{params}{weight}")];
            [others.clone(), ours].concat().join(" , ")
        };
        let names = |text: &str| accept::names(&fields("accept", &[text]), "text/event-stream");
        prop_assert!(names(&text(&weight)), "{}", text(&weight));
        prop_assert!(!names(&text(&none)), "{}", text(&none));
        prop_assert!(!names(&others.join(",")));
    }
}

/// Parameters of a link, with a value and without, that are no `rel`.
fn links_params() -> impl Strategy<Value = Vec<String>> {
    let name = || token().prop_filter("rel counts", |name| !name.eq_ignore_ascii_case("rel"));
    let without_value = (name(), ows()).prop_map(|(name, space)| name + &space);
    prop::collection::vec(
        prop_oneof![without_value, parameter(name(), any_word())],
        0..3,
    )
}

/// A preference with parameters, which may be empty.
fn with_parameters(preference: String) -> impl Strategy<Value = String> {
    let parameter = prop_oneof![Just(String::new()), token(), parameter(token(), any_word())];
    prop::collection::vec((ows(), ows(), parameter), 0..3).prop_map(move |parameters| {
        let parameters = parameters.into_iter();
        let parameters = parameters.map(|(before, after, it)| format!("{before};{after}{it}"));
        preference.clone() + &parameters.collect::<String>()
    })
}

/// A preference that means nothing here.
fn other_preference() -> impl Strategy<Value = String> {
    let name = token().prop_filter("these have a meaning", |name| {
        !["wait", "respond-async"].contains(&&*name.to_ascii_lowercase())
    });
    let value = prop_oneof![token(), quoted_string()];
    (name, prop::option::of(value)).prop_map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name,
    })
}

/// Texts close to the grammar of `credentials` that it does not derive: what
/// the strict reading refuses, and whether the lenient one takes it.
#[test]
fn authorization_outside_its_grammar() {
    let k = key();
    for (text, is_taken) in [
        // RFC 9110 §5.6.2: "=" is no tchar; RFC 7515 §2: no padding.
        (format!("vapid t={TOKEN}, k={k}="), true),
        (format!("vapid t={TOKEN}, k=\"{k}=\""), true),
        // RFC 9110 §11.4: 1*SP.
        (format!("vapid\tt={TOKEN}, k={k}"), true),
        // A token has a character, and no other than tchar.
        (format!("vapid t={TOKEN}, k={k}, x="), true),
        (format!("vapid t={TOKEN}, k={k}, x=a/b"), true),
        (format!("vapid t={TOKEN}, k={k}, x/y=a"), false),
        // An auth-param has a value, and a comma before the next.
        (format!("vapid t={TOKEN}, k={k}, x"), false),
        (format!("vapid t={TOKEN} k={k}"), false),
        (format!("vapid t={TOKEN}, k={k}, x=\"a"), false),
        (format!("vapid t={TOKEN}, k={k}, x=a\"b\""), false),
        (format!("vapid t={TOKEN}, k={k}, =a"), false),
        (format!("vapid t={TOKEN}, k={k}, x=\u{e9}"), false),
    ] {
        let read = vapid(&text).map(|read| read.is_some());
        assert_eq!(read, [false, is_taken], "{text}");
    }
}

/// RFC 8288 §3.
#[test]
fn link_parameters_without_a_value_and_spaces() {
    for text in [
        "<T>; crossorigin; rel=\"R\"",
        "<T>; rel=\"R\"; crossorigin",
        "<T>; rel = \"R\"",
        "<T> ;\trel\t=\t\"R\" ; as = fetch ; nopush",
        "<T>; title=\"\u{e9}\"; rel=\"R\"",
        "<T>; title*=UTF-8''%e2%82%ac; rel=\"R\"",
        // The first rel counts (§3.3).
        "<T>; rel=\"R\"; rel=\"next\"",
    ] {
        let text = text.replace("<T>", &format!("<{TARGET}>"));
        let text = text.replace("R\"", &format!("{}\"", link::RECEIPT));
        let found = link::find(&fields("link", &[&text]), link::RECEIPT);
        assert_eq!(found, Ok(Some(TARGET.to_owned())), "{text}");
    }
    for text in ["<a>; rel; rel=\"R\"", "<a>; rel=\"next\"; rel=\"R\""] {
        let text = text.replace("R\"", &format!("{}\"", link::RECEIPT));
        let found = link::find(&fields("link", &[&text]), link::RECEIPT);
        assert_eq!(found, Ok(None), "{text}");
    }
    for text in [
        "<a>; =b",
        "<a>; b=\u{e9}",
        "<a>; b c",
        "<a> rel=x",
        "<a>; b=\"c",
    ] {
        let found = link::find(&fields("link", &[text]), link::RECEIPT);
        assert_eq!(found, Err(link::LinkError::Malformed), "{text}");
    }
}

/// RFC 7240 §4.3: `wait = "wait" BWS "=" BWS delta-seconds`; RFC 9111 §1.2.2:
/// `delta-seconds = 1*DIGIT`. The first of several counts (RFC 7240 §2).
#[test]
fn wait_is_a_number_of_seconds() {
    for (text, is_none) in [
        ("wait=0", true),
        ("wait=000", true),
        ("wait=\"0\"", true),
        ("wait=+0", false),
        ("wait=-0", false),
        ("wait=\"\"", false),
        ("wait", false),
        ("wait=0x", false),
        ("wait=0 0", false),
        ("wait=\"0", false),
        ("wait=1, wait=0", false),
        ("wait=x, wait=0", false),
        ("x=\"\u{e9}\", wait=0", true),
    ] {
        let prefer = Prefer::parse(&fields("prefer", &[text]));
        assert_eq!(prefer.wait_none, is_none, "{text}");
    }
}
