//! The message resource (RFC 8030 §5, §6.2).

use crate::support::app_server::{Push, ask, encrypted};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

async fn stored() -> (Server, String, String, String) {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    let push = Push::to(&server, &endpoint)
        .text("kept")
        .topic("t")
        .header("urgency", "low");
    let url = push
        .header("content-type", "application/x-test")
        .accepted()
        .await;
    (server, uaid, endpoint, url)
}

#[tokio::test]
async fn a_6_rfc8030_7_2_a_rfc8030_5_3_b_rfc8030_5_4_h_dwp_3_a_stored_message_can_be_read_by_its_url()
 {
    needs_ours!("its clock");
    let (server, uaid, _, url) = stored().await;
    server.advance(std::time::Duration::from_secs(30));
    let reply = ask(&server, "GET", &url).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.body, encrypted("kept"));
    assert_eq!(reply.header("content-encoding"), "aes128gcm");
    assert_eq!(reply.header("content-type"), "application/x-test");
    // 8030-7.2-a: the time of the POST.
    assert_eq!(
        reply.header("last-modified"),
        "Thu, 01 Jan 2026 00:00:00 GMT"
    );
    assert_eq!(reply.header("cache-control"), "private");
    for hidden in ["urgency", "topic", "authorization"] {
        assert_eq!(reply.header(hidden), "", "{hidden} must not be revealed");
    }
    // Reading does not count as delivery.
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(user_agent.notification().await.data(), encrypted("kept"));
}

#[tokio::test]
async fn a_5_a_7_a_message_can_be_withdrawn_once() {
    let (server, uaid, _, url) = stored().await;
    assert_eq!(ask(&server, "DELETE", &url).await.status, 204);
    assert_eq!(ask(&server, "DELETE", &url).await.status, 404);
    assert_eq!(ask(&server, "GET", &url).await.status, 404);
    UserAgent::reconnect(&server, &uaid)
        .await
        .receives_nothing()
        .await;
}

#[tokio::test]
async fn rfc8030_5_4_a_rfc8030_5_4_d_a_topic_replaces_the_message_before_it() {
    let (server, uaid, endpoint, old) = stored().await;
    let new = Push::to(&server, &endpoint)
        .text("new")
        .topic("t")
        .accepted()
        .await;
    assert_ne!(old, new);
    assert_eq!(ask(&server, "GET", &old).await.status, 404);
    assert_eq!(ask(&server, "DELETE", &old).await.status, 404);
    Push::to(&server, &endpoint)
        .text("another")
        .topic("T")
        .accepted()
        .await;
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(user_agent.notification().await.data(), encrypted("new"));
    assert_eq!(user_agent.notification().await.data(), encrypted("another"));
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_14_a_topic_replaces_a_sent_unacknowledged_message() {
    let (server, uaid, endpoint, old) = stored().await;
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    let first = user_agent.notification().await;
    Push::to(&server, &endpoint)
        .text("new")
        .topic("t")
        .accepted()
        .await;
    let second = user_agent.notification().await;
    assert_ne!(first.version(), second.version());
    assert_eq!(ask(&server, "GET", &old).await.status, 404);
    user_agent.ack(&first).await;
    user_agent.receives_nothing().await;
    let mut again = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(
        again.notification().await,
        second,
        "the late ack has no effect"
    );
}

#[tokio::test]
async fn rfc8030_5_4_d_concurrent_pushes_of_a_topic_leave_one_message() {
    let (server, uaid, endpoint, _) = stored().await;
    let pushes = (0..20).map(|i| {
        let push = Push::to(&server, &endpoint)
            .text(&format!("{i}"))
            .topic("t");
        async move { push.accepted().await }
    });
    futures_util::future::join_all(pushes).await;
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    user_agent.notification().await;
    user_agent.receives_nothing().await;
}

#[tokio::test]
async fn a_15_a_topic_with_ttl_0_removes_its_predecessor() {
    let (server, uaid, endpoint, old) = stored().await;
    Push::to(&server, &endpoint)
        .ttl(0)
        .topic("t")
        .accepted()
        .await;
    assert_eq!(ask(&server, "GET", &old).await.status, 404);
    UserAgent::reconnect(&server, &uaid)
        .await
        .receives_nothing()
        .await;
}

#[tokio::test]
async fn http_b_other_methods_are_405() {
    let (server, _, _, url) = stored().await;
    let reply = ask(&server, "POST", &url).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "GET, HEAD, DELETE, OPTIONS")
    );
}
