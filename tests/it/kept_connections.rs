//! A persistent HTTP/1.1 connection survives a refusal, however late the body of the refused
//! request arrives. Where it cannot, the refusal says so and arrives completely (RFC 9112 §9.3,
//! §9.6).

use std::time::Duration;

use crate::support::app_server::{Push, encrypted, key_pair};
use crate::support::channels::push_path;
use crate::support::kept::Kept;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, CHANNEL_2, UserAgent};

/// A service with an endpoint that accepts pushes and others that refuse them.
struct Stage {
    server: Server,
    user_agent: UserAgent,
    /// Paths of endpoints.
    good: String,
    restricted: String,
    gone: String,
}

impl Stage {
    async fn of(server: Server) -> Self {
        let mut user_agent = UserAgent::connect(&server).await;
        let restricted = key_pair(1).public_key().to_base64url();
        let path = |endpoint: String| endpoint.strip_prefix(&server.origin()).unwrap().to_owned();
        let gone = path(user_agent.register(CHANNEL_2, None).await);
        user_agent.unregister(CHANNEL_2).await;
        let restricted = path(user_agent.register(CHANNEL_2, Some(&restricted)).await);
        let good = path(user_agent.register(CHANNEL, None).await);
        Self {
            server,
            user_agent,
            good,
            restricted,
            gone,
        }
    }

    async fn open(&self) -> Kept {
        Kept::open(self.server.authority()).await
    }

    /// The head of a request; each of `fields` ends with CRLF.
    fn head(&self, method: &str, path: &str, fields: &str) -> String {
        let host = self.server.authority();
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")
    }

    /// An accepted push; `TTL: 0` stores nothing.
    fn push(&self, body: &[u8]) -> (String, Vec<u8>) {
        let fields = format!(
            "TTL: 0\r\nContent-Encoding: aes128gcm\r\nContent-Length: {}\r\n",
            body.len()
        );
        (self.head("POST", &self.good, &fields), body.to_vec())
    }

    /// Requests that are refused before their body is read, with their statuses.
    fn refusals(&self) -> Vec<(u16, String)> {
        let post = |path: &str, fields: &str| {
            let fields = format!("{fields}Content-Encoding: aes128gcm\r\n");
            self.head("POST", path, &format!("{fields}{{framing}}"))
        };
        vec![
            (404, post("/push/never-issued", "TTL: 0\r\n")),
            (410, post(&self.gone, "TTL: 0\r\n")),
            (401, post(&self.restricted, "TTL: 0\r\n")),
            (
                403,
                post(
                    &self.good,
                    "TTL: 0\r\nAuthorization: vapid t=a.b.c, k=d\r\n",
                ),
            ),
            (400, post(&self.good, "TTL: soon\r\n")),
            (405, self.head("PUT", &self.good, "{framing}")),
            (
                415,
                self.head(
                    "POST",
                    &self.good,
                    "TTL: 0\r\nContent-Encoding: gzip\r\n{framing}",
                ),
            ),
            // The service does not read the body of these.
            (201, self.head("POST", "/subscribe", "{framing}")),
            (404, self.head("DELETE", "/message/none", "{framing}")),
        ]
    }

    /// Asserts that the connection still accepts a push and that it is delivered.
    async fn still_serves(&mut self, kept: &mut Kept, what: &str) {
        let (head, body) = self.push(&encrypted("next"));
        kept.write_apart([head.as_bytes(), &body]).await;
        assert_eq!(kept.answer().await.status, 201, "after {what}");
        assert_eq!(self.user_agent.notification().await.data(), body);
    }
}

#[tokio::test]
async fn refused_requests_keep_their_connection_when_the_body_comes_later() {
    let mut stage = Stage::of(Server::lenient().await).await;
    let body = encrypted("refused");
    let framing = format!("Content-Length: {}\r\n", body.len());
    // All on one connection.
    let mut kept = stage.open().await;
    for (status, head) in stage.refusals() {
        let head = head.replace("{framing}", &framing);
        kept.write_apart([head.as_bytes(), &body[..20], &body[20..]])
            .await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, false), "{head}");
        stage.still_serves(&mut kept, &head).await;
    }
}

