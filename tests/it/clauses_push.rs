//! Which information a push reveals to its sender, its receiver and those who see its URLs (RFC
//! 8030 §5, §8; RFC 8291 §7).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use serde_json::json;

use crate::support::app_server::{Push, ask, decrypted, encrypted, key_pair};
use crate::support::http::{Reply, http1};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

/// A service, a user agent and two of its endpoints.
async fn two_endpoints() -> (Server, UserAgent, [String; 2]) {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoints = [
        user_agent.register(CHANNEL, None).await,
        user_agent.register(CHANNEL_2, None).await,
    ];
    (server, user_agent, endpoints)
}

#[tokio::test]
async fn rfc8030_5_c_the_response_does_not_reveal_presence() {
    let (server, mut user_agent, [endpoint, _]) = two_endpoints().await;
    let visible = |mut reply: Reply| -> (u16, HeaderMap, usize) {
        let location = reply.headers.remove("location").unwrap();
        reply.headers.remove("date");
        (reply.status.as_u16(), reply.headers, location.len())
    };
    for ttl in [0, 60] {
        let push = Push::to(&server, &endpoint).ttl(ttl).text("x");
        let here = visible(push.send().await);
        let notification = user_agent.notification().await;
        user_agent.ack(&notification).await;
        user_agent.receives_nothing().await;
        let uaid = user_agent.uaid.clone();
        user_agent.leave(&server).await;
        assert_eq!(visible(push.send().await), here);
        user_agent = UserAgent::reconnect(&server, &uaid).await;
    }
}

#[tokio::test]
async fn rfc8030_5_4_g_topics_are_per_subscription_and_case_sensitive() {
    let (server, user_agent, endpoints) = two_endpoints().await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    for (endpoint, topic) in [(0, "upd"), (1, "upd"), (0, "UPD")] {
        let push = Push::to(&server, &endpoints[endpoint]).topic(topic);
        push.text(&format!("{endpoint} {topic}")).accepted().await;
    }
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    for text in ["0 upd", "1 upd", "0 UPD"] {
        let notification = user_agent.notification().await;
        assert_eq!(decrypted(&notification.data()), text);
    }
}

#[tokio::test]
async fn rfc8030_7_2_b_expired_messages_are_not_delivered() {
    needs_ours!("its clock");
    let (server, user_agent, [endpoint, _]) = two_endpoints().await;
    let uaid = user_agent.uaid.clone();
    user_agent.leave(&server).await;
    let push = Push::to(&server, &endpoint).ttl(10).text("x");
    let urls = [push.accepted().await, push.accepted().await];
    server.advance(Duration::from_secs(10));
    let mut user_agent = UserAgent::reconnect(&server, &uaid).await;
    user_agent.receives_nothing().await;
    for url in urls {
        assert_eq!(ask(&server, "GET", &url).await.status, 404);
        assert_eq!(ask(&server, "DELETE", &url).await.status, 404);
    }
}

/// The number of bits that differ between these tokens.
fn varying_bits(tokens: &[Vec<u8>]) -> u32 {
    let shortest = tokens.iter().map(Vec::len).min().unwrap();
    (0..shortest)
        .map(|at| {
            let all = tokens.iter().fold(0xff, |bits, token| bits & token[at]);
            let any = tokens.iter().fold(0, |bits, token| bits | token[at]);
            (any & !all).count_ones()
        })
        .sum()
}

fn token(url: &str) -> Vec<u8> {
    let token = url.rsplit('/').next().unwrap();
    URL_SAFE_NO_PAD.decode(token).unwrap()
}

