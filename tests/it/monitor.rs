//! Receiving over HTTP (RFC 8030 §6): server pushes on held GETs.

use std::time::Duration;

use crate::support::app_server::{Push, ask, encrypted};
use crate::support::held::{Events, Held, drain};
use crate::support::http;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link};

#[tokio::test]
async fn rfc8030_6_a_rfc8030_6_c_rfc8030_6_d_rfc8030_6_e_a_2_a_message_is_pushed_on_the_held_get() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let mut held = Held::get(&server, &made.url, &[]).await;
    for text in ["one", "two"] {
        let push = Push::to(&server, &made.push)
            .text(text)
            .topic(text)
            .header("urgency", "high");
        let message = push
            .header("content-type", "application/x-test")
            .accepted()
            .await;
        let pushed = held.push().await.unwrap();
        assert_eq!(pushed.request.method(), "GET");
        assert_eq!(pushed.url(), message);
        assert_eq!(
            (pushed.reply.status.as_u16(), &*pushed.reply.body),
            (200, &*encrypted(text))
        );
        for (name, value) in [
            ("content-encoding", "aes128gcm"),
            ("content-type", "application/x-test"),
            ("cache-control", "private"),
            ("content-length", &encrypted(text).len().to_string()),
            ("urgency", ""),
            ("topic", ""),
        ] {
            assert_eq!(pushed.reply.header(name), value, "{name}");
        }
        assert!(!pushed.reply.header("date").is_empty());
        assert!(!pushed.reply.header("last-modified").is_empty());
        // the push resource, in the promise and in the response.
        assert_eq!(
            link(&pushed.reply, "urn:ietf:params:push"),
            Some(made.push.clone())
        );
        let promised = pushed.request.headers()["link"].to_str().unwrap();
        assert!(promised.contains(&made.push), "{promised}");
    }
}

#[tokio::test]
async fn rfc8030_6_f_rfc8030_6_g_rfc8030_6_1_e_rfc8030_6_1_f_rfc8030_7_2_b_wait_0_returns_stored_messages_and_ends()
 {
    needs_ours!("its clock");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    for url in [&made.url, &made.set] {
        assert_eq!(drain(&server, url).await.1, 204);
    }
    let mut sent = Vec::new();
    for text in ["one", "two", "three"] {
        sent.push(Push::to(&server, &made.push).text(text).accepted().await);
    }
    for url in [&made.url, &made.set] {
        let (pushes, status) = drain(&server, url).await;
        let urls: Vec<_> = pushes.iter().map(|push| push.url()).collect();
        assert_eq!((urls, status), (sent.clone(), 200));
    }
    server.advance(Duration::from_secs(60));
    assert_eq!(
        drain(&server, &made.url).await.1,
        204,
        "7.2-b: all of them have expired"
    );
}

#[tokio::test]
async fn rfc8030_6_1_b_rfc8030_6_1_d_a_2_a_set_covers_its_present_and_future_members() {
    let server = Server::start().await;
    let first = Subscription::new(&server).await;
    let mut held = Held::get(&server, &first.set, &[]).await;
    let second = first.another(&server).await;
    for member in [&first, &second] {
        let message = Push::to(&server, &member.push).accepted().await;
        let pushed = held.push().await.unwrap();
        assert_eq!(pushed.url(), message);
        assert!(
            pushed.request.headers()["link"]
                .to_str()
                .unwrap()
                .contains(&member.push)
        );
    }
    let stranger = Subscription::new(&server).await;
    Push::to(&server, &stranger.push).accepted().await;
    let message = Push::to(&server, &first.push).accepted().await;
    assert_eq!(held.push().await.unwrap().url(), message);
}

#[tokio::test]
async fn rfc8030_6_a_a_subscription_returns_only_its_own_messages() {
    let server = Server::start().await;
    let first = Subscription::new(&server).await;
    let second = first.another(&server).await;
    let mut held = Held::get(&server, &first.url, &[]).await;
    Push::to(&server, &second.push).accepted().await;
    let message = Push::to(&server, &first.push).accepted().await;
    assert_eq!(held.push().await.unwrap().url(), message);
}

#[tokio::test]
async fn rfc8030_6_2_a_rfc8030_6_2_c_a_message_is_redelivered_until_it_is_deleted() {
    needs_ours!("restarts");
    let mut server = Server::start().await;
    let made = Subscription::new(&server).await;
    let message = Push::to(&server, &made.push).text("again").accepted().await;
    for _ in 0..2 {
        let (pushes, _) = drain(&server, &made.set).await;
        assert_eq!(pushes[0].url(), message);
        assert_eq!(pushes[0].reply.body, encrypted("again"));
        server.restart().await;
    }
    assert_eq!(ask(&server, "DELETE", &message).await.status, 204);
    assert_eq!(drain(&server, &made.set).await.1, 204);
    assert_eq!(ask(&server, "DELETE", &message).await.status, 404);
}

