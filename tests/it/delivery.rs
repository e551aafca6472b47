//! Order of delivery: first stored messages in order, then live ones; each once, and again if
//! unacknowledged.

use crate::support::app_server::{Push, decrypted};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

#[tokio::test]
async fn ws_h_13_a_18_papi_17_stored_messages_come_first_and_in_order() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoints = [
        user_agent.register(CHANNEL, None).await,
        user_agent.register(CHANNEL_2, None).await,
    ];
    let uaid = user_agent.uaid.clone();
    drop(user_agent);
    for i in 0..10 {
        Push::to(&server, &endpoints[i % 2])
            .text(&i.to_string())
            .accepted()
            .await;
    }
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    Push::to(&server, &endpoints[0]).text("10").accepted().await;
    for i in 0..=10 {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), i.to_string());
        let channel = if i % 2 == 0 { CHANNEL } else { CHANNEL_2 };
        assert_eq!(notification.0["channelID"], channel);
    }
}

/// The clock of the tests stands still, so both messages have the same time of acceptance. The
/// best-known service loses all but one of them on the stores available to self-hosters.
#[tokio::test]
async fn two_messages_accepted_in_the_same_millisecond_both_arrive() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    drop(user_agent);
    let (one, other) = (
        Push::to(&server, &endpoint).text("one"),
        Push::to(&server, &endpoint).text("other"),
    );
    tokio::join!(one.accepted(), other.accepted());
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        texts.push(decrypted(&user_agent.notification().await.data()));
    }
    texts.sort();
    assert_eq!(texts, ["one", "other"]);
    user_agent.receives_nothing().await;
}

/// The best-known service resets a user agent with more than 150 stored messages.
#[tokio::test]
async fn ws_n_14_200_stored_messages_arrive_once_each_in_order() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let uaid = user_agent.uaid.clone();
    drop(user_agent);
    for i in 0..200 {
        Push::to(&server, &endpoint)
            .text(&i.to_string())
            .accepted()
            .await;
    }
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    assert_eq!(user_agent.uaid, uaid, "the user agent keeps its uaid");
    for i in 0..200 {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), i.to_string());
        user_agent.ack(&notification).await;
    }
    user_agent.receives_nothing().await;
    server.counts("bugle_stored_messages", 0.0).await;
    UserAgent::reconnect(&server, &uaid)
        .await
        .receives_nothing()
        .await;
}

#[tokio::test]
async fn ws_n_13_ws_n_18_a_user_agent_that_never_acks_still_gets_everything() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.window_messages = 10;
        config.user_agent.window_patience = std::time::Duration::from_millis(20);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for i in 0..100 {
        Push::to(&server, &endpoint)
            .text(&i.to_string())
            .accepted()
            .await;
    }
    for i in 0..100 {
        assert_eq!(
            decrypted(&user_agent.notification().await.data()),
            i.to_string()
        );
    }
    server.counts("bugle_stored_messages", 100.0).await;
}

#[tokio::test]
async fn ws_n_10_ws_n_2_ws_n_11_up_11_papi_14_rfc8030_6_2_c_unacknowledged_messages_are_redelivered_with_the_same_version()
 {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    for text in ["one", "two", "three"] {
        Push::to(&server, &endpoint).text(text).accepted().await;
    }
    let mut sent = Vec::new();
    for _ in 0..3 {
        sent.push(user_agent.notification().await);
    }
    assert!(
        sent.iter()
            .all(|notification| notification.version().len() <= 100)
    );
    user_agent.ack(&sent[1]).await;
    user_agent.receives_nothing().await;
    let mut again = UserAgent::reconnect(&server, &user_agent.uaid).await;
    assert_eq!(again.notification().await, sent[0]);
    assert_eq!(again.notification().await, sent[2]);
    again.receives_nothing().await;
}

#[tokio::test]
async fn ws_n_15_rfc8030_5_2_j_ttl_0_reaches_only_connected_user_agents() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    let url = Push::to(&server, &endpoint)
        .ttl(0)
        .text("now")
        .accepted()
        .await;
    let notification = user_agent.notification().await;
    assert_eq!(decrypted(&notification.data()), "now");
    let path = url.strip_prefix(&server.origin()).unwrap();
    assert_eq!(server.get(path).await.status, 404);
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    Push::to(&server, &endpoint)
        .ttl(0)
        .text("never")
        .accepted()
        .await;
    server.counts("bugle_messages_dropped_total", 1.0).await;
    UserAgent::reconnect(&server, &uaid)
        .await
        .receives_nothing()
        .await;
}

#[tokio::test]
async fn ws_p_1_ws_p_1b_a_ping_gets_one_pong_and_none_is_unsolicited() {
    let server = Server::start().await;
    for ping in ["{}", r#"{"messageType":"ping"}"#] {
        // Each ping has its own connection because of the rate limit.
        let mut user_agent = UserAgent::connect(&server).await;
        user_agent.receives_nothing().await;
        user_agent.say(serde_json::from_str(ping).unwrap()).await;
        assert_eq!(user_agent.hear().await, serde_json::json!({}));
        user_agent.receives_nothing().await;
    }
}

#[tokio::test]
async fn ws_p_2_too_frequent_pings_are_not_answered() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.user_agent.min_ping_interval = std::time::Duration::from_secs(10);
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    for _ in 0..3 {
        user_agent.say(serde_json::json!({})).await;
    }
    let register = serde_json::json!({ "messageType": "register", "channelID": CHANNEL });
    user_agent.say(register).await;
    assert_eq!(user_agent.hear().await, serde_json::json!({}));
    assert_eq!(user_agent.hear().await["messageType"], "register");
    server
        .counts("bugle_websocket_messages_ignored_total", 2.0)
        .await;
}
