//! Tolerances for senders that deviate from the standards: each setting of `[compat]`, the
//! strict profile, and the counters.

use bugle::config::{CompatConfig, Config, Profile};

use bugle_protocol::{ContentCoding, Ttl, UnixTime};

use crate::support::app_server::{Push, encrypted, key_pair, user_agent_keys};
use crate::support::http::Reply;
use crate::support::http::Version::{Http1, Http2};
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

impl Scene {
    async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let server = Server::start_with(|config| {
            config.compat.profile = Profile::Lenient;
            change(config);
        })
        .await;
        Self::at(server).await
    }

    /// A push that conforms to the standards.
    fn push(&self) -> Push<'_> {
        let push = Push::to(&self.server, &self.endpoint);
        push.text("x").signed(&self.keys)
    }

    fn token(&self, audience: &str) -> String {
        let expires_at = UnixTime::from_secs(self.server.now() + 3600);
        self.keys.sign(audience, expires_at, None)
    }

    async fn tolerated(&self, switch: &str) -> f64 {
        let name = format!("bugle_tolerated_total{{what=\"{switch}\"}}");
        self.server.metric(&name).await
    }
}

/// A tolerance and a push that needs it.
struct Case {
    switch: &'static str,
    by_default: bool,
    set: fn(&mut CompatConfig, bool),
    push: fn(&Scene) -> Push<'_>,
    /// Status and errno without the tolerance.
    refused: (u16, u64),
}

const CASES: [Case; 7] = [
    Case {
        switch: "aud_without_port",
        by_default: true,
        set: |compat, on| compat.aud_without_port = on,
        push: |scene| {
            let token = scene.token("http://127.0.0.1");
            let field = format!("vapid t={token}, k={}", scene.key());
            scene.push().header("authorization", &field)
        },
        refused: (403, 109),
    },
    Case {
        switch: "legacy_vapid",
        by_default: true,
        set: |compat, on| compat.legacy_vapid = on,
        push: legacy,
        refused: (401, 109),
    },
    Case {
        switch: "loose_vapid",
        by_default: true,
        set: |compat, on| compat.loose_vapid = on,
        push: |scene| {
            let token = scene.token(&scene.server.origin());
            let field = format!("vapid t={token}; k={}", scene.key());
            scene.push().header("authorization", &field)
        },
        refused: (403, 109),
    },
    Case {
        switch: "missing_ttl",
        by_default: false,
        set: |compat, on| compat.missing_ttl = on.then_some(Ttl::from_secs(60)),
        push: |scene| scene.push().without("ttl"),
        refused: (400, 111),
    },
    Case {
        switch: "aesgcm",
        by_default: true,
        set: |compat, on| compat.aesgcm = on,
        push: aesgcm,
        refused: (415, 110),
    },
    Case {
        switch: "wrong_record_size",
        by_default: true,
        set: |compat, on| compat.wrong_record_size = on,
        push: |scene| scene.push().body(with_record_size(17, "x")),
        refused: (400, 110),
    },
    Case {
        switch: "allow_unencrypted",
        by_default: false,
        set: |compat, on| compat.allow_unencrypted = on,
        push: |scene| scene.push().without("content-encoding"),
        refused: (415, 110),
    },
];

fn legacy(scene: &Scene) -> Push<'_> {
    let token = scene.token(&scene.server.origin());
    let push = scene
        .push()
        .header("authorization", &format!("WebPush {token}"));
    push.header("crypto-key", &format!("p256ecdsa={}", scene.key()))
}

fn aesgcm(scene: &Scene) -> Push<'_> {
    let keys = user_agent_keys().subscription_keys();
    let message = keys.encrypt_aesgcm(b"old", &key_pair(5), [7; 16]);
    let (
        ContentCoding::Aesgcm {
            encryption,
            crypto_key,
        },
        body,
    ) = message.unwrap()
    else {
        panic!("aesgcm was asked for")
    };
    let push = scene.push().body(body).header("content-encoding", "aesgcm");
    push.header("encryption", &encryption)
        .header("crypto-key", &crypto_key)
}

/// An aes128gcm body with a record size other than that of its encryption.
fn with_record_size(size: u32, text: &str) -> Vec<u8> {
    let mut body = encrypted(text);
    body[16..20].copy_from_slice(&size.to_be_bytes());
    body
}

