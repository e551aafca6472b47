//! VAPID where RFC 8292 leaves a choice.

use serde_json::{Value, json};

use crate::support::app_server::{Push, decrypted, encrypted, key_pair};
use crate::support::http::Version::{Http1, Http2};
use crate::support::scene::Scene;
use crate::support::server::Server;

impl Scene {
    /// An `Authorization` value with these claims.
    fn signed(&self, claims: &Value) -> String {
        let token = self
            .keys
            .sign_json(r#"{"typ":"JWT","alg":"ES256"}"#, &claims.to_string());
        format!("vapid t={token}, k={}", self.key())
    }

    /// A time relative to now, in seconds.
    fn seconds_ahead(&self, secs: i64) -> u64 {
        self.server.now().checked_add_signed(secs).unwrap()
    }

    fn push_with(&self, authorization: &str) -> Push<'_> {
        let push = Push::to(&self.server, &self.endpoint).text("x");
        push.header("authorization", authorization)
    }

    async fn status(&self, authorization: &str) -> u16 {
        let mut statuses = Vec::new();
        for version in [Http1, Http2] {
            let reply = self.push_with(authorization).over(version).send().await;
            statuses.push(reply.status.as_u16());
        }
        assert_eq!(statuses[0], statuses[1], "{authorization}");
        statuses[0]
    }
}

#[tokio::test]
async fn v_4_the_audience_may_be_one_of_a_list() {
    let scene = Scene::at(Server::start().await).await;
    let (origin, exp) = (scene.server.origin(), scene.seconds_ahead(3600));
    for (aud, status) in [
        (json!([origin]), 201),
        (json!(["https://push.example.net", origin]), 201),
        (json!(["https://push.example.net"]), 403),
        (json!([]), 403),
        (json!([[origin]]), 403),
        (json!({ "origin": origin }), 403),
    ] {
        let field = scene.signed(&json!({ "aud": aud, "exp": exp }));
        assert_eq!(scene.status(&field).await, status, "{aud}");
    }
}

#[tokio::test]
async fn v_5_the_audience_is_the_origin_of_the_endpoint_whatever_the_host() {
    let scene = Scene::at(Server::start().await).await;
    let exp = scene.seconds_ahead(3600);
    let path = scene.endpoint.strip_prefix(&scene.server.origin()).unwrap();
    for (aud, status) in [
        (scene.server.origin(), "HTTP/1.1 201"),
        ("http://push.example.net".to_owned(), "HTTP/1.1 403"),
    ] {
        let field = scene.signed(&json!({ "aud": aud, "exp": exp }));
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: push.example.net\r\nTTL: 60\r\nConnection: close\r\n\
             Content-Length: 0\r\nAuthorization: {field}\r\n\r\n"
        );
        let authority = scene.server.authority();
        let answer = crate::support::http::raw(authority, request.as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with(status), "{aud}: {answer}");
    }
}

#[tokio::test]
async fn v_6_v_7_exp_may_be_fractional_and_clocks_may_differ_by_a_minute() {
    let scene = Scene::at(Server::start().await).await;
    let aud = scene.server.origin();
    for (exp, status) in [
        (json!(scene.seconds_ahead(3600) as f64 + 0.5), 201),
        (json!(scene.seconds_ahead(-30)), 201),
        (json!(scene.seconds_ahead(-120)), 403),
        (json!(scene.seconds_ahead(86_400 + 30)), 201),
        (json!(scene.seconds_ahead(86_400 + 120)), 403),
    ] {
        let field = scene.signed(&json!({ "aud": aud, "exp": exp }));
        assert_eq!(scene.status(&field).await, status, "{exp}");
    }
}

#[tokio::test]
async fn v_14_checks_run_in_order_endpoint_token_fields_body() {
    let scene = Scene::at(Server::start().await).await;
    let good =
        scene.signed(&json!({ "aud": scene.server.origin(), "exp": scene.seconds_ahead(60) }));
    // Everything is wrong at first; then one part after the other is corrected.
    let unknown = format!("{}/push/unknown", scene.server.origin());
    let all_wrong = |endpoint: &str| {
        let push = Push::to(&scene.server, endpoint).without("ttl");
        push.body(vec![0; 5000])
    };
    for version in [Http1, Http2] {
        let push = all_wrong(&unknown).over(version);
        assert_eq!(push.send().await.status, 404);
        let push = all_wrong(&scene.endpoint).over(version);
        assert_eq!(push.send().await.status, 401);
        let push = push.header("authorization", "vapid t=x, k=y");
        assert_eq!(push.send().await.status, 403);
        let push = push.header("authorization", &good);
        assert_eq!(push.send().await.errno(), 111);
        let push = push.ttl(60);
        assert_eq!(push.send().await.status, 413);
        let push = push.body(vec![0; 200]);
        assert_eq!(push.send().await.status, 415);
        let push = push.header("content-encoding", "aes128gcm");
        assert_eq!(push.send().await.status, 400);
        assert_eq!(push.body(encrypted("x")).send().await.status, 201);
    }
}

#[tokio::test]
async fn v_18_space_and_empty_elements_between_parameters_are_accepted() {
    let scene = Scene::at(Server::start().await).await;
    let good =
        scene.signed(&json!({ "aud": scene.server.origin(), "exp": scene.seconds_ahead(60) }));
    let parameters = good.strip_prefix("vapid ").unwrap();
    let (token, key) = parameters.split_once(", ").unwrap();
    for field in [
        format!("vapid {token} ,\t{key}"),
        format!("vapid , {token},, {key} ,"),
        format!("vapid   {token},{key}"),
    ] {
        assert_eq!(scene.status(&field).await, 201, "{field}");
    }
}

#[tokio::test]
async fn rfc8292_2_f_the_response_to_a_bad_token_reveals_nothing() {
    let mut scene = Scene::at(Server::start().await).await;
    let claims = json!({ "aud": scene.server.origin(), "exp": scene.seconds_ahead(3600) });
    let good = scene.signed(&claims);
    let (token, _) = good.split_once(", k=").unwrap();
    // A position in the middle of the signature.
    let at = token.len() - 40;
    let flipped = if &token[at..=at] == "A" { "B" } else { "A" };
    let other = key_pair(2).public_key().to_base64url();
    for field in [
        format!("{token}, k={other}"),
        format!(
            "{}{flipped}{}, k={}",
            &token[..at],
            &token[at + 1..],
            scene.key()
        ),
    ] {
        // A second attempt must give the same response.
        for _ in 0..2 {
            assert_eq!(scene.status(&field).await, 403, "{field}");
        }
    }
    let known = "bugle_vapid_tokens_known_total";
    scene.server.counts(known, 0.0).await;
    scene.push_with(&good).text("good").accepted().await;
    let notification = scene.user_agent.notification().await;
    assert_eq!(decrypted(&notification.data()), "good");
}