#[tokio::test]
async fn refused_requests_keep_their_connection_when_the_body_is_chunked() {
    let mut stage = Stage::of(Server::lenient().await).await;
    let mut kept = stage.open().await;
    for (status, head) in stage.refusals() {
        let head = head.replace("{framing}", "Transfer-Encoding: chunked\r\n");
        let parts = [
            head.as_bytes(),
            b"3;of=three\r\nabc\r\n",
            b"1\r\nd",
            b"\r\n0\r\n",
            b"X-Trailer: y\r\n\r\n",
        ];
        kept.write_apart(parts).await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, false), "{head}");
        stage.still_serves(&mut kept, &head).await;
    }
}

#[tokio::test]
async fn pipelined_requests_after_a_refused_one_are_answered() {
    let stage = Stage::of(Server::lenient().await).await;
    let body = encrypted("refused");
    let framing = format!("Content-Length: {}\r\n", body.len());
    let (next, next_body) = stage.push(&encrypted("next"));
    for (status, head) in stage.refusals() {
        let head = head.replace("{framing}", &framing);
        let mut kept = stage.open().await;
        let all = [head.as_bytes(), &body, next.as_bytes(), &next_body].concat();
        // The second head arrives in one packet with the end of the first body.
        let (first, rest) = all.split_at(head.len() + 10);
        kept.write_apart([first, rest]).await;
        assert_eq!(kept.answer().await.status, status, "{head}");
        assert_eq!(kept.answer().await.status, 201, "behind {head}");
    }
}

#[tokio::test]
async fn requests_refused_before_routing_keep_their_connection() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.address_rate = 1;
        config.limits.address_burst = 10;
    })
    .await;
    let mut kept = Kept::open(server.authority()).await;
    let head = format!(
        "POST /push/x HTTP/1.1\r\nHost: {}\r\nTTL: 0\r\nContent-Length: 4\r\n\r\n",
        server.authority()
    );
    for nth in 0..20 {
        kept.write_apart([head.as_bytes(), b"body"]).await;
        let answer = kept.answer().await;
        let wanted = if nth < 10 { 404 } else { 429 };
        assert_eq!((answer.status, answer.closes()), (wanted, false), "{nth}");
    }
}

#[tokio::test]
async fn the_admin_listener_keeps_connections_after_refusals() {
    needs_ours!("its admin API");
    let server = Server::start().await;
    let mut kept = Kept::open(server.admin()).await;
    let head = format!(
        "POST /admin/v1/trace HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 13\r\n\r\n",
        server.admin()
    );
    for _ in 0..5 {
        kept.write_apart([head.as_bytes(), b"{\"subject", b"\":1}"])
            .await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (401, false));
    }
}