#[tokio::test]
async fn rfc8030_5_3_c_rfc8030_5_3_e_rfc8030_5_3_f_rfc8030_6_b_rfc8030_6_1_c_urgency_filters_and_keeps()
 {
    let words = ["very-low", "low", "normal", "high"];
    let server = Server::start().await;
    for (least, min) in words.into_iter().enumerate() {
        let made = Subscription::new(&server).await;
        let mut sent = Vec::new();
        for urgency in words {
            let push = Push::to(&server, &made.push).header("urgency", urgency);
            sent.push(push.accepted().await);
        }
        for url in [&made.url, &made.set] {
            let headers = [("prefer", "wait=0"), ("urgency", min)];
            let mut held = Held::get(&server, url, &headers).await;
            let mut urls = Vec::new();
            while let Some(push) = held.push().await {
                urls.push(push.url());
            }
            assert_eq!(urls, sent[least..], "{min}");
        }
        let (pushes, _) = drain(&server, &made.url).await;
        assert_eq!(pushes.len(), 4, "what was held back is still there");
        let plain = Push::to(&server, &made.push).accepted().await;
        for message in sent {
            ask(&server, "DELETE", &message).await;
        }
        let headers = [("prefer", "wait=0"), ("urgency", "high")];
        let high = Held::get(&server, &made.url, &headers).await;
        assert_eq!(high.ended().await.status, 204, "no Urgency is normal");
        assert_eq!(drain(&server, &made.url).await.0[0].url(), plain);
    }
}

#[tokio::test]
async fn rfc8030_5_3_h_several_urgencies_are_refused_when_monitoring() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    for headers in [
        &[("urgency", "low, high")] as &[_],
        &[("urgency", "low"), ("urgency", "high")],
        &[("urgency", "soon")],
    ] {
        let held = Held::get(&server, &made.url, headers).await;
        assert_eq!(held.ended().await.status, 400);
    }
}

#[tokio::test]
async fn rfc8030_5_2_j_ttl_0_reaches_only_held_gets() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    Push::to(&server, &made.push)
        .ttl(0)
        .text("never")
        .accepted()
        .await;
    assert_eq!(drain(&server, &made.url).await.1, 204);
    for url in [&made.url, &made.set] {
        let mut held = Held::get(&server, url, &[]).await;
        let first = Push::to(&server, &made.push).accepted().await;
        held.push().await.unwrap();
        Push::to(&server, &made.push)
            .ttl(0)
            .text("now")
            .accepted()
            .await;
        assert_eq!(held.push().await.unwrap().reply.body, encrypted("now"));
        ask(&server, "DELETE", &first).await;
    }
    assert_eq!(server.metric("bugle_messages_dropped_total").await, 1.0);
}

#[tokio::test]
async fn newest_get_on_a_resource_supersedes_older() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let mut older = Held::get(&server, &made.set, &[]).await;
    Push::to(&server, &made.push).accepted().await;
    older.push().await.unwrap();
    let mut newer = Held::get(&server, &made.set, &[]).await;
    newer.push().await.unwrap();
    assert_eq!(older.ended().await.status, 200);
    Push::to(&server, &made.push).accepted().await;
    newer.push().await.unwrap();
}

#[tokio::test]
async fn a_1_rfc8030_7_1_b_a_held_get_ends_after_its_lifetime_and_on_shutdown() {
    needs_ours!("its settings and restarts");
    let mut server = Server::start_with(|config| {
        config.user_agent.monitor_lifetime = Duration::from_millis(100);
    })
    .await;
    let made = Subscription::new(&server).await;
    let held = Held::get(&server, &made.set, &[]).await;
    assert_eq!(held.ended().await.status, 204);
    Push::to(&server, &made.push).accepted().await;
    let mut held = Held::get(&server, &made.set, &[]).await;
    held.push().await.unwrap();
    assert_eq!(held.ended().await.status, 200);
    let mut held = Held::get(&server, &made.set, &[]).await;
    held.push().await.unwrap();
    let (_, reply) = tokio::join!(server.restart(), held.ended());
    assert_eq!(reply.status, 200);
    assert_eq!(drain(&server, &made.set).await.0.len(), 1);
}