fn outcome(reply: &Reply) -> (u16, u64) {
    match reply.status.as_u16() {
        201 => (201, 0),
        status => (status, reply.errno()),
    }
}

#[tokio::test]
async fn each_tolerance_accepts_its_deviation_and_counts_it() {
    needs_ours!("its settings");
    for case in &CASES {
        let scene = Scene::with(|config| (case.set)(&mut config.compat, true)).await;
        for (count, version) in [(1.0, Http1), (2.0, Http2)] {
            let reply = (case.push)(&scene).over(version).send().await;
            assert_eq!(outcome(&reply), (201, 0), "{}", case.switch);
            assert_eq!(scene.tolerated(case.switch).await, count, "{}", case.switch);
        }
        for other in CASES.iter().filter(|other| other.switch != case.switch) {
            let counted = scene.tolerated(other.switch).await;
            assert_eq!(counted, 0.0, "{} for {}", other.switch, case.switch);
        }
    }
}

#[tokio::test]
async fn each_tolerance_refuses_its_deviation_when_off() {
    needs_ours!("its settings");
    for case in &CASES {
        let mut scene = Scene::with(|config| (case.set)(&mut config.compat, false)).await;
        for version in [Http1, Http2] {
            let reply = (case.push)(&scene).over(version).send().await;
            assert_eq!(outcome(&reply), case.refused, "{}", case.switch);
        }
        assert_eq!(scene.tolerated(case.switch).await, 0.0, "{}", case.switch);
        scene.user_agent.receives_nothing().await;
    }
}

#[tokio::test]
async fn the_default_accepts_deviations_of_common_libraries() {
    needs_ours!("its settings");
    let scene = Scene::with(|_| ()).await;
    for case in &CASES {
        let expected = if case.by_default {
            (201, 0)
        } else {
            case.refused
        };
        let reply = (case.push)(&scene).send().await;
        assert_eq!(outcome(&reply), expected, "{}", case.switch);
        let counted = f64::from(u8::from(case.by_default));
        assert_eq!(
            scene.tolerated(case.switch).await,
            counted,
            "{}",
            case.switch
        );
    }
}

#[tokio::test]
async fn the_strict_profile_overrides_every_tolerance() {
    needs_ours!("its settings");
    let mut scene = Scene::with(|config| {
        config.compat.profile = Profile::Strict;
        CASES
            .iter()
            .for_each(|case| (case.set)(&mut config.compat, true));
    })
    .await;
    for version in [Http1, Http2] {
        for case in &CASES {
            let reply = (case.push)(&scene).over(version).send().await;
            assert_eq!(outcome(&reply), case.refused, "{}", case.switch);
            assert_eq!(scene.tolerated(case.switch).await, 0.0, "{}", case.switch);
        }
        scene.push().over(version).accepted().await;
        scene.user_agent.notification().await;
    }
    // A-4, 8030-7.3-c.
    scene.user_agent.unregister(CHANNEL).await;
    assert_eq!(outcome(&scene.push().send().await), (404, 106));
}

#[tokio::test]
async fn e_2_rfc8291_4_a_rfc8291_4_b_rfc8188_2_1_b_the_record_size_fits_its_one_record() {
    needs_ours!("its settings");
    let scene = Scene::with(|config| config.compat.profile = Profile::Strict).await;
    // A record is the text, a delimiter and a tag: 17 more bytes.
    let text = "x".repeat(183);
    for (size, text, expected) in [
        (18, "", (201, 0)),
        (17, "", (400, 110)),
        (0, "", (400, 110)),
        (4096, &*text, (201, 0)),
        (u32::MAX, &*text, (201, 0)),
        (200, &*text, (201, 0)),
        (199, &*text, (400, 110)),
        // 8291-4-a: with this record size, the body would be two records.
        (100, &*text, (400, 110)),
    ] {
        let body = with_record_size(size, text);
        for version in [Http1, Http2] {
            let reply = scene.push().body(body.clone()).over(version).send().await;
            assert_eq!(outcome(&reply), expected, "{size}");
        }
    }
    let reply = scene.push().body(with_record_size(42, &text)).send().await;
    let printed = reply.text();
    assert!(
        printed.contains("is 42") && printed.contains("200 octets"),
        "{printed}"
    );
}

