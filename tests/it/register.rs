//! `register` and `unregister`.

use serde_json::json;

use crate::support::app_server::{Push, encrypted, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

#[tokio::test]
async fn ws_r_3_ws_r_4_papi_2_rfc8030_8_a_register_gives_an_absolute_endpoint() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    assert!(endpoint.starts_with(&format!("{}/push/", server.origin())));
}

#[tokio::test]
async fn ws_r_5_papi_3_up_12_register_again_gives_the_same_endpoint() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let key = key_pair(1).public_key().to_base64url();
    let first = user_agent.register(CHANNEL, Some(&key)).await;
    assert_eq!(
        user_agent.register(CHANNEL, Some(&format!("{key}="))).await,
        first
    );
    let mut again = UserAgent::reconnect(&server, &user_agent.uaid).await;
    assert_eq!(again.register(CHANNEL, Some(&key)).await, first);
    assert_ne!(again.register(CHANNEL_2, Some(&key)).await, first, "PAPI-3");
}

#[tokio::test]
async fn ws_r_6_another_key_creates_another_subscription() {
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let (one, other) = (key_pair(1), key_pair(2));
    let old = user_agent
        .register(CHANNEL, Some(&one.public_key().to_base64url()))
        .await;
    let new = user_agent
        .register(CHANNEL, Some(&other.public_key().to_base64url()))
        .await;
    assert_ne!(old, new);
    assert_eq!(
        Push::to(&server, &old).signed(&one).send().await.status,
        410
    );
    Push::to(&server, &new).signed(&other).accepted().await;
    // The same channel id of another user agent is a different channel.
    let mut stranger = UserAgent::connect(&server).await;
    stranger.register(CHANNEL, None).await;
    Push::to(&server, &new).signed(&other).accepted().await;
}

#[tokio::test]
async fn ws_r_2_ws_r_8_ws_r_12_invalid_channels_and_keys_are_refused_without_an_endpoint() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let good = key_pair(1).public_key();
    let off_curve = {
        let mut point = *good.as_bytes();
        point[64] ^= 1;
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, point)
    };
    for (channel, key) in [
        ("ACF30367-0632-4CC1-ADEF-FA15F40EF378", json!(null)),
        ("acf3036706324cc1adeffa15f40ef378", json!(null)),
        ("text", json!(null)),
        (CHANNEL, json!("")),
        (CHANNEL, json!("BMDC")),
        (CHANNEL, json!(off_curve)),
        (CHANNEL, json!(format!("+{}", &good.to_base64url()[1..]))),
    ] {
        let answer = user_agent.try_register(channel, key).await;
        assert_eq!(answer["status"], 400, "{answer}");
        assert!(answer.get("pushEndpoint").is_none(), "WS-R-12: {answer}");
    }
}

#[tokio::test]
async fn ws_r_11_subscriptions_of_a_user_agent_are_limited() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.subscriptions_per_user_agent = 2).await;
    let mut user_agent = UserAgent::connect(&server).await;
    for i in 0..2 {
        user_agent
            .register(&format!("00000000-0000-4000-8000-{i:012}"), None)
            .await;
    }
    assert_eq!(
        user_agent.try_register(CHANNEL, json!(null)).await["status"],
        429
    );
    user_agent
        .unregister("00000000-0000-4000-8000-000000000000")
        .await;
    user_agent.register(CHANNEL, None).await;
}

#[tokio::test]
async fn ws_u_1_ws_u_2_ws_u_6_papi_6_papi_16_http_d_unregister_ends_a_subscription_with_its_messages()
 {
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    user_agent.register(CHANNEL_2, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;
    user_agent.unregister(CHANNEL).await;
    user_agent.unregister(CHANNEL).await;
    server.counts("bugle_stored_messages", 0.0).await;
    let reply = Push::to(&server, &endpoint).send().await;
    assert_eq!((reply.status.as_u16(), reply.errno()), (410, 106));
    assert_eq!(reply.header("cache-control"), "max-age=86400");
    UserAgent::reconnect(&server, &user_agent.uaid)
        .await
        .receives_nothing()
        .await;
}

#[tokio::test]
async fn a_4_rfc8030_7_3_c_a_setting_turns_410_into_404() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.compat.gone_status = 404.try_into().unwrap();
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    user_agent.unregister(CHANNEL).await;
    assert_eq!(Push::to(&server, &endpoint).send().await.status, 404);
}

#[tokio::test]
async fn papi_8_rfc8030_8_2_g_an_endpoint_is_never_used_again() {
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let old = user_agent.register(CHANNEL, None).await;
    user_agent.unregister(CHANNEL).await;
    let new = user_agent.register(CHANNEL, None).await;
    assert_ne!(old, new);
    assert_eq!(Push::to(&server, &old).send().await.status, 410);
    Push::to(&server, &new).accepted().await;
}

#[tokio::test]
async fn ws_u_3_a_user_agent_cannot_end_the_subscription_of_another() {
    let server = Server::start().await;
    let mut owner = UserAgent::connect(&server).await;
    let endpoint = owner.register(CHANNEL, None).await;
    UserAgent::connect(&server).await.unregister(CHANNEL).await;
    Push::to(&server, &endpoint).text("mine").accepted().await;
    assert_eq!(owner.notification().await.data(), encrypted("mine"));
}

#[tokio::test]
async fn ws_u_5_any_code_or_none_is_accepted() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    for code in [json!(201), json!(null), json!("x"), json!(99_999)] {
        let message = json!({ "messageType": "unregister", "channelID": CHANNEL, "code": code });
        user_agent.say(message).await;
        assert_eq!(user_agent.hear().await["status"], 200);
    }
}
