//! Rate limits by key, subscription and address. A refusal says when the next request is
//! allowed.

use std::time::Duration;

use serde_json::Value;

use crate::support::app_server::{Push, key_pair};
use crate::support::http::Reply;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

/// Asserts a refusal by a rate limit; returns its Retry-After.
fn assert_too_often(reply: &Reply, limit: &str) -> Duration {
    assert_eq!((reply.status.as_u16(), reply.errno()), (429, 201));
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["limit"], limit, "{body}");
    assert_eq!(body["setting"], format!("limits.{limit}"), "{body}");
    assert_eq!(reply.header("cache-control"), "no-store");
    Duration::from_secs(reply.header("retry-after").parse().unwrap())
}

#[tokio::test]
async fn a_subscriptions_token_bucket_refills() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.subscription_rate = 1;
        config.limits.subscription_burst = 3;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let push = Push::to(&server, &user_agent.register(CHANNEL, None).await);
    let other = Push::to(&server, &user_agent.register(CHANNEL_2, None).await);
    for _ in 0..3 {
        push.accepted().await;
    }
    let wait = assert_too_often(&push.send().await, "subscription_rate");
    other.accepted().await;
    let refused = "bugle_refused_total{reason=\"limits.subscription_rate\"}";
    assert_eq!(server.metric(refused).await, 1.0);
    server.advance(wait);
    push.accepted().await;
    assert_too_often(&push.send().await, "subscription_rate");
}

#[tokio::test]
async fn a_key_is_charged_only_for_pushes_it_signed() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.key_rate = 1;
        config.limits.key_burst = 2;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let (keys, others) = (key_pair(1), key_pair(2));
    let endpoint = user_agent.register(CHANNEL, None).await;
    let push = Push::to(&server, &endpoint).signed(&keys);
    // A forged signature does not use the rate of the claimed key.
    let theirs = push.authorization().to_owned();
    let forged = push
        .clone()
        .header("authorization", &theirs.replace("t=e", "t=f"));
    for _ in 0..5 {
        assert_eq!(forged.send().await.status, 403);
    }
    push.accepted().await;
    push.accepted().await;
    let wait = assert_too_often(&push.send().await, "key_rate");
    // Pushes with other keys or without one do not use it either.
    push.clone().signed(&others).accepted().await;
    push.clone().without("authorization").accepted().await;
    server.advance(wait);
    push.accepted().await;
}

#[tokio::test]
async fn the_address_rate_limit_applies_to_every_request() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.address_rate = 1;
        config.limits.address_burst = 2;
    })
    .await;
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/nothing").await.status, 404);
    let wait = assert_too_often(&server.get("/health").await, "address_rate");
    let refused = UserAgent::try_silent(&server).await.unwrap_err();
    assert_eq!(refused, 429);
    server.advance(wait);
    UserAgent::connect(&server).await;
}
