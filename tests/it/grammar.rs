//! Edge cases of header field grammar, and bodies that contradict their coding. The strict
//! profile accepts what the standards derive; anything else needs a tolerance or is refused.

use bugle::config::{Config, Profile};

use crate::support::app_server::Push;
use crate::support::http::Reply;
use crate::support::http::Version::{Http1, Http2};
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link, try_subscribe};
use crate::support::user_agent::{CHANNEL, UserAgent};

const SET: &str = "urn:ietf:params:push:set";
const RECEIPT: &str = "urn:ietf:params:push:receipt";
const OPTIONS: (&str, &str) = ("content-type", "application/webpush-options+json");

/// RFC 9110 §11.2: `auth-param = token BWS "=" BWS ( token / quoted-string )`.
#[tokio::test]
async fn white_space_around_the_equals_sign_of_an_auth_param_is_accepted() {
    let scene = Scene::at(Server::start().await).await;
    let push = Push::to(&scene.server, &scene.endpoint).text("x");
    let signed = push.clone().signed(&scene.keys);
    let (token, key) = signed.authorization().split_once(", k=").unwrap();
    let token = token.strip_prefix("vapid t=").unwrap();
    for field in [
        format!("vapid t = {token}, k = {key}"),
        format!("vapid k =\t\"{key}\" ,\tt\t= {token}, realm = \"a\""),
    ] {
        for version in [Http1, Http2] {
            let push = push.clone().over(version).header("authorization", &field);
            push.accepted().await;
        }
    }
}

/// RFC 8288 §3: `link-param = token BWS [ "=" BWS ( token / quoted-string ) ]`.
#[tokio::test]
async fn link_parameters_may_lack_a_value_and_contain_white_space() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    for params in [
        format!("crossorigin; rel=\"{SET}\""),
        format!("rel = \"{SET}\" ; nopush"),
        format!("title=\"\u{e9}\"; rel=\"{SET}\""),
    ] {
        let field = format!("<{}>; {params}", made.set);
        for version in [Http1, Http2] {
            let reply = try_subscribe(&server, version, &[("link", &field)], "").await;
            assert_eq!(Subscription::of(&reply).set, made.set, "{params}");
        }
    }
    let push = Push::to(&server, &made.push).header("prefer", "respond-async");
    let receipts = link(&push.send().await, RECEIPT).unwrap();
    let field = format!("<{receipts}>;crossorigin;rel =\"{RECEIPT}\"");
    let reply = push.header("link", &field).send().await;
    assert_eq!(link(&reply, RECEIPT), Some(receipts), "{reply:?}");
}

async fn subscribe_with(server: &Server, options: &str) -> Reply {
    try_subscribe(server, Http2, &[OPTIONS], options).await
}

/// RFC 8292 §4.1: the member is a string with the key as in §3.2, without padding.
#[tokio::test]
async fn a_null_and_a_padded_key_in_the_options_need_a_tolerance() {
    needs_ours!("its settings");
    let scene = Scene::at(Server::start().await).await;
    let (null, padded) = (
        r#"{"vapid": null}"#.to_owned(),
        format!(r#"{{"vapid": "{}="}}"#, scene.key()),
    );
    for options in [&null, &padded] {
        let reply = subscribe_with(&scene.server, options).await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (400, 999));
    }
    let server = Server::start_with(|config| config.compat.profile = Profile::Lenient).await;
    let tolerated = "bugle_tolerated_total{what=\"loose_vapid\"}";
    for (options, status, count) in [(null, 201, 1.0), (padded, 401, 2.0)] {
        let made = Subscription::of(&subscribe_with(&server, &options).await);
        assert_eq!(server.metric(tolerated).await, count, "{options}");
        let reply = Push::to(&server, &made.push).send().await;
        assert_eq!(reply.status.as_u16(), status, "{options}");
    }
    // An array is not an object (V-9).
    let array = format!("[\"{}\"]", scene.key());
    for server in [&server, &scene.server] {
        assert_eq!(subscribe_with(server, &array).await.status, 400);
    }
}

/// RFC 9110 §12.4.2: a weight of 0 is "not acceptable".
#[tokio::test]
async fn events_with_weight_0_are_not_sent() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    Push::to(&server, &made.push).accepted().await;
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    for (accept, status) in [
        ("text/event-stream;q=0", 400),
        ("text/html, */*", 400),
        ("*/*;q=0.1, Text/Event-Stream;q=0.5", 200),
    ] {
        let fields = [("accept", accept), ("prefer", "wait=0")];
        let authority = server.authority();
        let reply = crate::support::http::http1(authority, "GET", path, &fields, b"").await;
        assert_eq!(reply.status.as_u16(), status, "{accept}");
    }
}

