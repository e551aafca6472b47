//! Receipts (RFC 8030 §5.1, §6.2, §6.3): reports to the application server about the fate of a
//! message.

use std::time::Duration;

use serde_json::json;

use crate::support::app_server::{Push, ask};
use crate::support::held::{Events, Held, drain};
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::{Subscription, link};
use crate::support::user_agent::{CHANNEL, UserAgent};

const RECEIPT: &str = "urn:ietf:params:push:receipt";

/// Sends a push that requests a receipt; returns the URLs of the message and of the receipt
/// subscription.
async fn push_with_receipt(push: Push<'_>) -> (String, String) {
    let reply = push.header("prefer", "respond-async").send().await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let receipts = link(&reply, RECEIPT).expect("a receipt subscription");
    (reply.header("location").to_owned(), receipts)
}

/// Like `push_with_receipt`, in an existing receipt subscription.
async fn push_with_receipt_in(push: Push<'_>, receipts: &str) -> String {
    let (message, same) =
        push_with_receipt(push.header("link", &format!("<{receipts}>; rel=\"{RECEIPT}\""))).await;
    assert_eq!(same, receipts, "5.1-f");
    message
}

/// All present receipts: the message and status of each.
async fn all_receipts(server: &Server, receipts: &str) -> Vec<(String, u16)> {
    let (pushes, _) = drain(server, receipts).await;
    let reports = pushes.iter().map(|push| {
        assert_eq!(push.request.method(), "GET");
        assert!(push.reply.body.is_empty(), "6.3-b: a status and no data");
        (push.url(), push.reply.status.as_u16())
    });
    reports.collect()
}

#[tokio::test]
async fn rfc8030_5_1_a_rfc8030_5_1_b_rfc8030_5_1_c_rfc8030_5_1_d_rfc8030_5_1_h_a_receipt_is_granted()
 {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    for version in [Http1, Http2] {
        let push = Push::to(&server, &made.push).over(version);
        let (message, receipts) = push_with_receipt(push.clone()).await;
        assert!(message.starts_with(&server.origin()) && receipts.starts_with(&server.origin()));
        assert_ne!(
            push_with_receipt(push.clone()).await.1,
            receipts,
            "a fresh one each time"
        );
        let plain = push.send().await;
        assert_eq!((plain.status.as_u16(), link(&plain, RECEIPT)), (201, None));
    }
}

#[tokio::test]
async fn rfc8030_5_1_f_rfc8030_6_2_b_rfc8030_6_3_a_rfc8030_6_3_b_rfc8030_6_3_c_an_ack_gives_a_204()
{
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let made = Subscription::new(&server).await;
    let (first, receipts) = push_with_receipt(Push::to(&server, &endpoint)).await;
    let second = push_with_receipt_in(Push::to(&server, &made.push), &receipts).await;
    let mut held = Held::get(&server, &receipts, &[]).await;

    let notification = browser.notification().await;
    browser.ack(&notification).await;
    let receipt_push = held.push().await.unwrap();
    assert_eq!(
        (receipt_push.url(), receipt_push.reply.status.as_u16()),
        (first, 204)
    );

    assert_eq!(drain(&server, &made.url).await.0.len(), 1);
    assert_eq!(ask(&server, "DELETE", &second).await.status, 204);
    let receipt_push = held.push().await.unwrap();
    assert_eq!(
        (receipt_push.url(), receipt_push.reply.status.as_u16()),
        (second, 204)
    );
    drop(held);
    assert_eq!(
        drain(&server, &receipts).await.1,
        204,
        "each receipt is sent once"
    );
}

#[tokio::test]
async fn rfc8030_5_1_i_a_11_an_invalid_receipt_subscription_is_refused() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let (_, ended) = push_with_receipt(Push::to(&server, &made.push)).await;
    assert_eq!(ask(&server, "DELETE", &ended).await.status, 204);
    let before = server.metric("bugle_stored_messages").await;
    for target in [
        &ended,
        &format!("{ended}A"),
        &made.set,
        "/receipt-subscription/x",
        "",
    ] {
        for prefer in ["respond-async", "wait=0"] {
            let link = format!("<{target}>; rel=\"{RECEIPT}\"");
            let push = Push::to(&server, &made.push).header("link", &link);
            let reply = push.header("prefer", prefer).send().await;
            assert_eq!(reply.status, 400, "{target} {prefer}");
        }
    }
    assert_eq!(server.metric("bugle_stored_messages").await, before);
    // Without the preference, a valid link requests nothing.
    let (_, receipts) = push_with_receipt(Push::to(&server, &made.push)).await;
    let link = format!("<{receipts}>; rel=\"{RECEIPT}\"");
    Push::to(&server, &made.push)
        .header("link", &link)
        .accepted()
        .await;
}

