//! Chromium as a user agent: check-in, registration, and delivery, from outside.

use std::time::Duration;

use bugle::config::Sites;
use bugle_client::{ClientError, Dialer, McsDevice, McsUserAgent};
use serde_json::json;

use crate::support::app_server::{Push, key_pair};
use crate::support::device::{
    Device, SITE, base, chromium, confirm, is_quiet, next, registration, text,
};
use crate::support::http::{self, Version};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::link;
use crate::support::user_agent::UserAgent;

async fn start() -> Server {
    Server::start_with(chromium).await
}

#[tokio::test]
async fn no_route_of_chromium_exists_unless_it_is_switched_on() {
    needs_ours!("its settings");
    let server = Server::start_with(|_| ()).await;
    for path in ["/checkin", "/c2dm/register3", "/fcm/send/a", "/wp/a"] {
        let reply = http::http1(server.authority(), "POST", path, &[], b"").await;
        assert_eq!((reply.status.as_u16(), reply.errno()), (404, 102), "{path}");
    }
    // The first byte of a Chromium's connection is no HTTP.
    let answer = http::raw(server.authority(), &[41, 2, 0]).await;
    assert!(!answer.starts_with(&[41]));
    server.counts("bugle_mcs_connections", 0.0).await;
}

#[tokio::test]
async fn a_push_reaches_a_device_under_each_of_its_three_paths() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    for path in ["/fcm/send/", "/wp/", "/push/"] {
        let endpoint = format!("{}{path}{}", server.origin(), device.token);
        let push = Push::to(&server, &endpoint).signed(&device.keys).text(path);
        push.accepted().await;
        let message = next(&mut agent).await;
        assert_eq!(message.channel, device.registration.subtype());
        assert_eq!(message.encoding(), Some("aes128gcm"));
        crate::support::device::is_text(&message, path);
    }
    confirm(&mut agent).await;
    server
        .counts("bugle_messages_acknowledged_total{code=\"100\"}", 3.0)
        .await;
    server.counts("bugle_mcs_connections", 1.0).await;
    server.counts("bugle_stored_messages", 0.0).await;
}

#[tokio::test]
async fn a_push_without_a_body_has_neither_data_nor_a_coding() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    device.push(&server).accepted().await;
    let message = next(&mut agent).await;
    assert_eq!((message.data.as_ref(), message.encoding()), (None, None));
}

#[tokio::test]
async fn messages_wait_for_a_device_and_come_once_it_has_confirmed_them() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    for word in ["one", "two"] {
        device.push(&server).text(word).accepted().await;
    }
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "one");
    assert_eq!(text(&mut agent).await, "two");
    drop(agent);
    // Neither was confirmed.
    let mut agent = device.connect(&server).await;
    let (first, second) = (next(&mut agent).await, next(&mut agent).await);
    drop(agent);
    // The next login names the first as received.
    let mut agent = device.reconnect(&server, &[first.version]).await;
    assert_eq!(next(&mut agent).await.version, second.version);
    confirm(&mut agent).await;
    drop(agent);
    let mut agent = device.connect(&server).await;
    is_quiet(&mut agent).await;
}

#[tokio::test]
async fn a_confirmation_is_told_to_the_client_once_it_is_durable() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    assert_eq!(agent.confirmed(), 1, "the login");
    device.push(&server).text("one").accepted().await;
    next(&mut agent).await;
    agent.acknowledge().await.unwrap();
    device.push(&server).text("two").accepted().await;
    next(&mut agent).await;
    assert_eq!(agent.confirmed(), 1, "before the removal is durable");
    agent.ping().await.unwrap();
    assert_eq!(
        agent.confirmed(),
        3,
        "the login, the confirmation, the heartbeat"
    );
}

#[tokio::test]
async fn a_restart_loses_nothing_and_repeats_nothing_that_was_confirmed() {
    needs_ours!("a restart");
    let mut server = start().await;
    let device = Device::new(&server).await;
    for word in ["one", "two"] {
        device.push(&server).text(word).accepted().await;
    }
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "one");
    agent.acknowledge().await.unwrap();
    assert_eq!(text(&mut agent).await, "two");
    // The second stays unconfirmed: a heartbeat would confirm it too.
    server.await_metric("bugle_stored_messages", 1.0).await;
    server.restart().await;
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "two");
    // The endpoint and the credentials are the same.
    let known = Some(&device.device);
    let again = McsDevice::check_in(&device.dialer, &base(&server), known).await;
    assert!(again.unwrap() == device.device);
    assert_eq!(device.register(&server).await.unwrap(), device.token);
}

