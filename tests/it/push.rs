//! Sending (RFC 8030 §5).

use crate::support::app_server::{Push, ask, decrypted};
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::user_agent::{CHANNEL, UserAgent};

/// A service, a connected user agent and its endpoint.
pub async fn subscribed() -> (Server, UserAgent, String) {
    subscribed_to(Server::start().await).await
}

pub async fn subscribed_to(server: Server) -> (Server, UserAgent, String) {
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    (server, user_agent, endpoint)
}

/// Asserts that these pushes are refused with this status and errno, over both versions of
/// HTTP, and that a later valid push is the first to arrive.
pub async fn refused(cases: &[(&str, &str)], status: u16, errno: u64) {
    let (server, mut user_agent, endpoint) = subscribed().await;
    for (name, value) in cases {
        for version in [Http1, Http2] {
            let push = Push::to(&server, &endpoint).text("bad").over(version);
            let reply = push.header(name, value).send().await;
            assert_eq!(
                (reply.status.as_u16(), reply.errno()),
                (status, errno),
                "{name}: {value}"
            );
        }
    }
    Push::to(&server, &endpoint).text("good").accepted().await;
    assert_eq!(decrypted(&user_agent.notification().await.data()), "good");
}

#[tokio::test]
async fn rfc8030_5_a_rfc8030_5_b_a_16_a_push_is_accepted_with_its_location() {
    let (server, mut user_agent, endpoint) = subscribed().await;
    let mut locations = Vec::new();
    for version in [Http1, Http2] {
        let reply = Push::to(&server, &endpoint)
            .ttl(15)
            .text("hi")
            .over(version)
            .send()
            .await;
        assert_eq!(reply.status, 201);
        assert_eq!(reply.header("ttl"), "15");
        assert!(reply.header("location").starts_with(&server.origin()));
        locations.push(reply.header("location").to_owned());
        assert_eq!(decrypted(&user_agent.notification().await.data()), "hi");
    }
    locations.dedup();
    assert_eq!(locations.len(), 2, "every message has its own URL");
}

#[tokio::test]
async fn rfc8030_5_2_b_upl_8_a_push_without_ttl_is_refused() {
    let (server, _user_agent, endpoint) = subscribed().await;
    for version in [Http1, Http2] {
        let reply = Push::to(&server, &endpoint)
            .without("ttl")
            .over(version)
            .send()
            .await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (400, 111));
    }
}

#[tokio::test]
async fn rfc8030_5_2_c_a_ttl_is_one_field_of_digits() {
    let cases = ["-1", "1.5", "abc", "", "1, 2"].map(|value| ("ttl", value));
    refused(&cases, 400, 112).await;
    let (server, _user_agent, endpoint) = subscribed().await;
    let twice = Push::to(&server, &endpoint).another("ttl", "60");
    assert_eq!(twice.send().await.errno(), 112);
    let zeros = Push::to(&server, &endpoint)
        .header("ttl", "007")
        .send()
        .await;
    assert_eq!((zeros.status.as_u16(), zeros.header("ttl")), (201, "7"));
}

#[tokio::test]
async fn rfc8030_5_2_d_rfc8030_5_2_e_rfc8030_5_2_f_rfc8030_5_2_g_rfc8030_5_2_h_upl_3_the_granted_ttl_is_returned()
 {
    let (server, mut user_agent, endpoint) = subscribed().await;
    let month = 30 * 86400;
    for (asked, granted) in [
        ("0", 0),
        ("1", 1),
        ("2592000", month),
        ("31536000", month),
        ("2147483647", month),
        ("99999999999999999999", month),
    ] {
        let reply = Push::to(&server, &endpoint)
            .header("ttl", asked)
            .send()
            .await;
        let got = (reply.status.as_u16(), reply.header("ttl").to_owned());
        assert_eq!(got, (201, granted.to_string()), "TTL: {asked}");
        user_agent.notification().await;
    }
}

#[tokio::test]
async fn rfc8030_5_3_h_a_12_urgency_is_one_field_with_one_of_four_words() {
    let cases = ["urgent", "low, high", ""].map(|value| ("urgency", value));
    refused(&cases, 400, 115).await;
    let (server, _user_agent, endpoint) = subscribed().await;
    let push = Push::to(&server, &endpoint);
    let twice = push
        .clone()
        .header("urgency", "low")
        .another("urgency", "high");
    assert_eq!(twice.send().await.errno(), 115);
    for urgency in ["very-low", "low", "normal", "high", "High"] {
        push.clone().header("urgency", urgency).accepted().await;
    }
}

#[tokio::test]
async fn rfc8030_5_4_c_a_13_a_topic_is_one_field_of_up_to_32_base64url_characters() {
    let long = "x".repeat(33);
    let cases = ["a b", "a.b", "a/b", "a=", "a,b", "", long.as_str()].map(|value| ("topic", value));
    refused(&cases, 400, 113).await;
    let (server, _user_agent, endpoint) = subscribed().await;
    let push = Push::to(&server, &endpoint);
    assert_eq!(
        push.clone()
            .topic("a")
            .another("topic", "b")
            .send()
            .await
            .errno(),
        113
    );
    for topic in ["a", &"x".repeat(32)] {
        push.clone().topic(topic).accepted().await;
    }
}

#[tokio::test]
async fn rfc8030_8_3_b_http_b_unknown_endpoints_get_404_and_other_methods_405() {
    let (server, _user_agent, endpoint) = subscribed().await;
    for spoilt in [
        format!("{}/push/", server.origin()),
        format!("{}/push/abc", server.origin()),
        format!("{endpoint}A"),
        format!("{endpoint}/x"),
        endpoint[..endpoint.len() - 1].to_owned(),
        format!("{}/push/{}", server.origin(), "A".repeat(5000)),
    ] {
        let reply = Push::to(&server, &spoilt).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.errno()),
            (404, 102),
            "{spoilt}"
        );
    }
    let message = Push::to(&server, &endpoint).accepted().await;
    let crossed = message.replace("/message/", "/push/");
    assert_eq!(Push::to(&server, &crossed).send().await.status, 404);
    let put = ask(&server, "PUT", &endpoint).await;
    assert_eq!(
        (put.status.as_u16(), put.header("allow")),
        (405, "GET, HEAD, POST, OPTIONS")
    );
}

#[tokio::test]
async fn rfc8030_8_2_a_rfc8030_8_2_b_rfc8030_8_2_f_up_2_endpoints_of_one_user_agent_have_nothing_in_common()
 {
    let (_server, mut user_agent, _) = subscribed().await;
    let mut urls = Vec::new();
    for i in 0..50 {
        let channel = format!("00000000-0000-4000-8000-{i:012}");
        let endpoint = user_agent.register(&channel, None).await;
        assert!(endpoint.len() <= 200);
        urls.push(endpoint.rsplit('/').next().unwrap().to_owned());
    }
    for position in 0..urls[0].len() - 1 {
        let mut letters: Vec<_> = urls.iter().map(|url| url.as_bytes()[position]).collect();
        letters.sort_unstable();
        letters.dedup();
        assert!(letters.len() > 10, "position {position} tells something");
    }
}

#[tokio::test]
async fn upl_1_discovery_is_the_same_for_every_token() {
    let (server, _user_agent, endpoint) = subscribed().await;
    for url in [endpoint, format!("{}/push/unknown", server.origin())] {
        let reply = ask(&server, "GET", &url).await;
        assert_eq!(reply.text(), r#"{"unifiedpush":{"version":1}}"#);
        assert_eq!(reply.header("access-control-allow-origin"), "*");
    }
}
