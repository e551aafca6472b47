//! The admin API: authorization, overview and audit log.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::admin::Token;
use crate::support::app_server::Push;
use crate::support::http;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

#[tokio::test]
async fn the_token_determines_the_role() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let session = server.look("session").await;
    assert_eq!(
        (&session["role"], &session["via"]),
        (&json!("full"), &json!("token"))
    );
    let nothing = Value::Null;
    let reader = server
        .operate_as(Token::Read, "GET", "session", &nothing)
        .await;
    assert!(
        reader.text().contains(r#""role":"read-only""#),
        "{}",
        reader.text()
    );
    for path in ["overview", "history", "audit", "broadcasts"] {
        let looked = server.operate_as(Token::Read, "GET", path, &nothing).await;
        assert_eq!(looked.status, 200, "{path}");
        assert_eq!(looked.header("cache-control"), "no-store", "{path}");
        let path = format!("/admin/v1/{path}");
        let stranger = http::http1(server.admin(), "GET", &path, &[], b"").await;
        assert_eq!(stranger.status, 401, "{path}");
        assert_eq!(stranger.header("www-authenticate"), "Bearer");
    }
    let body = json!({ "version": "1" });
    let change = server
        .operate_as(Token::Read, "PUT", "broadcasts/a", &body)
        .await;
    assert_eq!((change.status.as_u16(), change.errno()), (403, 999));
    assert_eq!(server.look("broadcasts").await["broadcasts"], json!({}));
    assert_eq!(server.get("/admin/v1/session").await.status, 404);
}

#[tokio::test]
async fn requests_from_other_origins_are_refused() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token(Token::Full));
    let path = "/admin/v1/broadcasts/a";
    let page = [
        ("authorization", &*bearer),
        ("origin", "http://evil.example"),
        ("content-type", "application/json"),
    ];
    let body = br#"{"version":"1"}"#;
    let reply = http::http1(server.admin(), "PUT", path, &page, body).await;
    assert_eq!(reply.status, 403);
    // A page may send this content type without a CORS preflight.
    let simple = [("authorization", &*bearer), ("content-type", "text/plain")];
    let reply = http::http1(server.admin(), "PUT", path, &simple, body).await;
    assert_eq!(reply.status, 415);
    let rebound =
        "GET /admin/v1/openapi.yaml HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let reply = http::raw(server.admin(), rebound.as_bytes()).await;
    assert!(reply.starts_with(b"HTTP/1.1 403"));
    assert_eq!(server.look("broadcasts").await["broadcasts"], json!({}));
}

#[tokio::test]
async fn metrics_are_refused_under_a_foreign_host_name() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    for (host, status) in [
        ("evil.example", "403"),
        ("127.0.0.1:1", "200"),
        ("localhost", "200"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = http::raw(server.admin(), request.as_bytes()).await;
        let begin = format!("HTTP/1.1 {status}");
        assert!(reply.starts_with(begin.as_bytes()), "{host}");
    }
    let page = [("origin", "http://evil.example")];
    let reply = http::http1(server.admin(), "GET", "/metrics", &page, b"").await;
    assert_eq!(reply.status, 403);
}

#[tokio::test]
async fn tokens_are_created_once_and_readable_by_the_owner_only() {
    needs_ours!("its data folder");
    use std::os::unix::fs::PermissionsExt;
    let mut server = Server::start().await;
    let (full, read) = (
        server.admin_token(Token::Full),
        server.admin_token(Token::Read),
    );
    assert!(full.len() >= 43 && full != read);
    for file in ["admin-token", "admin-read-token"] {
        let mode = server
            .data()
            .join(file)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    server.restart().await;
    assert_eq!(server.admin_token(Token::Full), full);
}

#[tokio::test]
async fn the_overview_counts_pushes_and_refusals() {
    needs_ours!("its admin listener");
    let server = Server::start_with(|config| {
        config.admin.sample_every = Duration::from_millis(20);
        config.limits.messages_per_user_agent = 3;
    })
    .await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;
    let refused = Push::to(&server, &endpoint).text("x").send().await;
    assert_eq!(refused.status, 429);
    let overview = server.look("overview").await;
    let totals = &overview["totals"];
    assert_eq!(
        (&totals["accepted"], &totals["refused"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        overview["refusals"][0]["reason"],
        "limits.messages_per_user_agent"
    );
    let limits = overview["limits"].as_array().unwrap();
    let one = limits
        .iter()
        .find(|it| it["setting"] == "limits.user_agents")
        .unwrap();
    assert_eq!(one["current"], 1);

    let sampled = async {
        loop {
            let history = server.look("history").await;
            let samples = history["samples"].as_array().unwrap();
            let seen = |it: &Value| it["stored_messages"] == 2 && it["user_agents"] == 1;
            let accepted = |it: &Value| it["accepted_per_second"].as_f64() > Some(0.0);
            let timed = |it: &Value| it["accept"]["p99"].as_f64() > Some(0.0);
            if samples.iter().any(seen) && samples.iter().any(accepted) && samples.iter().any(timed)
            {
                assert_eq!(history["interval"], 20);
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        while server.look("overview").await["refusals"][0]["last_hour"] != 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), sampled)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_overview_streams_until_the_service_stops() {
    needs_ours!("its admin listener");
    let mut server = Server::start_with(|config| {
        config.admin.sample_every = Duration::from_millis(20);
    })
    .await;
    let mut stream = TcpStream::connect(server.admin()).await.unwrap();
    let request = format!(
        "GET /admin/v1/overview/stream HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
        server.admin(),
        server.admin_token(Token::Read)
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut overviews = 0;
    while overviews < 3 {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(overview) = line.strip_prefix("data: ") {
            let overview: Value = serde_json::from_str(overview).unwrap();
            assert_eq!(overview["now"]["connections"], 1);
            overviews += 1;
        }
    }
    server.stop().await;
    let rest = async { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} };
    tokio::time::timeout(Duration::from_secs(60), rest)
        .await
        .unwrap();
}

#[tokio::test]
async fn changes_are_in_the_audit_log() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let body = json!({ "version": "1" });
    server.operate("PUT", "broadcasts/a/b", &body).await;
    server
        .operate_as(Token::Read, "DELETE", "broadcasts/a/b", &Value::Null)
        .await;
    let audit = server.look("audit").await;
    let expected = json!({
        "at": server.now() * 1000,
        "role": "full",
        "peer": "127.0.0.1",
        "action": "setBroadcast",
        "subject": "a/b",
        "outcome": "done",
    });
    assert_eq!(audit["entries"], json!([expected]));
}

#[tokio::test]
async fn the_api_describes_itself() {
    needs_ours!("its admin listener");
    let server = Server::start().await;
    let path = "/admin/v1/openapi.yaml";
    let reply = http::http1(server.admin(), "GET", path, &[], b"").await;
    assert_eq!(reply.header("content-type"), "application/yaml");
    assert!(reply.text().starts_with("openapi: 3.1.0\n"));
}