/// E-4: an empty body needs no decryption.
#[tokio::test]
async fn e_4_an_empty_body_with_any_coding_is_a_message_without_data() {
    let mut scene = Scene::at(Server::start().await).await;
    for coding in [
        "aes128gcm",
        "aesgcm",
        "gzip",
        "aes128gcm, gzip",
        "",
        "\u{e9}",
    ] {
        for version in [Http1, Http2] {
            let push = Push::to(&scene.server, &scene.endpoint).signed(&scene.keys);
            let push = push.over(version).header("content-encoding", coding);
            push.accepted().await;
            let notification = scene.user_agent.notification().await;
            assert!(notification.0.get("data").is_none(), "{coding}");
            assert!(notification.0.get("headers").is_none(), "{coding}");
        }
    }
}

async fn unencrypted(change: impl FnOnce(&mut Config)) -> (Server, UserAgent, String) {
    let server = Server::start_with(|config| {
        config.compat.profile = Profile::Lenient;
        config.compat.allow_unencrypted = true;
        change(config);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (server, user_agent, endpoint)
}

/// Load tools and test suites of other services declare a coding and send arbitrary bytes; the
/// second case uses the fields of such a suite.
#[tokio::test]
async fn e_1_allow_unencrypted_accepts_bodies_that_contradict_their_coding() {
    needs_ours!("its settings");
    let (server, mut user_agent, endpoint) = unencrypted(|_| ()).await;
    let plain = Push::to(&server, &endpoint).header("content-encoding", "aes128gcm");
    let salt = "keyid=\"http://a.example/keys/1\";salt=\"XZwpw6o37R-6qoZjw6KwAw==\"";
    let legacy = plain
        .clone()
        .header("content-encoding", "aesgcm")
        .header("encryption", salt)
        .header(
            "crypto-key",
            "keyid=\"a1\"; dh=\"JcqK-OLkJZlJ3sJJWstJCA\";p256ecdsa=AAAA",
        );
    let aesgcm = serde_json::json!({
        "encoding": "aesgcm",
        "encryption": salt,
        "crypto_key": "keyid=a1;dh=JcqK-OLkJZlJ3sJJWstJCA",
    });
    let aes128gcm = serde_json::json!({ "encoding": "aes128gcm" });
    for (count, (push, headers, body)) in [
        (&plain, &aes128gcm, b"hello".to_vec()),
        (&plain, &aes128gcm, vec![0; 200]),
        (&plain, &aes128gcm, vec![0x41; 4096]),
        (&legacy, &aesgcm, b"\xde\xad\xbe\xef".to_vec()),
        (&legacy, &aesgcm, vec![7; 300]),
    ]
    .into_iter()
    .enumerate()
    {
        push.clone().body(body.clone()).accepted().await;
        let notification = user_agent.notification().await;
        assert_eq!(notification.data(), body);
        assert_eq!(&notification.0["headers"], headers);
        let tolerated = "bugle_tolerated_total{what=\"allow_unencrypted\"}";
        let before = f64::from(u32::try_from(count).unwrap());
        assert_eq!(server.metric(tolerated).await, before + 1.0);
    }
    // The fields that are relayed with a coding must exist and be known.
    for (push, status) in [
        (legacy.clone().without("encryption"), 400),
        (plain.clone().header("content-encoding", "gzip"), 415),
    ] {
        let reply = push.body(vec![7; 300]).send().await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (status, 110));
    }
    // An encrypted body needs no tolerance.
    plain.text("x").accepted().await;
    let tolerated = "bugle_tolerated_total{what=\"allow_unencrypted\"}";
    assert_eq!(server.metric(tolerated).await, 5.0);
}

#[tokio::test]
async fn bodies_that_contradict_their_coding_are_refused_by_default() {
    needs_ours!("its settings");
    let (server, mut user_agent, endpoint) =
        unencrypted(|config| config.compat.allow_unencrypted = false).await;
    let push = Push::to(&server, &endpoint).header("content-encoding", "aes128gcm");
    for body in [b"hello".to_vec(), vec![0; 200]] {
        let reply = push.clone().body(body).send().await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (400, 110));
    }
    user_agent.receives_nothing().await;
}