#[tokio::test]
async fn rfc8030_8_2_c_rfc8030_8_2_e_rfc8030_8_3_c_up_3_ws_h_14_urls_reveal_and_correlate_nothing()
{
    let (server, mut user_agent, endpoints) = two_endpoints().await;
    let uaid: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&user_agent.uaid[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let mut messages = Vec::new();
    for i in 0..50 {
        let push = Push::to(&server, &endpoints[i % 2]).text("same");
        messages.push(token(&push.accepted().await));
        user_agent.notification().await;
    }
    let mut endpoints: Vec<_> = endpoints.iter().map(|url| token(url)).collect();
    for i in 0..50 {
        let channel = format!("00000000-0000-4000-8000-{i:012}");
        endpoints.push(token(&user_agent.register(&channel, None).await));
    }
    for tokens in [&messages, &endpoints] {
        let bits = varying_bits(tokens);
        assert!(bits >= 160, "{bits} bits");
        let length = tokens[0].len();
        // One byte may contain a version.
        let all = u32::try_from(8 * (length - 1)).unwrap();
        assert!(bits >= all, "{bits} of {length} bytes");
        for token in tokens {
            assert_eq!(token.len(), length);
            assert!(!token.windows(8).any(|part| part == &uaid[..8]));
        }
    }
}

#[tokio::test]
async fn ws_n_1_rfc8292_4_2_d_rfc8291_7_a_only_needed_fields_reach_the_user_agent() {
    let server = Server::start().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let keys = key_pair(1);
    let key = keys.public_key().to_base64url();
    let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
    let push = Push::to(&server, &endpoint)
        .text("x")
        .topic("t")
        .header("urgency", "high")
        .header("x-secret", "secret")
        .header("cookie", "secret")
        .signed(&keys);
    let url = push.accepted().await;
    let notification = user_agent.notification().await;
    let expected = json!({
        "messageType": "notification",
        "channelID": CHANNEL,
        "version": notification.version(),
        "data": URL_SAFE_NO_PAD.encode(encrypted("x")),
        "headers": { "encoding": "aes128gcm" },
    });
    assert_eq!(notification.0, expected);
    let shown = format!("{:?}", ask(&server, "GET", &url).await.headers);
    let (signature, _) = push.authorization().rsplit_once(", k=").unwrap();
    for hidden in [key.as_str(), signature, "secret", "urgency", "topic", "ttl"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
}

#[tokio::test]
async fn rfc8291_ps_3_no_further_encoding_is_applied() {
    let (server, _user_agent, [endpoint, _]) = two_endpoints().await;
    let body = encrypted(&"x".repeat(2000));
    let push = Push::to(&server, &endpoint).text("").body(body.clone());
    let url = push.accepted().await;
    let path = url.strip_prefix(&server.origin()).unwrap();
    let any = [("accept-encoding", "gzip, br, zstd")];
    let reply = http1(server.authority(), "GET", path, &any, b"").await;
    assert_eq!(reply.header("content-encoding"), "aes128gcm");
    assert_eq!(reply.body, body);
}

#[tokio::test]
async fn dwp_2_a_declarative_message_is_a_push_like_any_other() {
    let (server, mut user_agent, [endpoint, _]) = two_endpoints().await;
    let text = json!({
        "web_push": 8030,
        "notification": { "title": "t", "navigate": "https://example.com/" },
    });
    let push = Push::to(&server, &endpoint).text(&text.to_string());
    let typed = push.header("content-type", "application/notification+json");
    typed.accepted().await;
    let notification = user_agent.notification().await;
    assert_eq!(decrypted(&notification.data()), text.to_string());
}

#[tokio::test]
async fn up_7_ws_r_8_a_key_restricts_with_and_without_padding() {
    let (server, mut user_agent, _) = two_endpoints().await;
    let keys = key_pair(1);
    let key = keys.public_key().to_base64url();
    for key in [key.clone(), format!("{key}=")] {
        user_agent.unregister(CHANNEL).await;
        let endpoint = user_agent.register(CHANNEL, Some(&key)).await;
        let push = Push::to(&server, &endpoint).text("x");
        assert_eq!(push.send().await.status, 401, "{key}");
        push.signed(&keys).accepted().await;
        user_agent.notification().await;
    }
}