#[tokio::test]
async fn an_accepted_push_counts_for_each_tolerance_that_it_needed() {
    needs_ours!("its settings");
    let scene = Scene::with(|_| ()).await;
    let token = scene.token("http://127.0.0.1");
    let push = scene.push().body(with_record_size(17, "x"));
    let push = push
        .header("authorization", &format!("Bearer {token}"))
        .header("crypto-key", &format!("p256ecdsa={}", scene.key()));
    push.accepted().await;
    // The token is cached from a request in the standard form.
    let field = format!("vapid t={token}, k={}", scene.key());
    push.clone()
        .header("authorization", &field)
        .accepted()
        .await;
    assert_eq!(push.header("ttl", "never").send().await.status, 400);
    for (switch, count) in [
        ("aud_without_port", 2.0),
        ("legacy_vapid", 1.0),
        ("wrong_record_size", 2.0),
    ] {
        assert_eq!(scene.tolerated(switch).await, count, "{switch}");
    }
}

#[tokio::test]
async fn v_3_a_disabled_legacy_scheme_counts_as_unsigned() {
    needs_ours!("its settings");
    let mut scene = Scene::with(|config| config.compat.legacy_vapid = false).await;
    for field in ["WebPush", "Bearer"] {
        let token = scene.token(&scene.server.origin());
        let push = legacy(&scene).header("authorization", &format!("{field} {token}"));
        let reply = push.send().await;
        assert_eq!(outcome(&reply), (401, 109), "{field}");
        assert_eq!(reply.header("www-authenticate"), "vapid");
        // Without its key, the legacy signature is still incomplete.
        assert_eq!(push.without("crypto-key").send().await.status, 401);
    }
    // On a subscription without a key, a signature is voluntary and ignored.
    scene.user_agent.unregister(CHANNEL).await;
    scene.endpoint = scene.user_agent.register(CHANNEL, None).await;
    legacy(&scene).accepted().await;
    assert_eq!(scene.tolerated("legacy_vapid").await, 0.0);
}

#[tokio::test]
async fn rfc8030_5_2_b_an_assumed_ttl_is_granted_and_returned() {
    needs_ours!("its settings and its metrics");
    for (assumed, is_kept) in [(0, false), (60, true)] {
        let assume = Some(Ttl::from_secs(assumed));
        let mut scene = Scene::with(|config| config.compat.missing_ttl = assume).await;
        scene.user_agent.socket.close(None).await.unwrap();
        scene.server.await_metric("bugle_user_agents", 0.0).await;
        let reply = scene.push().without("ttl").send().await;
        assert_eq!(outcome(&reply), (201, 0));
        assert_eq!(reply.header("ttl"), assumed.to_string());
        let mut again = UserAgent::reconnect(&scene.server, &scene.user_agent.uaid).await;
        if is_kept {
            again.notification().await;
        }
        again.receives_nothing().await;
        // A malformed TTL is still an error (8030-5.2-c).
        let reply = scene.push().header("ttl", "").send().await;
        assert_eq!(outcome(&reply), (400, 112));
    }
}

#[tokio::test]
async fn v_4_the_audience_is_the_origin_in_ascii_or_in_unicode() {
    needs_ours!("its settings");
    let origin = "http://xn--bcher-kva.example:8080";
    for (profile, without_port) in [(Profile::Lenient, 201), (Profile::Strict, 403)] {
        let mut scene = Scene::with(|config| {
            config.server.public_url = Some(origin.parse().unwrap());
            config.compat.profile = profile;
        })
        .await;
        scene.endpoint = scene.endpoint.replace(origin, &scene.server.origin());
        for (audience, status) in [
            (origin, 201),
            ("http://bücher.example:8080", 201),
            ("http://bücher.example", without_port),
            ("http://bucher.example:8080", 403),
        ] {
            let field = format!("vapid t={}, k={}", scene.token(audience), scene.key());
            for version in [Http1, Http2] {
                let push = scene.push().header("authorization", &field).over(version);
                assert_eq!(push.send().await.status, status, "{audience}");
            }
        }
    }
}
