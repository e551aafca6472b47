//! `ack` and `nack`.

use serde_json::json;

use crate::support::app_server::Push;
use crate::support::server::Server;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn ws_n_8_ws_n_9_papi_13_any_code_or_none_ends_the_delivery() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for update in [
        json!({ "code": 100 }),
        json!({ "code": 101 }),
        json!({ "code": 102 }),
        json!({}),
        json!({ "code": 7 }),
        json!({ "code": "x" }),
        json!({ "code": null, "extra": [] }),
    ] {
        Push::to(&server, &endpoint).text("x").accepted().await;
        let notification = user_agent.notification().await;
        user_agent.ack_with(&notification, update).await;
        user_agent.hears_nothing().await;
        server.counts("bugle_stored_messages", 0.0).await;
    }
    UserAgent::reconnect(&server, &user_agent.uaid)
        .await
        .hears_nothing()
        .await;
}

#[tokio::test]
async fn ws_n_9_versions_that_are_none_are_ignored() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;
    for version in [
        json!("unknown"),
        json!(7),
        json!(null),
        json!("x".repeat(1000)),
    ] {
        let update = json!({ "channelID": CHANNEL, "version": version, "code": 100 });
        user_agent
            .say(json!({ "messageType": "ack", "updates": [update, {}] }))
            .await;
    }
    user_agent.hears_nothing().await;
    server.counts("bugle_stored_messages", 1.0).await;
}

#[tokio::test]
async fn ws_n_12_an_ack_touches_only_the_messages_of_its_user_agent() {
    let server = Server::start().await;
    let mut owner = UserAgent::connect(&server).await;
    let endpoint = owner.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let notification = owner.notification().await;
    let mut stranger = UserAgent::connect(&server).await;
    stranger.ack(&notification).await;
    stranger.hears_nothing().await;
    server.counts("bugle_stored_messages", 1.0).await;
    // It counts whichever connection of the owner it comes on.
    let mut again = UserAgent::reconnect(&server, &owner.uaid).await;
    assert_eq!(again.notification().await, notification);
    again.ack(&notification).await;
    again.hears_nothing().await;
    server.counts("bugle_stored_messages", 0.0).await;
    let mut third = UserAgent::reconnect(&server, &owner.uaid).await;
    third.hears_nothing().await;
}

#[tokio::test]
async fn ws_n_16_a_nack_changes_nothing() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let notification = user_agent.notification().await;
    user_agent.ack(&notification).await;
    let version = notification.version();
    user_agent
        .say(json!({ "messageType": "nack", "version": version, "code": 302 }))
        .await;
    user_agent.hears_nothing().await;
    UserAgent::reconnect(&server, &user_agent.uaid)
        .await
        .hears_nothing()
        .await;
}
