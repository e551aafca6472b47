//! Failing disks under the real program: senders get a 503 to retry, requests without the disk
//! are served, and the service recovers without a restart.

use std::fs;
use std::pin::pin;
use std::time::Duration;

use futures_util::poll;
use serde_json::json;

use crate::support::app_server::{Push, decrypted};
use crate::support::disk::{Disk, Fault, FaultyDisk};
use crate::support::http::Reply;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

const FAILING: &str = "bugle_store_failing";

/// Asserts a temporary refusal: senders keep the subscription and get a time to retry.
fn assert_retry_later(reply: &Reply, status: u16) {
    assert_eq!(
        (reply.status.as_u16(), reply.errno()),
        (status, 201),
        "{reply:?}"
    );
    assert!(
        reply.header("retry-after").parse::<u32>().is_ok(),
        "{reply:?}"
    );
}

/// Receives and acknowledges the next notification; returns its text.
async fn receive(user_agent: &mut UserAgent) -> String {
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    decrypted(&notification.data())
}

/// Asserts what must work while the disk fails, for a connected user agent that has subscribed
/// `CHANNEL`.
async fn assert_partial_service(server: &Server, user_agent: &mut UserAgent, endpoint: &str) {
    let push = Push::to(server, endpoint).text("stored");
    for _ in 0..5 {
        assert_retry_later(&push.send().await, 503);
    }
    assert_eq!(server.metric(FAILING).await, 1.0);
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/ready").await.status, 503);

    // A stored message that was not promised may arrive; a live one must.
    let live = Push::to(server, endpoint).text("live").ttl(0);
    live.accepted().await;
    while receive(user_agent).await != "live" {}

    let answer = user_agent.try_register(CHANNEL_2, json!(null)).await;
    assert_eq!(answer["status"], 500, "{answer}");
    assert_eq!(answer.get("pushEndpoint"), None, "WS-R-12");
    user_agent
        .say(json!({ "messageType": "unregister", "channelID": CHANNEL }))
        .await;
    assert_eq!(user_agent.hear().await["status"], 500);

    // A known user agent is served; a new one gets no uaid.
    let known = UserAgent::reconnect(server, &user_agent.uaid).await;
    assert_eq!(known.uaid, user_agent.uaid);
    assert_eq!(user_agent.closed().await, 1000);
    *user_agent = known;
    let mut new = UserAgent::silent(server).await;
    new.say(json!({ "messageType": "hello", "use_webpush": true }))
        .await;
    assert_eq!(new.closed().await, 1013);
}