#[tokio::test]
async fn a_lost_store_strands_no_device() {
    needs_ours!("a restart");
    let mut server = start().await;
    let (device, left) = (Device::new(&server).await, Device::new(&server).await);
    server.stop().await;
    std::fs::remove_dir_all(server.data().join("store")).unwrap();
    server.restart_stopped().await;
    let mut agent = device.connect(&server).await;
    device.push(&server).text("still here").accepted().await;
    assert_eq!(text(&mut agent).await, "still here");
    server.counts("bugle_subscriptions", 1.0).await;
    // A stranger's push stores nothing.
    let stranger = Push::to(&server, &left.endpoint(&server)).signed(&key_pair(2));
    assert_eq!(stranger.send().await.status, 403);
    server.counts("bugle_subscriptions", 1.0).await;
    // What ends now stays ended, although the endpoint is of the earlier store.
    device.unregister(&server).await;
    for _ in 0..2 {
        assert_eq!(device.push(&server).send().await.status, 404);
    }
}

#[tokio::test]
async fn an_endpoint_is_gone_after_its_registration_has_ended() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    device.push(&server).text("never read").accepted().await;
    next(&mut agent).await;
    device.unregister(&server).await;
    assert_eq!(device.push(&server).send().await.errno(), 106);
    server.counts("bugle_stored_messages", 0.0).await;
    server.counts("bugle_subscriptions", 0.0).await;
    // It is idempotent.
    device.unregister(&server).await;
}

#[tokio::test]
async fn a_site_is_admitted_by_its_origin_and_a_push_by_its_key() {
    needs_ours!("its settings");
    let server = start().await;
    let mut device = Device::new(&server).await;
    let push = Push::to(&server, &device.endpoint(&server));
    assert_eq!(push.send().await.status, 401);
    assert_eq!(push.signed(&key_pair(2)).send().await.status, 403);
    for site in [
        "https://other.example",
        "http://site.example",
        "https://site.example:8443",
    ] {
        device.registration.site = site.to_owned();
        let refused = device.register(&server).await.unwrap_err();
        assert!(matches!(refused, ClientError::Registration(word) if word == "INVALID_SENDER"));
    }
    let refused = "bugle_refused_total{reason=\"chromium.origins\"}";
    server.counts(refused, 3.0).await;
    let open = Server::start_with(|config| {
        chromium(config);
        config.chromium.origins = Sites::Any;
    });
    let open = open.await;
    let mut device = Device::new(&open).await;
    device.registration.site = "https://other.example".to_owned();
    device.register(&open).await.unwrap();
}

#[tokio::test]
async fn an_empty_list_of_origins_admits_no_site() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.chromium.enabled = true).await;
    let dialer = Dialer::new(None).unwrap();
    let device = McsDevice::check_in(&dialer, &base(&server), None)
        .await
        .unwrap();
    let refused = device
        .register(&dialer, &base(&server), &registration(1, "1"))
        .await;
    assert!(matches!(refused, Err(ClientError::Registration(word)) if word == "INVALID_SENDER"));
}

#[tokio::test]
async fn credentials_of_another_service_are_refused() {
    needs_ours!("its settings");
    let (server, other) = (start().await, start().await);
    let device = Device::new(&other).await;
    let known = Some(&device.device);
    let again = McsDevice::check_in(&device.dialer, &base(&server), known).await;
    assert!(matches!(
        again,
        Err(ClientError::Refused { status: 401, .. })
    ));
    let login = device.try_connect(&server, &[]).await;
    assert!(matches!(
        login,
        Err(ClientError::Refused { status: 401, .. })
    ));
    let registered = device.register(&server).await;
    assert!(
        matches!(registered, Err(ClientError::Registration(word)) if word == "INVALID_PARAMETERS")
    );
    // Its endpoint is unknown here, whatever the path.
    let push = Push::to(&server, &device.endpoint(&server)).signed(&device.keys);
    assert_eq!(push.send().await.errno(), 102);
}

#[tokio::test]
async fn the_newest_connection_supersedes_older() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut older = device.connect(&server).await;
    let mut newer = device.connect(&server).await;
    crate::support::device::closed(&mut older).await;
    device.push(&server).text("for the newer").accepted().await;
    assert_eq!(text(&mut newer).await, "for the newer");
}

