//! Invalid VAPID tokens and header fields (RFC 8292 §2 and §3).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use serde_json::{Value, json};

use crate::support::app_server::{Push, authorization};
use crate::support::http::Version::{Http1, Http2};
use crate::support::scene::Scene;
use crate::support::server::Server;

const HEADER: &str = r#"{"typ":"JWT","alg":"ES256"}"#;

impl Scene {
    /// Valid claims with one of them set, or removed if null.
    fn claims(&self, name: &str, value: Value) -> String {
        let exp = self.server.now() + 3600;
        let mut claims = json!({ "aud": self.server.origin(), "exp": exp });
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value);
        }
        claims.to_string()
    }

    /// A field with a signed token of this header and these claims.
    fn signed_by(&self, header: &str, claims: &str) -> String {
        let token = self.keys.sign_json(header, claims);
        format!("vapid t={token}, k={}", self.key())
    }

    /// Pushes with this field over both versions of HTTP.
    async fn answers(&mut self, field: &str, status: u16) {
        for version in [Http1, Http2] {
            let push = Push::to(&self.server, &self.endpoint).over(version);
            let reply = push.header("authorization", field).send().await;
            assert_eq!(reply.status, status, "{version:?} {field}");
            if status == 201 {
                self.user_agent.notification().await;
            } else {
                assert_eq!(reply.errno(), 109, "{field}");
            }
        }
        self.user_agent.receives_nothing().await;
    }
}

#[tokio::test]
async fn rfc8292_2_b_aud_is_required_and_must_be_this_service() {
    let mut scene = Scene::at(Server::start().await).await;
    let origin = scene.server.origin();
    for (aud, status) in [
        (json!(null), 403),
        (json!(7), 403),
        (json!([]), 403),
        (json!(["http://push.example.net"]), 403),
        (json!(origin), 201),
        (json!(["http://push.example.net", origin]), 201),
    ] {
        let field = scene.signed_by(HEADER, &scene.claims("aud", aud));
        scene.answers(&field, status).await;
    }
}

#[tokio::test]
async fn rfc8292_2_c_exp_is_a_number() {
    let mut scene = Scene::at(Server::start().await).await;
    let soon = scene.server.now() + 3600;
    for (exp, status) in [
        (json!(null), 403),
        (json!(soon.to_string()), 403),
        (json!(-1), 403),
        (json!(true), 403),
        (json!([soon]), 403),
        // V-6.
        (json!(soon as f64 + 0.5), 201),
    ] {
        let field = scene.signed_by(HEADER, &scene.claims("exp", exp));
        scene.answers(&field, status).await;
    }
}

#[tokio::test]
async fn rfc8292_2_d_exp_is_at_most_24_hours_ahead() {
    let mut scene = Scene::at(Server::start().await).await;
    let now = scene.server.now();
    for (exp, status) in [
        (now + 23 * 3600, 201),
        (now + 25 * 3600, 403),
        (u64::MAX, 403),
    ] {
        let field = scene.signed_by(HEADER, &scene.claims("exp", json!(exp)));
        scene.answers(&field, status).await;
    }
    let field = scene.signed_by(HEADER, &scene.claims("exp", json!(1e308)));
    scene.answers(&field, 403).await;
}

#[tokio::test]
async fn rfc8292_2_g_the_algorithm_is_es256() {
    let mut scene = Scene::at(Server::start().await).await;
    let claims = scene.claims("", json!(1));
    for alg in ["none", "HS256", "RS256", "ES384", "es256", ""] {
        let header = json!({ "typ": "JWT", "alg": alg }).to_string();
        let field = scene.signed_by(&header, &claims);
        scene.answers(&field, 403).await;
    }
    let field = scene.signed_by(r#"{"typ":"JWT"}"#, &claims);
    scene.answers(&field, 403).await;

    // Forgeries: without a signature, and with the public key as the secret of an HMAC.
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&claims));
    let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(&claims));
    let secret = scene.keys.public_key();
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
    for token in [unsigned, forged] {
        let field = format!("vapid t={token}, k={}", scene.key());
        scene.answers(&field, 403).await;
    }
}

