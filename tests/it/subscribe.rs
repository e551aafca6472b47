//! Subscribing over HTTP (RFC 8030 §4, RFC 8292 §4.1) and unsubscribing (§7.3).

use crate::support::app_server::{Push, ask, key_pair};
use crate::support::held::{Held, drain};
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, try_subscribe};

#[tokio::test]
async fn rfc8030_4_a_rfc8030_4_b_rfc8030_4_c_rfc8030_4_1_a_rfc8030_4_1_c_subscribing_returns_the_resources()
 {
    let server = Server::start().await;
    for version in [Http1, Http2] {
        let made = Subscription::of(&try_subscribe(&server, version, &[], "").await);
        let other = Subscription::of(&try_subscribe(&server, version, &[], "garbage \0").await);
        let urls = [
            &made.url,
            &made.push,
            &made.set,
            &other.url,
            &other.push,
            &other.set,
        ];
        for (at, url) in urls.iter().enumerate() {
            assert!(url.starts_with(&server.origin()), "{url}");
            assert!(!urls[..at].contains(url), "{url} stands for two things");
        }
        Push::to(&server, &made.push).accepted().await;
        assert_eq!(drain(&server, &made.url).await.0.len(), 1);
    }
}

#[tokio::test]
async fn rfc8030_4_1_d_a_given_set_is_kept() {
    let server = Server::start().await;
    let first = Subscription::new(&server).await;
    let second = first.another(&server).await;
    assert_eq!(first.set, second.set);
    assert_ne!(first.url, second.url);
}

#[tokio::test]
async fn rfc8030_4_1_f_an_invalid_set_is_refused_and_nothing_created() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    ask(&server, "DELETE", &made.set).await;
    let spoilt = format!("{}A", made.set);
    let elsewhere = made.set.replace("http://", "https://");
    for target in [
        &made.set,
        &spoilt,
        &elsewhere,
        &made.url,
        "/subscription-set/x",
        "",
    ] {
        let link = format!("<{target}>; rel=\"urn:ietf:params:push:set\"");
        let reply = try_subscribe(&server, Http1, &[("link", &link)], "").await;
        assert_eq!(reply.status, 400, "{target}");
    }
    let broken = try_subscribe(&server, Http2, &[("link", "nonsense")], "").await;
    assert_eq!(broken.status, 400);
    assert_eq!(server.metric("bugle_subscriptions").await, 0.0);
}