#[tokio::test]
async fn a_message_for_later_obeys_ttl_topic_and_withdrawal() {
    needs_ours!("its clock");
    let server = start().await;
    let device = Device::new(&server).await;
    device
        .push(&server)
        .ttl(0)
        .text("nobody is there")
        .accepted()
        .await;
    device
        .push(&server)
        .ttl(10)
        .text("too late")
        .accepted()
        .await;
    device
        .push(&server)
        .ttl(60)
        .topic("t")
        .text("old")
        .accepted()
        .await;
    device
        .push(&server)
        .ttl(60)
        .topic("t")
        .text("new")
        .accepted()
        .await;
    let withdrawn = device
        .push(&server)
        .ttl(60)
        .text("withdrawn")
        .accepted()
        .await;
    let path = withdrawn.strip_prefix(&server.origin()).unwrap();
    let reply = http::http1(server.authority(), "DELETE", path, &[], b"").await;
    assert_eq!(reply.status, 204);
    server.advance(Duration::from_secs(20));
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "new");
    is_quiet(&mut agent).await;
    device.push(&server).ttl(0).text("at once").accepted().await;
    assert_eq!(text(&mut agent).await, "at once");
}

#[tokio::test]
async fn a_receipt_says_that_the_browser_took_the_message() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let push = device
        .push(&server)
        .header("prefer", "respond-async")
        .text("a");
    let reply = push.send().await;
    assert_eq!(reply.status, 202);
    let receipts = link(&reply, "urn:ietf:params:push:receipt").unwrap();
    let mut agent = device.connect(&server).await;
    assert_eq!(text(&mut agent).await, "a");
    confirm(&mut agent).await;
    let path = receipts.strip_prefix(&server.origin()).unwrap();
    let events = [("accept", "text/event-stream"), ("prefer", "wait=0")];
    let reply = http::http1(server.authority(), "GET", path, &events, b"").await;
    assert!(reply.text().contains("204"), "{reply:?}");
}

#[tokio::test]
async fn a_body_that_a_chromium_would_drop_is_refused() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.limits.body_bytes = 8192;
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let body = |size: usize| {
        let mut body = crate::support::app_server::encrypted("a");
        body.resize(size, 0);
        // One record of all that follows the header.
        body[16..20].copy_from_slice(&8192_u32.to_be_bytes());
        let push = device.push(&server).header("content-encoding", "aes128gcm");
        push.body(body)
    };
    assert_eq!(body(4097).send().await.errno(), 104);
    assert_eq!(body(4096).send().await.status, 201);
    // Other user agents have no such limit.
    let mut firefox = UserAgent::connect(&server).await;
    let endpoint = firefox
        .register(crate::support::user_agent::CHANNEL, None)
        .await;
    let mut large = crate::support::app_server::encrypted("a");
    large.resize(4097, 0);
    large[16..20].copy_from_slice(&8192_u32.to_be_bytes());
    let push = Push::to(&server, &endpoint).header("content-encoding", "aes128gcm");
    assert_eq!(push.body(large).send().await.status, 201);
}

#[tokio::test]
async fn a_token_may_name_a_further_audience() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.server.audiences = ["https://jmt17.google.com".parse().unwrap()]
            .into_iter()
            .collect();
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let expires_at = bugle_protocol::UnixTime::from_secs(server.now() + 3600);
    for (origin, status) in [
        ("https://jmt17.google.com", 201),
        ("https://other.example", 403),
    ] {
        let signed = device.keys.authorization(origin, expires_at, None);
        let push = Push::to(&server, &device.endpoint(&server));
        let reply = push.header("authorization", &signed).send().await;
        assert_eq!(reply.status, status, "{origin}");
    }
}

#[tokio::test]
async fn firefox_and_chromium_share_a_service() {
    needs_ours!("its settings");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut chromium = device.connect(&server).await;
    let mut firefox = UserAgent::connect(&server).await;
    let channel = crate::support::user_agent::CHANNEL;
    let endpoint = firefox.register(channel, None).await;
    device.push(&server).text("for chromium").accepted().await;
    Push::to(&server, &endpoint)
        .text("for firefox")
        .accepted()
        .await;
    assert_eq!(text(&mut chromium).await, "for chromium");
    let heard = firefox.hear().await;
    assert_eq!(heard["messageType"], json!("notification"));
    is_quiet(&mut chromium).await;
}

#[tokio::test]
async fn an_operator_finds_and_removes_a_device_by_its_endpoint() {
    needs_ours!("its admin API");
    let server = start().await;
    let device = Device::new(&server).await;
    let mut agent = device.connect(&server).await;
    let subject = json!({ "subject": device.endpoint(&server) });
    let found = server.operate("POST", "user-agents/find", &subject).await;
    assert_eq!(found.status, 200, "{found:?}");
    assert!(found.text().contains("\"connected\":true"), "{found:?}");
    let dropped = server.operate("POST", "user-agents/drop", &subject).await;
    assert_eq!(dropped.status, 200, "{dropped:?}");
    crate::support::device::closed(&mut agent).await;
    assert_eq!(device.push(&server).send().await.errno(), 106);
}