#[tokio::test]
async fn rfc8030_7_3_e_rfc8030_7_3_b_a_receipt_subscription_is_ended_by_delete() {
    needs_ours!("its metrics");
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let (_, receipts) = push_with_receipt(Push::to(&server, &made.push)).await;
    let held = Held::get(&server, &receipts, &[]).await;
    // The held GET has started once the service counts its connection.
    server.await_metric("bugle_connections", 2.0).await;
    assert_eq!(ask(&server, "DELETE", &receipts).await.status, 204);
    assert_eq!(held.ended().await.status, 404);
    assert_eq!(drain(&server, &receipts).await.1, 404);
    assert_eq!(ask(&server, "DELETE", &receipts).await.status, 404);
}

#[tokio::test]
async fn rfc8030_6_2_e_rfc8030_6_3_d_rfc8030_7_2_f_a_8_an_undelivered_message_gives_a_410() {
    needs_ours!("its clock and restarts");
    let mut server = Server::start().await;
    let made = Subscription::new(&server).await;
    let other = made.another(&server).await;
    let (expired, receipts) = push_with_receipt(Push::to(&server, &made.push).ttl(5)).await;
    server.advance(Duration::from_secs(6));
    let mut held = Held::get(&server, &receipts, &[]).await;
    let receipt_push = held.push().await.unwrap();
    assert_eq!(
        (receipt_push.url(), receipt_push.reply.status.as_u16()),
        (expired, 410)
    );
    drop(held);

    let unsubscribed = push_with_receipt_in(Push::to(&server, &made.push), &receipts).await;
    ask(&server, "DELETE", &made.url).await;
    let dropped = push_with_receipt_in(Push::to(&server, &other.push).ttl(0), &receipts).await;
    server.restart().await;
    let reports = all_receipts(&server, &receipts).await;
    assert_eq!(
        reports,
        [(unsubscribed, 410), (dropped, 410)],
        "also across a restart"
    );
}

#[tokio::test]
async fn ws_n_17_the_code_of_an_ack_determines_the_receipt() {
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let (_, receipts) = push_with_receipt(Push::to(&server, &endpoint).ttl(0)).await;
    browser.notification().await;
    for (code, status) in [(100, 204), (101, 410), (102, 410)] {
        let message = push_with_receipt_in(Push::to(&server, &endpoint), &receipts).await;
        let notification = browser.notification().await;
        browser
            .ack_with(&notification, json!({ "code": code }))
            .await;
        browser.receives_nothing().await;
        assert_eq!(
            all_receipts(&server, &receipts).await,
            [(message, status)],
            "{code}"
        );
        browser.register(CHANNEL, None).await;
    }
}

#[tokio::test]
async fn ws_n_17_code_102_after_a_redelivery_counts_as_delivered() {
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let (message, receipts) = push_with_receipt(Push::to(&server, &endpoint)).await;
    browser.notification().await;
    let mut again = UserAgent::reconnect(&server, &browser.uaid).await;
    let notification = again.notification().await;
    again.ack_with(&notification, json!({ "code": 102 })).await;
    again.receives_nothing().await;
    assert_eq!(all_receipts(&server, &receipts).await, [(message, 204)]);
}

#[tokio::test]
async fn rfc8030_5_4_e_rfc8030_5_4_f_a_replaced_message_has_no_receipt() {
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let (_, receipts) = push_with_receipt(Push::to(&server, &endpoint).topic("t")).await;
    let old = browser.notification().await;
    let new = push_with_receipt_in(Push::to(&server, &endpoint).topic("t"), &receipts).await;
    let notification = browser.notification().await;
    browser.ack(&old).await;
    browser.ack(&notification).await;
    browser.receives_nothing().await;
    browser.register(CHANNEL, None).await;
    assert_eq!(all_receipts(&server, &receipts).await, [(new, 204)]);
    // Replaced by a message without a receipt: no receipt is sent.
    push_with_receipt_in(Push::to(&server, &endpoint).topic("t"), &receipts).await;
    browser.notification().await;
    Push::to(&server, &endpoint).topic("t").accepted().await;
    let last = browser.notification().await;
    browser.ack(&last).await;
    browser.receives_nothing().await;
    assert_eq!(all_receipts(&server, &receipts).await, []);
}