#[tokio::test]
async fn a_refusal_instead_of_100_continue_ends_the_connection() {
    let mut stage = Stage::of(Server::lenient().await).await;
    let body = encrypted("expected");
    let framing = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    for (status, head) in stage.refusals() {
        let head = head.replace("{framing}", &framing);
        // One client waits for 100 Continue, another sends its body without waiting.
        for unasked in [&b""[..], &body] {
            let mut kept = stage.open().await;
            kept.write_apart([head.as_bytes(), unasked]).await;
            let answer = kept.answer().await;
            assert_eq!((answer.status, answer.closes()), (status, true), "{head}");
            kept.ends().await;
        }
    }
    // If the service wants the body, it sends 100 Continue and keeps the connection.
    let mut kept = stage.open().await;
    let (head, _) = stage.push(&body);
    let head = head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    kept.write(&head).await;
    assert_eq!(kept.answer().await.status, 100);
    kept.write(&body).await;
    assert_eq!(kept.answer().await.status, 201);
    assert_eq!(stage.user_agent.notification().await.data(), body);
    stage.still_serves(&mut kept, "100-continue").await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_without_a_reset() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| config.limits.discard_bytes = 64 << 20).await;
    let host = server.authority().to_owned();
    let long = vec![b'a'; 16 << 20];
    let length = long.len();
    for (status, framing) in [
        (413, format!("Content-Length: {length}\r\n\r\n")),
        (
            413,
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
        ),
        (404, format!("Content-Length: {length}\r\n\r\n")),
        (
            404,
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n"),
        ),
    ] {
        let mut user_agent = UserAgent::connect(&server).await;
        let endpoint = user_agent.register(CHANNEL, None).await;
        let good = endpoint.strip_prefix(&server.origin()).unwrap();
        let path = if status == 413 { good } else { "/push/none" };
        let fields = "TTL: 0\r\nContent-Encoding: aes128gcm";
        let mut kept = Kept::open(&host).await;
        kept.write(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{framing}"
        ))
        .await;
        // The client reads only after it has written everything, as libraries do.
        let written = kept.try_write(&long).await;
        written.expect("the service continues to read");
        let answer = kept.answer().await;
        assert_eq!(
            (answer.status, answer.closes()),
            (status, true),
            "{framing}"
        );
        kept.half_close().await;
        kept.ends().await;
    }
}

#[tokio::test]
async fn discarded_bytes_of_a_refused_request_are_limited() {
    needs_ours!("its metrics");
    let server = Server::start_with(|config| config.limits.discard_bytes = 64 << 10).await;
    let host = server.authority();
    let mut kept = Kept::open(host).await;
    let length = 1_u64 << 40;
    kept.write(format!(
        "POST /push/none HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"
    ))
    .await;
    assert_eq!(kept.answer().await.status, 404);
    let chunk = vec![b'a'; 64 << 10];
    let mut chunks = 0;
    while kept.try_write(&chunk).await.is_ok() {
        chunks += 1;
        assert!(chunks < 10_000, "it is read without an end");
    }
    let cut = "bugle_connections_cut_total{reason=\"limits.discard_bytes\"}";
    server.await_metric(cut, 1.0).await;
}

#[tokio::test]
async fn a_body_that_is_too_slow_is_refused_without_a_reset() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = Duration::from_millis(200);
    })
    .await;
    let host = server.authority();
    for (path, status) in [("/push/none", 404), ("/subscribe", 201)] {
        let mut kept = Kept::open(host).await;
        kept.write(format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbod"
        ))
        .await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, true), "{path}");
        kept.ends().await;
    }
}

#[tokio::test]
async fn a_client_that_never_closes_is_closed() {
    needs_ours!("its settings");
    let server = Server::start_with(|config| {
        config.limits.body_timeout = Duration::from_millis(200);
    })
    .await;
    let host = server.authority();
    let mut kept = Kept::open(host).await;
    let get = format!("GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    kept.write(get).await;
    assert!(kept.answer().await.closes());
    // The remaining connection is that of the metrics request.
    server.await_metric("bugle_connections", 1.0).await;
    kept.ends().await;
}

#[tokio::test]
async fn responses_without_unread_body_keep_their_connection() {
    let server = Server::start().await;
    let path = &*push_path(&server).await;
    let host = server.authority();
    let mut kept = Kept::open(host).await;
    for nth in 0..20 {
        let (path, status) = if nth % 2 == 0 {
            (path, 201)
        } else {
            ("/push/x", 404)
        };
        let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nTTL: 0\r\n");
        kept.write(format!("{head}Content-Length: 0\r\n\r\n")).await;
        let answer = kept.answer().await;
        assert_eq!((answer.status, answer.closes()), (status, false));
    }
    let endpoint = format!("{}{path}", server.origin());
    Push::to(&server, &endpoint).ttl(0).accepted().await;
}
