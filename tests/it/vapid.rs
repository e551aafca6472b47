//! Authorization of senders (RFC 8292), including the legacy forms.

use bugle_protocol::UnixTime;
use bugle_protocol::key_pair::KeyPair;

use crate::support::app_server::{Push, authorization, decrypted, encrypted, key_pair};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

/// A service, a user agent, an endpoint restricted to the returned keys, and an unrestricted
/// one.
struct Scene {
    server: Server,
    user_agent: UserAgent,
    restricted: String,
    open: String,
    keys: KeyPair,
}

async fn scene() -> Scene {
    scene_at(Server::start().await).await
}

async fn scene_at(server: Server) -> Scene {
    let mut user_agent = UserAgent::connect(&server).await;
    let keys = key_pair(1);
    let key = keys.public_key().to_base64url();
    let restricted = user_agent.register(CHANNEL, Some(&key)).await;
    let open = user_agent.register(CHANNEL_2, None).await;
    Scene {
        server,
        user_agent,
        restricted,
        open,
        keys,
    }
}

impl Scene {
    /// A token for this audience that expires in this many seconds.
    fn token(&self, audience: &str, secs: i64) -> String {
        let expires_at = UnixTime::from_secs(self.server.now().checked_add_signed(secs).unwrap());
        self.keys
            .sign(audience, expires_at, Some("mailto:test@example.com"))
    }

    fn key(&self) -> String {
        self.keys.public_key().to_base64url()
    }

    fn good(&self) -> String {
        self.token(&self.server.origin(), 3600)
    }

    /// The status of a push to the restricted endpoint with this field.
    async fn status(&self, authorization: &str) -> u16 {
        let push = Push::to(&self.server, &self.restricted).text("x");
        push.header("authorization", authorization)
            .send()
            .await
            .status
            .as_u16()
    }

    /// Asserts that no refused push arrived: the next message is a valid one.
    async fn assert_nothing_arrived(mut self) {
        Push::to(&self.server, &self.restricted)
            .text("good")
            .signed(&self.keys)
            .accepted()
            .await;
        assert_eq!(
            decrypted(&self.user_agent.notification().await.data()),
            "good"
        );
    }
}

#[tokio::test]
async fn rfc8292_4_2_b_rfc8292_3_b_http_a_a_restricted_subscription_requires_vapid() {
    let scene = scene().await;
    for authorization in [None, Some("Basic dXNlcjpwYXNz"), Some("Bearer opaque")] {
        let mut push = Push::to(&scene.server, &scene.restricted).text("x");
        if let Some(authorization) = authorization {
            push = push.header("authorization", authorization);
        }
        let reply = push.send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.errno()),
            (401, 109),
            "{authorization:?}"
        );
        assert_eq!(reply.header("www-authenticate"), "vapid");
    }
    scene.assert_nothing_arrived().await;
}

#[tokio::test]
async fn rfc8292_4_2_i1_v_2_token_and_key_are_both_required() {
    let scene = scene().await;
    let (token, key) = (scene.good(), scene.key());
    for field in [
        format!("vapid t={token}"),
        format!("vapid k={key}"),
        "vapid".into(),
    ] {
        assert_eq!(scene.status(&field).await, 403, "{field}");
    }
    scene.assert_nothing_arrived().await;
}

#[tokio::test]
async fn rfc8292_4_2_i2_rfc8292_4_2_c_the_signature_must_be_valid() {
    let scene = scene().await;
    let (token, key) = (scene.good(), scene.key());
    let forged = KeyPair::from_bytes(&[9; 32]).unwrap();
    let expires_at = UnixTime::from_secs(scene.server.now() + 3600);
    let other = forged.sign(&scene.server.origin(), expires_at, None);
    let mut spoilt = vec![format!("vapid t={other}, k={key}")];
    for part in 0..3 {
        let mut parts: Vec<_> = token.split('.').map(str::to_owned).collect();
        let middle = parts[part].len() / 2;
        let other = if &parts[part][middle..=middle] == "A" {
            "B"
        } else {
            "A"
        };
        parts[part].replace_range(middle..=middle, other);
        spoilt.push(format!("vapid t={}, k={key}", parts.join(".")));
    }
    for field in spoilt {
        assert_eq!(scene.status(&field).await, 403, "{field}");
    }
    scene.assert_nothing_arrived().await;
}

#[tokio::test]
async fn rfc8292_4_2_i3_rfc8292_2_d_a_token_must_expire_within_a_day_and_not_before_now() {
    let scene = scene().await;
    let (origin, key) = (scene.server.origin(), scene.key());
    for (secs, status) in [(-120, 403), (86400 + 120, 403), (82800, 201), (86400, 201)] {
        let token = scene.token(&origin, secs);
        assert_eq!(
            scene.status(&format!("vapid t={token}, k={key}")).await,
            status,
            "{secs}"
        );
    }
}

