//! `bugle doctor` against faulty setups: each fault gives one sentence and a remedy.

use std::fs;
use std::time::Duration;

use hyper::header::{DATE, HeaderValue};
use tempfile::tempdir;

use crate::cli_doctor::{Report, doctor, doctor_in, program};
use crate::support::stand_in::{
    Answer, Authority, Identity, StandIn, days_from_now, page, self_signed, version,
};
use crate::support::subject::needs_ours;

const OURS: &str = env!("CARGO_PKG_VERSION");

#[tokio::test]
async fn doctor_reports_a_missing_name_and_a_missing_listener() {
    needs_ours!("the program");
    let found = doctor(&["https://push.invalid"]).await;
    found.fails(
        "dns",
        "push.invalid has no address",
        "make an A or AAAA record",
    );
    assert_eq!(found.status("idle"), "skip");
    let found = doctor(&["http://127.0.0.1:1"]).await;
    found.fails("connect", "no connection to 127.0.0.1:1", "server.listen");
}

/// Checks a server with this certificate, with or without trusting an authority.
async fn certified(identity: &Identity, known: Option<&Authority>) -> Report {
    let server = StandIn::tls(identity).await;
    let folder = tempdir().unwrap();
    let url = server.url("https");
    let mut arguments = vec![url.as_str(), "--idle", "0s"];
    if let Some(authority) = known {
        fs::write(folder.path().join("ca.pem"), &authority.certificate).unwrap();
        arguments.extend(["--ca", "ca.pem"]);
    }
    doctor_in(folder.path(), &arguments).await
}

#[tokio::test]
async fn doctor_reports_untrusted_and_expired_certificates() {
    needs_ours!("the program");
    let authority = Authority::new();
    let known = Some(&authority);
    for (identity, known, says, mend) in [
        (
            authority.certify("other.test", -1, 90),
            known,
            "it is for other.test, not for localhost",
            "bugle tls init --host localhost",
        ),
        (
            authority.certify("localhost", -90, -3),
            known,
            "it has expired on 2",
            "renew it",
        ),
        (
            authority.certify("localhost", 3, 90),
            known,
            "it is valid from 2",
            "set the clock",
        ),
        (
            authority.certify("localhost", -1, 90),
            None,
            "nobody here knows \"Test authority\", who made it, and no other comes with it",
            "fullchain.pem",
        ),
        (
            authority.certify_with_chain("localhost", -1, 90),
            None,
            "nobody here knows \"Test authority\", at the end of its chain",
            "--ca ca.pem",
        ),
        (
            self_signed("localhost", false),
            None,
            "it is signed by itself",
            "bugle tls init",
        ),
        (
            self_signed("localhost", true),
            None,
            "it is an authority's, not a service's",
            "bugle tls init",
        ),
    ] {
        let found = certified(&identity, known).await;
        found.fails("certificate", says, mend);
        assert_eq!(found.status("http"), "skip");
    }
    let found = certified(&authority.certify("localhost", -90, 7), known).await;
    found.is(
        "certificate",
        "warn",
        "for localhost, by Test authority, until 2",
        "renew it soon",
    );
    // A certificate for a week counts as expiring in its last third.
    let found = certified(&authority.certify("localhost", -1, 6), known).await;
    assert_eq!(found.status("certificate"), "ok", "{:#}", found.json);
    assert_eq!(
        found.check("certificate")["values"]["names"],
        serde_json::json!(["localhost"])
    );
}

#[tokio::test]
async fn doctor_distinguishes_tls_from_plain_http() {
    needs_ours!("the program");
    let plain = StandIn::http(|_| page(200, "")).await;
    let found = doctor(&[&plain.url("https")]).await;
    found.fails(
        "certificate",
        "speaks no TLS, perhaps plain HTTP",
        "tls.cert_file",
    );
    let tls = StandIn::tls(&self_signed("localhost", false)).await;
    let found = doctor(&[&tls.url("http")]).await;
    found.fails(
        "http",
        "no HTTP is answered",
        "begin the URL (server.public_url) with https://",
    );
}

/// Checks a web server that responds to `/version` like Bugle, and to the handshake with this.
async fn upgraded(answer: fn() -> Answer) -> Report {
    let server = StandIn::http(move |request| match request.uri().path() {
        "/version" => version(OURS),
        _ => answer(),
    })
    .await;
    doctor(&[&server.url("http")]).await
}