#[tokio::test]
async fn a_7_a_message_withdrawn_before_delivery_has_no_receipt() {
    let server = Server::start().await;
    let made = Subscription::new(&server).await;
    let (message, receipts) = push_with_receipt(Push::to(&server, &made.push)).await;
    assert_eq!(ask(&server, "DELETE", &message).await.status, 204);
    assert_eq!(drain(&server, &receipts).await.1, 204);
}

#[tokio::test]
async fn a_8_a_ttl_0_message_has_a_receipt_once_acknowledged_or_dropped() {
    needs_ours!("its clock");
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let (acked, receipts) = push_with_receipt(Push::to(&server, &endpoint).ttl(0)).await;
    let notification = browser.notification().await;
    browser.ack(&notification).await;
    browser.receives_nothing().await;
    assert_eq!(all_receipts(&server, &receipts).await, [(acked, 204)]);
    let silent = push_with_receipt_in(Push::to(&server, &endpoint).ttl(0), &receipts).await;
    browser.notification().await;
    assert_eq!(all_receipts(&server, &receipts).await, []);
    server.advance(Duration::from_secs(61));
    let mut held = Held::get(&server, &receipts, &[]).await;
    let receipt_push = held.push().await.unwrap();
    assert_eq!(
        (receipt_push.url(), receipt_push.reply.status.as_u16()),
        (silent, 410)
    );
}

#[tokio::test]
async fn a_9_a_10_receipts_are_kept_for_two_days() {
    needs_ours!("its clock and restarts");
    let mut server = Server::start().await;
    let made = Subscription::new(&server).await;
    let (message, receipts) = push_with_receipt(Push::to(&server, &made.push).ttl(5)).await;
    assert_eq!(
        drain(&server, &receipts).await.1,
        204,
        "wait=0, and nothing is there"
    );
    server.advance(Duration::from_secs(6));
    server.await_metric("bugle_receipts", 1.0).await;
    server.restart().await;
    server.advance(Duration::from_secs(24 * 3600));
    assert_eq!(all_receipts(&server, &receipts).await, [(message, 410)]);
    push_with_receipt_in(Push::to(&server, &made.push).ttl(5), &receipts).await;
    server.advance(Duration::from_secs(6));
    server.await_metric("bugle_receipts", 1.0).await;
    server.advance(Duration::from_secs(48 * 3600 + 1));
    server.await_metric("bugle_receipts", 0.0).await;
}

#[tokio::test]
async fn receipts_are_also_sent_as_events() {
    let server = Server::start().await;
    let mut browser = UserAgent::connect(&server).await;
    let endpoint = browser.register(CHANNEL, None).await;
    let (message, receipts) = push_with_receipt(Push::to(&server, &endpoint)).await;
    let mut events = Events::get(&server, &receipts, &[]).await;
    let notification = browser.notification().await;
    browser.ack(&notification).await;
    let (kind, data) = events.next().await.unwrap();
    assert_eq!(kind, "receipt");
    assert_eq!(data, json!({ "message": message, "status": 204 }));
}

#[tokio::test]
async fn rfc8030_5_1_j_receipt_subscriptions_are_limited() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.receipt_subscriptions = 1).await;
    let made = Subscription::new(&server).await;
    let (_, receipts) = push_with_receipt(Push::to(&server, &made.push)).await;
    let push = Push::to(&server, &made.push).header("prefer", "respond-async");
    let over = push.clone().send().await;
    assert_eq!(over.status, 429);
    assert!(!over.header("retry-after").is_empty());
    push_with_receipt_in(push, &receipts).await;
}

#[tokio::test]
async fn a_refused_push_leaves_no_receipt_subscription() {
    needs_ours!("its settings and metrics");
    let server = Server::start_with(|config| config.limits.messages_per_user_agent = 1).await;
    let made = Subscription::new(&server).await;
    push_with_receipt(Push::to(&server, &made.push)).await;
    let push = Push::to(&server, &made.push).header("prefer", "respond-async");
    assert_eq!(push.send().await.status, 429);
    assert_eq!(server.metric("bugle_receipt_subscriptions").await, 1.0);
}
