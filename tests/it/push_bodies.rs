//! Bodies of pushes, and their codings (RFC 8291 §4, RFC 8188).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle::config::Profile;
use bugle_protocol::ContentCoding;

use crate::push::{refused, subscribed, subscribed_to};
use crate::support::app_server::{Push, encrypted, key_pair, standard_base64, user_agent_keys};
use crate::support::http::Version::{Http1, Http2};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn rfc8030_7_2_c_rfc8030_7_2_d_rfc8291_4_d_up_6_bodies_up_to_4096_octets_are_accepted_and_larger_ones_refused()
 {
    let (server, mut user_agent, endpoint) = subscribed().await;
    let most = encrypted(&"x".repeat(3993));
    assert_eq!(most.len(), 4096);
    let mut more = most.clone();
    more.push(0);
    for version in [Http1, Http2] {
        let push = Push::to(&server, &endpoint).text("").over(version);
        push.clone().body(most.clone()).accepted().await;
        assert_eq!(user_agent.notification().await.data(), most);
        let reply = push.body(more.clone()).send().await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (413, 104));
    }
}

#[tokio::test]
async fn rfc8291_ps_1_rfc8291_ps_2_ws_n_4_ws_n_5_the_body_arrives_unchanged_with_its_coding() {
    let (server, mut user_agent, endpoint) = subscribed().await;
    let body = encrypted(&"every octet ".repeat(200));
    Push::to(&server, &endpoint)
        .text("")
        .body(body.clone())
        .accepted()
        .await;
    let notification = user_agent.notification().await;
    assert_eq!(notification.data(), body);
    assert_eq!(
        notification.0["headers"],
        serde_json::json!({ "encoding": "aes128gcm" })
    );
    assert!(
        !notification.0["data"]
            .as_str()
            .unwrap()
            .contains(['=', '+', '/'])
    );
}

#[tokio::test]
async fn ws_n_3_ws_n_6_rfc8030_5_3_b_rfc8030_5_4_h_e_4_papi_15_a_push_without_a_body_has_neither_data_nor_headers()
 {
    let (server, mut user_agent, endpoint) = subscribed().await;
    let push = Push::to(&server, &endpoint)
        .topic("t")
        .header("urgency", "high");
    push.clone().accepted().await;
    // E-4: a coding without a body is ignored.
    push.header("content-encoding", "aes128gcm")
        .topic("u")
        .accepted()
        .await;
    for _ in 0..2 {
        let notification = user_agent.notification().await.0;
        let mut fields: Vec<_> = notification.as_object().unwrap().keys().collect();
        fields.sort();
        assert_eq!(fields, ["channelID", "messageType", "version"]);
    }
}

#[tokio::test]
async fn rfc8291_4_c_rfc8291_7_b_e_2_e_3_invalid_aes128gcm_bodies_are_refused() {
    let (server, mut user_agent, endpoint) = subscribed_to(Server::lenient().await).await;
    let good = encrypted("");
    assert_eq!(good.len(), 103);
    let with = |at: usize, octet: u8| {
        let mut body = good.clone();
        body[at] = octet;
        body
    };
    let off_curve = [&good[..21], &[4; 65], &good[86..]].concat();
    let cases = [
        good[..102].to_vec(),
        with(20, 0),
        with(20, 66),
        with(21, 2),
        off_curve,
    ];
    for body in cases {
        let reply = Push::to(&server, &endpoint)
            .text("")
            .body(body.clone())
            .send()
            .await;
        assert_eq!(
            (reply.status.as_u16(), reply.errno()),
            (400, 110),
            "{body:?}"
        );
    }
    // E-2: the record size is not checked.
    for record_size in [[0, 0, 0, 17], [0xff; 4]] {
        let mut body = good.clone();
        body[16..20].copy_from_slice(&record_size);
        Push::to(&server, &endpoint)
            .text("")
            .body(body.clone())
            .accepted()
            .await;
        assert_eq!(user_agent.notification().await.data(), body);
    }
}