#[tokio::test]
async fn v_17_a_critical_extension_is_refused() {
    let mut scene = Scene::at(Server::start().await).await;
    let claims = scene.claims("", json!(1));
    for crit in [json!(["b64"]), json!([]), json!("exp")] {
        let header = json!({ "alg": "ES256", "crit": crit, "b64": true }).to_string();
        let field = scene.signed_by(&header, &claims);
        scene.answers(&field, 403).await;
    }
}

#[tokio::test]
async fn rfc8292_2_1_a_rfc8292_2_1_b_rfc8292_2_2_a_other_claims_may_be_anything() {
    let mut scene = Scene::at(Server::start().await).await;
    for (name, value) in [
        ("sub", json!(null)),
        ("sub", json!("hello")),
        ("sub", json!("mailto:mailto:a@example.com")),
        ("sub", json!({ "a": [1] })),
        ("iss", json!("x".repeat(1000))),
        ("jti", json!([[[]]])),
    ] {
        let field = scene.signed_by(HEADER, &scene.claims(name, value));
        scene.answers(&field, 201).await;
    }
}

#[tokio::test]
async fn rfc8292_2_2_b_a_header_over_the_limit_is_431() {
    let mut scene = Scene::at(Server::start().await).await;
    let claims = scene.claims("x", json!("x".repeat(20 * 1024)));
    let field = scene.signed_by(HEADER, &claims);
    for version in [Http1, Http2] {
        let push = Push::to(&scene.server, &scene.endpoint).over(version);
        let reply = push.header("authorization", &field).send().await;
        assert_eq!(reply.status, 431, "{version:?}");
    }
    scene.user_agent.receives_nothing().await;
    let good = authorization(&scene.server, &scene.keys);
    scene.answers(&good, 201).await;
}

#[tokio::test]
async fn rfc8292_3_a_proxy_credentials_are_ignored() {
    let mut scene = Scene::at(Server::start().await).await;
    let good = authorization(&scene.server, &scene.keys);
    for version in [Http1, Http2] {
        let push = Push::to(&scene.server, &scene.endpoint).over(version);
        let for_proxy = push.header("proxy-authorization", &good);
        let reply = for_proxy.send().await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (401, 109));
        let spoilt = for_proxy.header("proxy-authorization", "vapid t=x, k=y");
        spoilt.header("authorization", &good).accepted().await;
        scene.user_agent.notification().await;
    }
    scene.user_agent.receives_nothing().await;
}

#[tokio::test]
async fn rfc8292_2_a_rfc8292_3_2_a_k_is_an_uncompressed_point_in_base64url() {
    let mut scene = Scene::at(Server::start().await).await;
    let token = scene.keys.sign_json(HEADER, &scene.claims("", json!(1)));
    let key = scene.keys.public_key();
    let point = key.as_bytes();
    let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
    let hybrid = [&[6 + (point[64] & 1)], &point[1..]].concat();
    let mut off_curve = point.to_vec();
    off_curve[64] ^= 1;
    let jwk = scene.keys.to_jwk();
    for k in [
        URL_SAFE_NO_PAD.encode(compressed),
        URL_SAFE_NO_PAD.encode(hybrid),
        URL_SAFE_NO_PAD.encode(&point[1..]),
        URL_SAFE_NO_PAD.encode(&point[..64]),
        URL_SAFE_NO_PAD.encode(off_curve),
        URL_SAFE_NO_PAD.encode([0; 65]),
        URL_SAFE_NO_PAD.encode(jwk.as_bytes()),
        format!("\"{}\"", jwk.replace('"', "\\\"")),
        "\"-----BEGIN PUBLIC KEY-----\"".to_owned(),
        String::new(),
    ] {
        scene.answers(&format!("vapid t={token}, k={k}"), 403).await;
    }
    let good = format!("vapid t={token}, k={}", scene.key());
    scene.answers(&good, 201).await;
}