#[tokio::test]
async fn doctor_explains_a_response_other_than_a_websocket() {
    needs_ours!("the program");
    type Case = (fn() -> Answer, &'static str, &'static str);
    let cases: [Case; 8] = [
        (
            || page(200, "nginx"),
            "answered 200 by nginx, with a page and no WebSocket",
            "proxy_set_header Upgrade",
        ),
        (
            || page(400, "nginx"),
            "answered 400 by nginx",
            "proxy_set_header Upgrade",
        ),
        (
            || page(404, ""),
            "answered 404, and not by the service",
            "forward this host",
        ),
        (
            || page(401, "Apache"),
            "answered 401 by Apache",
            "without a login",
        ),
        (|| page(426, ""), "answered 426", "proxy_http_version 1.1"),
        (
            || page(502, "nginx"),
            "answered 502 by nginx: the proxy has no answer of the service",
            "server.listen",
        ),
        (|| page(504, ""), "answered 504", "start the service"),
        (
            moved,
            "a redirect to https://elsewhere.test/",
            "user agents and senders follow none",
        ),
    ];
    for (answer, says, mend) in cases {
        let found = upgraded(answer).await;
        found.fails("websocket", says, mend);
        assert_eq!(found.status("version"), "ok");
        // The server lacks HTTP/2 too, which is only a warning.
        found.is("http", "warn", "HTTP/2 is not", "switch HTTP/2 on");
    }
}

fn moved() -> Answer {
    let mut answer = page(301, "");
    let to = HeaderValue::from_static("https://elsewhere.test/");
    answer.headers_mut().insert("location", to);
    answer
}

#[tokio::test]
async fn doctor_identifies_the_server_and_checks_its_clock() {
    needs_ours!("the program");
    let found = doctor(&[&StandIn::http(|_| page(502, "nginx")).await.url("http")]).await;
    found.fails(
        "http",
        "GET /version is answered 502 by nginx",
        "server.listen",
    );
    assert_eq!(found.status("version"), "skip");
    let found = doctor(&[&StandIn::http(|_| page(200, "")).await.url("http")]).await;
    found.fails("version", "is not Bugle", "forward this host");
    let found = doctor(&[&StandIn::http(|_| version("9.9.9")).await.url("http")]).await;
    found.is(
        "version",
        "warn",
        "the service is 9.9.9, this program",
        "restart the service",
    );
    for (days, word) in [(-1, "behind"), (1, "ahead")] {
        let server = StandIn::http(move |_| {
            let mut answer = version(OURS);
            let date = httpdate::fmt_http_date(days_from_now(days));
            let date = HeaderValue::from_str(&date).unwrap();
            answer.headers_mut().insert(DATE, date);
            answer
        });
        let found = doctor(&[&server.await.url("http")]).await;
        found.fails(
            "clock",
            &format!(" s {word} of the one here"),
            "set-ntp true",
        );
    }
}

#[tokio::test]
async fn doctor_checks_where_endpoints_lead() {
    needs_ours!("the program");
    let wrong = "http://127.0.0.1:1".parse().unwrap();
    let (server, _) = program(|config| config.server.public_url = Some(wrong)).await;
    let asked = format!("http://{}", server.authority());
    let found = doctor(&[&asked]).await;
    let says = format!("endpoints begin with http://127.0.0.1:1, and {asked} was asked");
    found.fails(
        "endpoint",
        &says,
        &format!("set server.public_url = \"{asked}\""),
    );
    assert_eq!(found.status("push"), "skip");
    server.await_metric("bugle_user_agents", 0.0).await;
    assert_eq!(server.metric("bugle_subscriptions").await, 0.0);
}

#[tokio::test]
async fn doctor_detects_a_proxy_that_cuts_idle_connections() {
    needs_ours!("the program");
    let (server, _) = program(|_| ()).await;
    let proxy = StandIn::proxy(server.authority(), "unregister", Duration::from_millis(100)).await;
    let folder = tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", proxy.address.port());
    let found = doctor_in(folder.path(), &[&url, "--idle", "10m"]).await;
    found.fails(
        "idle",
        "an idle connection was cut after",
        "proxy_read_timeout",
    );
    // The service does not know the proxy, but both origins reach it.
    found.is(
        "endpoint",
        "warn",
        "endpoints begin with",
        "server.public_url",
    );
    assert_eq!(found.status("push"), "ok", "{:#}", found.json);
}

#[tokio::test]
async fn doctor_detects_a_proxy_that_drops_the_upgrade() {
    needs_ours!("the program");
    let (server, _) = program(|_| ()).await;
    let proxy = StandIn::proxy_without_upgrade(server.authority()).await;
    let url = format!("http://127.0.0.1:{}", proxy.address.port());
    let found = doctor(&[&url]).await;
    found.fails(
        "websocket",
        "the WebSocket handshake",
        "proxy_set_header Upgrade",
    );
    assert_eq!(found.status("version"), "ok", "{:#}", found.json);
}