#[tokio::test]
async fn rfc8291_4_e_rfc8188_4_1_a_e_1_other_codings_and_missing_ones_are_refused() {
    let codings = ["gzip", "aes128gcm, gzip", "aes128gcm, aes128gcm", ""];
    refused(&codings.map(|value| ("content-encoding", value)), 415, 110).await;
    let (server, _user_agent, endpoint) = subscribed().await;
    let plain = Push::to(&server, &endpoint)
        .body(b"hello".to_vec())
        .send()
        .await;
    assert_eq!((plain.status.as_u16(), plain.errno()), (415, 110));
    assert_eq!(plain.header("accept-encoding"), "aes128gcm", "E-1");
}

#[tokio::test]
async fn e_1_allow_unencrypted_accepts_unencrypted_bodies() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.compat.profile = Profile::Lenient;
        config.compat.allow_unencrypted = true;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint)
        .body(b"hello".to_vec())
        .accepted()
        .await;
    assert_eq!(user_agent.notification().await.data(), b"hello");
}

#[tokio::test]
async fn aesgcm_a_aesgcm_e_vleg_c_aesgcm_is_relayed_without_the_vapid_key() {
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let signing = key_pair(1);
    let vapid = signing.public_key().to_base64url();
    let endpoint = user_agent.register(CHANNEL, Some(&vapid)).await;
    let message =
        user_agent_keys()
            .subscription_keys()
            .encrypt_aesgcm(b"old", &key_pair(5), [7; 16]);
    let (coding, body) = message.unwrap();
    let ContentCoding::Aesgcm {
        encryption,
        crypto_key,
    } = coding
    else {
        panic!()
    };
    let push = Push::to(&server, &endpoint)
        .body(body.clone())
        .header("content-encoding", "aesgcm")
        .header("encryption", &encryption);
    for keys in [
        crypto_key.clone(),
        format!("{crypto_key};p256ecdsa={vapid}"),
    ] {
        push.clone()
            .signed(&signing)
            .header("crypto-key", &keys)
            .accepted()
            .await;
        let notification = user_agent.notification().await;
        let expected = serde_json::json!({
            "encoding": "aesgcm", "encryption": encryption, "crypto_key": crypto_key,
        });
        assert_eq!(notification.0["headers"], expected);
        assert_eq!(notification.data(), body);
    }
}

#[tokio::test]
async fn aesgcm_b_aesgcm_c_aesgcm_d_aesgcm_f_malformed_aesgcm_is_refused() {
    let (server, _user_agent, endpoint) = subscribed_to(Server::lenient().await).await;
    let salt = format!("salt={}", URL_SAFE_NO_PAD.encode([7; 16]));
    let key = key_pair(5).public_key();
    let dh = format!("dh={}", key.to_base64url());
    let foreign = format!("dh={}", standard_base64(&[0xff; 65]));
    let push = |coding: &str, encryption: &str, crypto_key: &str| {
        let push = Push::to(&server, &endpoint).body(vec![0; 18]);
        let push = push
            .header("content-encoding", coding)
            .header("crypto-key", crypto_key);
        push.header("encryption", encryption)
    };
    for (encryption, crypto_key) in [
        (format!("{salt}, {salt}"), dh.clone()),
        ("rs=4096".into(), dh.clone()),
        ("salt=AAAA".into(), dh.clone()),
        (salt.clone(), format!("{dh}, {dh}")),
        (salt.clone(), "p256ecdsa=x".into()),
        (salt.clone(), foreign),
        (salt.clone(), "dh=\"".into()),
    ] {
        let reply = push("aesgcm", &encryption, &crypto_key).send().await;
        let got = (reply.status.as_u16(), reply.errno());
        assert_eq!(got, (400, 110), "{encryption} {crypto_key}");
    }
    let short = push("aesgcm", &salt, &dh).body(vec![0; 17]).send().await;
    assert_eq!((short.status.as_u16(), short.errno()), (400, 110));
    let no_encryption = push("aesgcm", &salt, &dh)
        .without("encryption")
        .send()
        .await;
    assert_eq!(no_encryption.errno(), 110);
    let mixed = push("aes128gcm", &salt, &dh)
        .body(encrypted("x"))
        .send()
        .await;
    assert_eq!(mixed.errno(), 110);
}