#[tokio::test]
async fn rfc8292_4_a_rfc8292_4_c_v_9_v_10_options_restrict_to_a_key() {
    let server = Server::start().await;
    let keys = key_pair(1);
    let key = keys.public_key().to_base64url();
    for (media_type, body) in [
        (
            "application/webpush-options+json",
            format!(r#"{{"vapid":"{key}"}}"#),
        ),
        (
            "Application/WebPush-Options+JSON; charset=utf-8",
            format!(r#"{{"x":{{"y":1}},"vapid":"{key}"}}"#),
        ),
    ] {
        for version in [Http1, Http2] {
            let headers = [("content-type", media_type)];
            let made = Subscription::of(&try_subscribe(&server, version, &headers, &body).await);
            assert_eq!(Push::to(&server, &made.push).send().await.status, 401);
            Push::to(&server, &made.push).signed(&keys).accepted().await;
        }
    }
    let options = [("content-type", "application/webpush-options+json")];
    for body in [r"{}", r#"{"x":1}"#] {
        let made = Subscription::of(&try_subscribe(&server, Http1, &options, body).await);
        Push::to(&server, &made.push).accepted().await;
    }
    for body in ["", "x", "[]", r#"{"vapid":7}"#, r#"{"vapid":"BA1H"}"#] {
        let reply = try_subscribe(&server, Http1, &options, body).await;
        assert_eq!(reply.status, 400, "{body}");
    }
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(5000));
    assert_eq!(
        try_subscribe(&server, Http1, &options, &large).await.status,
        413
    );
}

#[tokio::test]
async fn rfc8292_4_b_bodies_of_other_types_are_ignored() {
    let server = Server::start().await;
    let body = format!(
        r#"{{"vapid":"{}"}}"#,
        key_pair(1).public_key().to_base64url()
    );
    for media_type in [
        "application/json",
        "text/plain",
        "application/push-options+json",
    ] {
        let headers = [("content-type", media_type)];
        let made = Subscription::of(&try_subscribe(&server, Http2, &headers, &body).await);
        Push::to(&server, &made.push).accepted().await;
    }
}

#[tokio::test]
async fn rfc8030_7_3_b_rfc8030_7_3_c_rfc8030_7_3_d_a_subscription_is_removed_by_delete() {
    needs_ours!("its settings and its metrics");
    let server = Server::start_with(|config| {
        config.compat.gone_status = 404.try_into().unwrap();
    })
    .await;
    let made = Subscription::new(&server).await;
    Push::to(&server, &made.push).accepted().await;
    let mut held = Held::get(&server, &made.url, &[]).await;
    held.push().await.unwrap();
    assert_eq!(ask(&server, "DELETE", &made.url).await.status, 204);
    assert!(held.push().await.is_none());
    assert_eq!(held.ended().await.status, 404);
    assert_eq!(ask(&server, "DELETE", &made.url).await.status, 404);
    assert_eq!(drain(&server, &made.url).await.1, 404);
    assert_eq!(Push::to(&server, &made.push).send().await.status, 404);
    assert_eq!(server.metric("bugle_stored_messages").await, 0.0);
    assert_eq!(drain(&server, &made.set).await.1, 404, "its set is empty");
}

#[tokio::test]
async fn rfc8030_7_3_1_b_rfc8030_7_3_1_c_rfc8030_7_3_1_d_a_set_is_removed_with_its_members() {
    let server = Server::lenient().await;
    let first = Subscription::new(&server).await;
    let second = first.another(&server).await;
    let on_set = Held::get(&server, &first.set, &[]).await;
    let on_member = Held::get(&server, &second.url, &[]).await;
    // The service has both GETs once it responds on them.
    assert_eq!(ask(&server, "DELETE", &first.set).await.status, 204);
    assert_eq!(on_set.ended().await.status, 404);
    assert_eq!(on_member.ended().await.status, 404);
    for member in [&first, &second] {
        assert_eq!(Push::to(&server, &member.push).send().await.status, 410);
        assert_eq!(drain(&server, &member.url).await.1, 404);
    }
    assert_eq!(ask(&server, "DELETE", &first.set).await.status, 404);
}

#[tokio::test]
async fn rfc8030_7_3_1_e_a_removed_subscription_leaves_its_set() {
    let server = Server::start().await;
    let first = Subscription::new(&server).await;
    let second = first.another(&server).await;
    Push::to(&server, &first.push).accepted().await;
    ask(&server, "DELETE", &first.url).await;
    let kept = Push::to(&server, &second.push).accepted().await;
    let (pushes, status) = drain(&server, &first.set).await;
    assert_eq!(status, 200);
    let urls: Vec<_> = pushes.iter().map(|push| push.url()).collect();
    assert_eq!(urls, [kept]);
}

#[tokio::test]
async fn rfc8030_8_3_b_http_b_a_resource_of_one_kind_is_unknown_as_another() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let token = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    for (kind, other) in [
        ("subscription", &made.push),
        ("subscription", &made.set),
        ("subscription-set", &made.url),
        ("receipt-subscription", &made.set),
        ("push", &made.url),
    ] {
        let url = format!("{}/{kind}/{}", server.origin(), token(other));
        let method = if kind == "push" { "POST" } else { "DELETE" };
        assert_eq!(
            ask(&server, method, &url).await.status,
            404,
            "{kind} {other}"
        );
    }
    for (url, allow) in [
        (format!("{}/subscribe", server.origin()), "POST, OPTIONS"),
        (made.url.clone(), "GET, HEAD, DELETE, OPTIONS"),
        (made.set.clone(), "GET, HEAD, DELETE, OPTIONS"),
    ] {
        let reply = ask(&server, "PUT", &url).await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, allow));
        assert_eq!(ask(&server, "OPTIONS", &url).await.status, 204);
    }
}