/// Waits until `/ready` succeeds: it caches its result for a second.
async fn await_ready(server: &Server) {
    let ready = async {
        while server.get("/ready").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ready = tokio::time::timeout(Duration::from_secs(60), ready).await;
    assert!(ready.is_ok(), "the store is open again and /ready fails");
}

/// The disk fails and recovers, twice.
async fn assert_recovery(writes: Fault, syncs: Fault) {
    let disk = FaultyDisk::new();
    let data = disk.data();
    let server = Server::start_program_in(disk.environment(), Some(&data), |_| ()).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = |text| Push::to(&server, &endpoint).text(text);
    for times in [1.0, 2.0] {
        push("before").accepted().await;
        assert_eq!(receive(&mut user_agent).await, "before");
        disk.fails(writes, syncs);
        assert_partial_service(&server, &mut user_agent, &endpoint).await;
        disk.fails(Fault::None, Fault::None);
        server
            .await_metric("bugle_store_reopened_total", times)
            .await;
        assert_eq!(server.metric(FAILING).await, 0.0);
        await_ready(&server).await;
        push("after").accepted().await;
        // The connection stays open and misses no message.
        while receive(&mut user_agent).await != "after" {}
    }
    // The failed `unregister` had no effect, and a new `register` succeeds.
    user_agent.register(CHANNEL_2, None).await;
    user_agent.unregister(CHANNEL).await;
}

#[tokio::test]
async fn ws_h_11_ws_r_7_ws_u_4_the_service_recovers_from_failing_writes() {
    needs_ours!("its disk");
    assert_recovery(Fault::IO, Fault::IO).await;
}

#[tokio::test]
async fn the_service_recovers_from_failing_syncs() {
    needs_ours!("its disk");
    assert_recovery(Fault::None, Fault::IO).await;
}

#[tokio::test]
async fn the_service_recovers_from_a_read_only_disk() {
    needs_ours!("its disk");
    assert_recovery(Fault::READ_ONLY, Fault::None).await;
}

#[tokio::test]
async fn the_service_recovers_from_a_full_disk() {
    needs_ours!("its disk");
    assert_recovery(Fault::NO_SPACE, Fault::None).await;
}

#[tokio::test]
async fn a_slow_disk_delays_only_requests_that_need_it() {
    needs_ours!("its disk");
    let disk = FaultyDisk::new();
    let data = disk.data();
    let few = |config: &mut bugle::Config| config.limits.waiting_for_disk = 1;
    let server = Server::start_program_in(disk.environment(), Some(&data), few).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    disk.fails(Fault::None, Fault::Stall);
    let push = Push::to(&server, &endpoint).text("stored");
    let mut first = pin!(push.send());
    // The message is stored in memory and not yet promised.
    tokio::select! {
        reply = &mut first => panic!("{reply:?}"),
        () = server.await_metric("bugle_stored_messages", 1.0) => {}
    }
    let over = push.send().await;
    assert_retry_later(&over, 429);
    assert!(over.text().contains("limits.waiting_for_disk"));
    let live = Push::to(&server, &endpoint).text("live").ttl(0);
    live.accepted().await;
    assert_eq!(receive(&mut user_agent).await, "live");
    assert_eq!(server.get("/health").await.status, 200);
    assert!(poll!(&mut first).is_pending());
    disk.fails(Fault::None, Fault::None);
    assert_eq!(first.await.status, 201);
    assert_eq!(receive(&mut user_agent).await, "stored");
    assert_eq!(server.metric("bugle_store_reopened_total").await, 0.0);
}

#[tokio::test]
async fn concurrent_registers_of_one_channel_give_one_endpoint() {
    needs_ours!("its disk");
    let disk = FaultyDisk::new();
    let data = disk.data();
    let server = Server::start_program_in(disk.environment(), Some(&data), |_| ()).await;
    let mut older = UserAgent::connect(&server).await;
    older.register(CHANNEL, None).await;
    let mut newer = UserAgent::reconnect(&server, &older.uaid).await;
    let register = json!({ "messageType": "register", "channelID": CHANNEL_2 });
    disk.fails(Fault::None, Fault::Stall);
    newer.say(register.clone()).await;
    server.await_metric("bugle_subscriptions", 2.0).await;
    // A browser that has lost its connection repeats the request on the next one.
    let mut newest = UserAgent::reconnect(&server, &older.uaid).await;
    newest.say(register).await;
    server.get("/health").await;
    disk.fails(Fault::None, Fault::None);
    let (one, other) = (newer.hear().await, newest.hear().await);
    assert_eq!(other["status"], 200, "{other}");
    assert_eq!(one["pushEndpoint"], other["pushEndpoint"], "{one}");
    let endpoint = other["pushEndpoint"].as_str().unwrap();
    Push::to(&server, endpoint).text("x").accepted().await;
}

#[tokio::test]
async fn little_disk_space_stops_new_data_before_the_disk_is_full() {
    needs_ours!("its disk");
    let disk = Disk::new(128);
    let data = disk.root().join("data");
    let server = Server::start_program_with(Some(&data), |config| {
        config.store.min_free = 32 << 20;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = Push::to(&server, &endpoint).text("stored");
    push.accepted().await;
    let stored = user_agent.notification().await;
    let filler = disk.fill(24 << 20);
    let is_low = |free| free < 32e6;
    server.await_that("bugle_disk_free_bytes", is_low).await;

    let refused = push.send().await;
    assert_retry_later(&refused, 429);
    assert!(refused.text().contains("store.min_free"), "{refused:?}");
    let answer = user_agent.try_register(CHANNEL_2, json!(null)).await;
    assert_eq!(answer["status"], 429, "{answer}");
    // Live messages, acknowledgements and withdrawals still work.
    Push::to(&server, &endpoint)
        .text("live")
        .ttl(0)
        .accepted()
        .await;
    assert_eq!(receive(&mut user_agent).await, "live");
    user_agent.ack(&stored).await;
    user_agent.unregister(CHANNEL_2).await;
    server.await_metric("bugle_stored_messages", 0.0).await;
    await_ready(&server).await;

    fs::remove_file(filler).unwrap();
    let is_roomy = |free| free > 34e6;
    server.await_that("bugle_disk_free_bytes", is_roomy).await;
    push.accepted().await;
    assert_eq!(receive(&mut user_agent).await, "stored");
    assert_eq!(server.metric("bugle_store_reopened_total").await, 0.0);
}

#[tokio::test]
async fn a_really_full_disk_stops_the_store_until_space_is_freed() {
    needs_ours!("its disk");
    let disk = Disk::new(96);
    let data = disk.root().join("data");
    let server = Server::start_program_with(Some(&data), |config| {
        config.store.min_free = 0;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let filler = disk.fill(0);
    let push = |count: u32| Push::to(&server, &endpoint).text(&format!("stored {count}"));
    // The engine still has some space that it allocated before.
    let mut accepted = 0;
    while push(accepted).send().await.status == 201 {
        accepted += 1;
    }
    assert_live_delivery(&server, &endpoint, &mut user_agent).await;
    fs::remove_file(filler).unwrap();
    server.await_metric(FAILING, 0.0).await;
    push(u32::MAX).accepted().await;
    let last = format!("stored {}", u32::MAX);
    while receive(&mut user_agent).await != last {}
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    let again = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(again.uaid, uaid);
}

/// Asserts that live messages are delivered on a full disk.
async fn assert_live_delivery(server: &Server, endpoint: &str, user_agent: &mut UserAgent) {
    let stored = Push::to(server, endpoint).text("more");
    assert_retry_later(&stored.send().await, 503);
    let live = Push::to(server, endpoint).text("live").ttl(0);
    live.accepted().await;
    while receive(user_agent).await != "live" {}
}