#[tokio::test]
async fn a_browser_registers_itself_and_nothing_is_stored() {
    needs_ours!("its settings");
    let server = start().await;
    let dialer = Dialer::new(None).unwrap();
    let device = McsDevice::check_in(&dialer, &base(&server), None)
        .await
        .unwrap();
    let credentials = format!("AidLogin {}:{}", device.id, device.security_token);
    let ask = |form: String, credentials: String| {
        let authority = server.authority().to_owned();
        async move {
            let headers = [("authorization", credentials.as_str())];
            let path = "/c2dm/register3";
            let reply = http::http1(&authority, "POST", path, &headers, form.as_bytes()).await;
            assert_eq!(reply.status, 200);
            reply.text()
        }
    };
    let form = format!("app=a.b&sender=7&device={}", device.id);
    let own = ask(form.clone(), credentials.clone()).await;
    assert!(own.starts_with("token=") && own.len() > 10, "{own}");
    server.counts("bugle_subscriptions", 0.0).await;
    for (form, credentials) in [
        (form.clone(), String::new()),
        (form.clone(), format!("AidLogin {}:1", device.id)),
        (form.clone(), "AidLogin x".to_owned()),
        ("app=a.b&sender=7&device=1".to_owned(), credentials.clone()),
        (format!("{form}&X-subtype="), credentials.clone()),
        (
            format!("{form}&X-subtype={}", "s".repeat(321)),
            credentials.clone(),
        ),
        (format!("{form}&X-subtype=no%20site"), credentials.clone()),
    ] {
        let answer = ask(form, credentials).await;
        assert_eq!(answer, "Error=INVALID_PARAMETERS");
    }
    let site = format!("{form}&X-subtype=wp:{SITE}/%23id");
    // Its sender is no key: this service sends no message that is not signed.
    assert_eq!(ask(site, credentials).await, "Error=INVALID_SENDER");
}

#[tokio::test]
async fn a_check_in_that_is_malformed_is_never_answered_400_or_401() {
    needs_ours!("its settings");
    let server = start().await;
    for body in [&b"\xff"[..], b"GET / HTTP/1.1\r\n\r\n", &[0x10]] {
        let reply = http::http1(server.authority(), "POST", "/checkin", &[], body).await;
        assert_eq!(reply.status, 422);
    }
    let reply = http::http1(server.authority(), "GET", "/checkin", &[], b"").await;
    assert_eq!(reply.status, 405);
    for version in [Version::Http1, Version::Http2] {
        let reply = http::send(version, server.authority(), "POST", "/checkin", &[], b"").await;
        assert_eq!(reply.header("content-type"), "application/x-protobuf");
    }
}

#[tokio::test]
async fn a_device_may_have_as_many_registrations_as_any_user_agent() {
    needs_ours!("its limits");
    let server = Server::start_with(|config| {
        chromium(config);
        config.limits.subscriptions_per_user_agent = 1;
    });
    let server = server.await;
    let mut device = Device::new(&server).await;
    device.registration.id = "another".to_owned();
    let refused = device.register(&server).await;
    assert!(
        matches!(refused, Err(ClientError::Registration(word)) if word == "TOO_MANY_REGISTRATIONS")
    );
}

#[tokio::test]
async fn addresses_that_are_not_admitted_reach_no_route_of_chromium() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.admission.addresses = bugle::config::Networks::default();
    });
    let server = server.await;
    let device = Device::new(&server).await;
    drop(server);
    let closed = Server::start_with(|config| {
        chromium(config);
        let elsewhere = toml::from_str::<toml::Table>("addresses = \"192.0.2.1\"").unwrap();
        let mut admission = toml::Table::try_from(&config.admission).unwrap();
        admission.extend(elsewhere);
        config.admission = admission.try_into().unwrap();
    });
    let closed = closed.await;
    let refused = McsDevice::check_in(&device.dialer, &base(&closed), None).await;
    assert!(matches!(
        refused,
        Err(ClientError::Refused { status: 403, .. })
    ));
    assert!(device.try_connect(&closed, &[]).await.is_err());
    let refused = "bugle_refused_total{reason=\"admission.addresses\"}";
    closed.counts(refused, 2.0).await;
}

/// The heartbeat that a device is told.
#[tokio::test]
async fn the_interval_of_heartbeats_is_a_setting() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        chromium(config);
        config.user_agent.ping_interval = Duration::from_secs(42);
    });
    let server = server.await;
    let device = Device::new(&server).await;
    let agent: McsUserAgent = device.connect(&server).await;
    assert_eq!(agent.heartbeat_interval(), Some(42_000));
}