#[tokio::test]
async fn a_3_http_j_without_server_push_a_get_returns_events_or_400() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let path = made.url.strip_prefix(&server.origin()).unwrap();
    let wait = [("prefer", "wait=0")];
    let empty = http::http1(server.authority(), "GET", path, &wait, b"").await;
    assert_eq!(empty.status, 204);
    let no_push = h2::client::Builder::new().enable_push(false).clone();
    let held = Held::get_with(&no_push, &server, &made.url, &[]).await;
    assert_eq!(
        held.ended().await.status,
        400,
        "at once, not at the first message"
    );
    let mut live = Held::get(&server, &made.url, &[]).await;
    Push::to(&server, &made.push).text("kept").accepted().await;
    live.push().await.unwrap();
    let over_http2 = Held::get_with(&no_push, &server, &made.url, &wait)
        .await
        .ended()
        .await;
    let over_http1 = http::http1(server.authority(), "GET", path, &wait, b"").await;
    for reply in [over_http1, over_http2] {
        assert_eq!(reply.status, 400);
        assert!(
            reply.text().contains("text/event-stream"),
            "{}",
            reply.text()
        );
    }
    // A refused GET neither supersedes a held one nor takes a message.
    let next = Push::to(&server, &made.push).accepted().await;
    assert_eq!(live.push().await.unwrap().url(), next);
    assert_eq!(drain(&server, &made.url).await.0.len(), 2);
}

#[tokio::test]
async fn a_3_events_deliver_the_same_messages() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let first = Push::to(&server, &made.push).text("first").accepted().await;
    let mut events = Events::get(&server, &made.set, &[]).await;
    for message in [
        first,
        Push::to(&server, &made.push).text("first").accepted().await,
    ] {
        let (kind, data) = events.next().await.unwrap();
        assert_eq!(
            (kind.as_str(), &data["message"]),
            ("message", &message.into())
        );
        assert_eq!(data["push"], made.push);
        assert_eq!(data["headers"]["content-encoding"], "aes128gcm");
        let body = data["body"].as_str().unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        assert_eq!(
            base64::Engine::decode(&engine, body).unwrap(),
            encrypted("first")
        );
    }
    let mut now = Events::get(&server, &made.set, &[("prefer", "wait=0")]).await;
    now.next().await.unwrap();
    now.next().await.unwrap();
    assert_eq!(now.next().await, None);
    assert_eq!(events.next().await, None, "the newer GET has won");
}

#[tokio::test]
async fn rfc8030_5_4_a_rfc8030_5_4_d_a_14_a_topic_leaves_one_message() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let push = Push::to(&server, &made.push).topic("t");
    let mut held = Held::get(&server, &made.set, &[]).await;
    let old = push.clone().text("old").accepted().await;
    assert_eq!(held.push().await.unwrap().url(), old);
    let new = push.text("new").accepted().await;
    assert_eq!(held.push().await.unwrap().url(), new);
    assert_eq!(ask(&server, "DELETE", &old).await.status, 404);
    drop(held);
    let (pushes, _) = drain(&server, &made.set).await;
    let urls: Vec<_> = pushes.iter().map(|push| push.url()).collect();
    assert_eq!(urls, [new]);
}

#[tokio::test]
async fn a_18_200_stored_messages_are_pushed_once_each_in_order() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let mut sent = Vec::new();
    for i in 0..200 {
        sent.push(
            Push::to(&server, &made.push)
                .text(&i.to_string())
                .accepted()
                .await,
        );
    }
    let (pushes, status) = drain(&server, &made.url).await;
    let urls: Vec<_> = pushes.iter().map(|push| push.url()).collect();
    assert_eq!((urls, status), (sent, 200));
}

#[tokio::test]
async fn a_get_refused_by_a_limit_supersedes_no_other() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.user_agents = 1).await;
    let made = Subscription::new(&server).await;
    let mut held = Held::get(&server, &made.set, &[]).await;
    server.await_metric("bugle_monitors", 1.0).await;
    for url in [&made.set, &made.url] {
        let refused = Held::get(&server, url, &[]).await;
        assert_eq!(refused.ended().await.status, 429);
    }
    Push::to(&server, &made.push).accepted().await;
    held.push().await.unwrap();
    server
        .await_metric("bugle_messages_delivered_total", 1.0)
        .await;
    drop(held);
    server.await_metric("bugle_monitors", 0.0).await;
    assert_eq!(drain(&server, &made.set).await.0.len(), 1);
}