#[tokio::test]
async fn rfc8292_4_2_i4_rfc8292_2_b_v_16_the_audience_must_be_this_service() {
    let scene = scene_at(Server::lenient().await).await;
    let (origin, key) = (scene.server.origin(), scene.key());
    for audience in [
        "http://push.example.net",
        &origin.replace("http:", "https:"),
        &format!("{origin}/"),
        &format!("{origin}/push"),
        "",
        "*",
    ] {
        let token = scene.token(audience, 3600);
        assert_eq!(
            scene.status(&format!("vapid t={token}, k={key}")).await,
            403,
            "{audience}"
        );
    }
    // V-16: common libraries omit the port.
    let token = scene.token("http://127.0.0.1", 3600);
    assert_eq!(
        scene.status(&format!("vapid t={token}, k={key}")).await,
        201
    );
}

#[tokio::test]
async fn rfc8292_4_2_i5_the_key_must_be_that_of_the_subscription() {
    let scene = scene().await;
    let other = authorization(&scene.server, &key_pair(2));
    assert_eq!(scene.status(&other).await, 403);
    scene.assert_nothing_arrived().await;
}

#[tokio::test]
async fn v_1_v_3_rfc8292_2_e_a_bad_token_is_refused_on_an_open_subscription_too() {
    let scene = scene().await;
    let push = Push::to(&scene.server, &scene.open).text("x");
    push.clone().signed(&scene.keys).accepted().await;
    push.clone()
        .header("authorization", "Basic dXNlcjpwYXNz")
        .accepted()
        .await;
    let token = scene.token("http://push.example.net", 3600);
    let field = format!("vapid t={token}, k={}", scene.key());
    assert_eq!(
        push.header("authorization", &field).send().await.status,
        403
    );
}

#[tokio::test]
async fn rfc8292_3_c_rfc8292_3_d_v_8_v_15_every_form_of_the_field_is_accepted() {
    let scene = scene_at(Server::lenient().await).await;
    let (token, key) = (scene.good(), scene.key());
    for field in [
        format!("vapid t={token},k={key}"),
        format!("vapid k={key}, t={token}"),
        format!("VAPID  T=\"{token}\" , K=\"{key}=\""),
        format!("vapid realm=\"a, b\", t={token}, k={key}, foo=bar, v=1"),
        format!("vapid t={token}, k={key}="),
    ] {
        assert_eq!(scene.status(&field).await, 201, "{field}");
    }
    for field in [
        format!("vapid t={token}, t={token}, k={key}"),
        format!("vapid t={token}, k={key}, k={key}"),
    ] {
        assert_eq!(scene.status(&field).await, 400, "V-15");
    }
    let push = Push::to(&scene.server, &scene.restricted).signed(&scene.keys);
    let doubled = push.another("authorization", &authorization(&scene.server, &scene.keys));
    assert_eq!(doubled.send().await.status, 400, "V-15");
}

#[tokio::test]
async fn vleg_a_vleg_b_the_legacy_forms_are_accepted() {
    let scene = scene_at(Server::lenient().await).await;
    let (token, key) = (scene.good(), scene.key());
    let push = Push::to(&scene.server, &scene.restricted);
    for scheme in ["WebPush", "webpush", "Bearer"] {
        let push = push
            .clone()
            .header("authorization", &format!("{scheme} {token}"));
        for crypto_key in [
            format!("p256ecdsa={key}"),
            format!("x=y, p256ecdsa=\"{key}\""),
        ] {
            push.clone()
                .header("crypto-key", &crypto_key)
                .accepted()
                .await;
        }
        assert_eq!(push.send().await.status, 403, "{scheme} without its key");
    }
}

#[tokio::test]
async fn rfc8292_3_2_c_a_message_encrypted_with_the_signing_key_is_refused() {
    let scene = scene().await;
    let mut body = encrypted("x");
    body[21..86].copy_from_slice(scene.keys.public_key().as_bytes());
    let push = Push::to(&scene.server, &scene.restricted)
        .text("")
        .body(body);
    assert_eq!(push.signed(&scene.keys).send().await.status, 400);
}

#[tokio::test]
async fn rfc8292_5_b_a_token_is_verified_once_and_cached_until_it_expires() {
    needs_ours!("its clock");
    let scene = scene().await;
    let (push, keys) = (Push::to(&scene.server, &scene.restricted), &scene.keys);
    let signed = push.text("x").signed(keys);
    for _ in 0..3 {
        signed.accepted().await;
    }
    scene
        .server
        .counts("bugle_vapid_signatures_checked_total", 1.0)
        .await;
    scene
        .server
        .counts("bugle_vapid_tokens_known_total", 2.0)
        .await;
    scene
        .server
        .advance(std::time::Duration::from_secs(12 * 3600 + 120));
    assert_eq!(signed.send().await.status, 403);
}

#[tokio::test]
async fn v_11_up_8_ws_r_12_vapid_can_be_required() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.push.require_vapid = true).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let refused = user_agent
        .try_register(CHANNEL, serde_json::Value::Null)
        .await;
    assert_eq!(refused["status"], 400);
    assert!(refused.get("pushEndpoint").is_none(), "WS-R-12");
    user_agent
        .register(CHANNEL, Some(&key_pair(1).public_key().to_base64url()))
        .await;
}
