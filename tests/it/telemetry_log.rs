//! The log: its contents, its filter, and the limit of repeated lines.

use std::time::Duration;

use bugle::Clock;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr};
use tokio::time::timeout;

use super::cli::{bugle, run, terminate, text};
use crate::support::admin::Token;
use crate::support::app_server::key_pair;
use crate::support::frames;
use crate::support::http;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::subscriber::link;
use crate::support::user_agent::{CHANNEL, TIMEOUT, UserAgent};

#[tokio::test]
async fn the_filter_is_readable_with_any_token_and_writable_with_the_full_one() {
    needs_ours!("its admin API");
    let server = Server::start().await;
    let shown = json!({ "filter": "info", "configured": "info" });
    assert_eq!(server.look("log").await, shown);
    let filter = json!({ "filter": "warn,bugle::store=debug" });
    let refused = server.operate_as(Token::Read, "PUT", "log", &filter).await;
    assert_eq!(refused.status, 403);
    assert_eq!(server.look("log").await, shown);
    assert_eq!(server.operate("PUT", "log", &filter).await.status, 204);
    let shown = json!({ "filter": "warn,bugle::store=debug", "configured": "info" });
    assert_eq!(server.look("log").await, shown);
    let entry = &server.look("audit").await["entries"][0];
    assert_eq!(entry["action"], "setLog");
    assert_eq!(entry["subject"], "warn,bugle::store=debug");

    for wrong in ["loud", "", "hyper=trace", &"info,".repeat(100)] {
        let reply = server
            .operate("PUT", "log", &json!({ "filter": wrong }))
            .await;
        assert_eq!(reply.status, 400, "{wrong}");
        assert!(
            reply.text().contains("a log filter is a level"),
            "{}",
            reply.text()
        );
    }
    assert_eq!(server.look("log").await, shown);
    let reply = server.operate("POST", "log", &filter).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "GET, HEAD, PUT")
    );
}

#[tokio::test]
async fn bugle_admin_log_shows_and_sets_the_filter() {
    needs_ours!("its data folder");
    let server = Server::start().await;
    let url = format!("http://{}", server.admin());
    let data = server.data().to_str().unwrap();
    let log = async |filter: &[&str]| {
        let arguments = [&["admin", "--url", &url, "--data", data, "log"], filter].concat();
        let output = run(server.data(), &arguments).await;
        (
            output.status.success(),
            text(&output.stdout) + &text(&output.stderr),
        )
    };
    let (_, shown) = log(&[]).await;
    assert_eq!(shown, "The log filter is info, as it is configured\n");
    assert!(log(&["debug"]).await.0);
    let (_, shown) = log(&[]).await;
    assert_eq!(shown, "The log filter is debug; at a start it is info\n");
    let (done, printed) = log(&["loud"]).await;
    assert!(
        !done && printed.contains("a log filter is a level"),
        "{printed}"
    );
    assert_eq!(printed.lines().count(), 1, "{printed}");
}

/// The real program and its log.
struct Program {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    public: String,
    admin: String,
    token: String,
}

impl Program {
    async fn start(folder: &std::path::Path) -> Self {
        let arguments = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut program = bugle(folder, &[&arguments[..], &["--data", "data"]].concat());
        program
            .env("BUGLE_LOG__FORMAT", "json")
            .env("BUGLE_LOG__REPEAT_LIMIT", "5");
        let mut child = program.spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut program = Self {
            child,
            log,
            public: String::new(),
            admin: String::new(),
            token: String::new(),
        };
        let listening = program.line("listening").await;
        program.public = listening["listen"].as_str().unwrap().to_owned();
        program.admin = listening["admin"].as_str().unwrap().to_owned();
        let token = std::fs::read_to_string(folder.join("data/admin-token"));
        program.token = format!("Bearer {}", token.unwrap().trim());
        program
    }

    /// Reads lines until one has this message; every line must be a JSON object.
    async fn line(&mut self, message: &str) -> Value {
        loop {
            let line = timeout(TIMEOUT, self.log.next_line()).await;
            let line = line.expect("a line arrives").unwrap();
            let line: Value = serde_json::from_str(&line.expect("the log continues")).unwrap();
            if line["message"] == message {
                return line;
            }
        }
    }

    async fn set_filter(&self, filter: &str) {
        let headers = [
            ("authorization", &*self.token),
            ("content-type", "application/json"),
        ];
        let body = json!({ "filter": filter }).to_string();
        let path = "/admin/v1/log";
        let reply = http::http1(&self.admin, "PUT", path, &headers, body.as_bytes()).await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    }

    async fn be_refused(&self) {
        let reply = http::http1(&self.admin, "GET", "/nowhere", &[], b"").await;
        assert_eq!(reply.status, 404);
    }
}

#[tokio::test]
async fn a_new_filter_applies_at_once_and_repeated_lines_are_limited() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    program.be_refused().await;
    program.set_filter("debug").await;
    // Audit lines are written regardless of the filter.
    assert_eq!(program.line("asked").await["subject"], "debug");
    for _ in 0..20 {
        program.be_refused().await;
    }
    for _ in 0..5 {
        assert_eq!(program.line("refused").await["level"], "DEBUG");
    }
    program.set_filter("off").await;
    program.be_refused().await;
    assert_eq!(program.line("asked").await["subject"], "off");

    terminate(&program.child);
    let held = "lines were held back: more than log.repeat_limit in a minute";
    let suppressed = program.line(held).await;
    assert_eq!(
        (&suppressed["lines"], &suppressed["like"]),
        (&json!(15), &json!("refused"))
    );
    let ended = timeout(TIMEOUT, program.child.wait()).await.unwrap();
    assert!(ended.unwrap().success());
}

/// A sender may write anything in place of an origin, for instance the URL of a message, which
/// is a capability.
#[tokio::test]
async fn text_from_clients_stays_out_of_the_log() {
    needs_ours!("the program");
    const WRITTEN: &str = "aOOygrE-bTK_8XfZNX49ys4OURqu";
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    program.set_filter("trace").await;
    let url = format!("http://{}/message/{WRITTEN}", program.public);
    let keys = key_pair(1);
    let signed = |header: Value, claims: Value| {
        let token = keys.sign_json(&header.to_string(), &claims.to_string());
        let key = keys.public_key().to_base64url();
        format!("vapid t={token}, k={key}")
    };
    let expires_at = Clock::system().now() + Duration::from_secs(60);
    let claims = json!({ "aud": url, "exp": expires_at.as_secs() });
    let made = http::http1(&program.public, "POST", "/subscribe", &[], b"").await;
    let push = link(&made, "urn:ietf:params:push").unwrap();
    let path = &push[push.find("/push/").unwrap()..];
    for (authorization, status, detail) in [
        (
            signed(json!({ "alg": "ES256" }), claims.clone()),
            403,
            "audience",
        ),
        (signed(json!({ "alg": url }), claims), 403, "algorithm"),
    ] {
        let fields = [("ttl", "0"), ("authorization", &authorization)];
        let reply = http::http1(&program.public, "POST", path, &fields, b"").await;
        assert_eq!(reply.status, status);
        // The response contains the sender's text; the log does not.
        assert!(reply.text().contains(WRITTEN), "{}", reply.text());
        let line = program.line("refused").await;
        assert_eq!(
            (&line["reason"], &line["detail"]),
            (&json!("vapid"), &json!(detail))
        );
        assert!(!line.to_string().contains(WRITTEN), "{line}");
    }
    let fields = [
        ("authorization", &*program.token),
        ("content-type", "application/json"),
    ];
    let body = json!({ WRITTEN: url }).to_string();
    let admin = "/admin/v1/log";
    let reply = http::http1(&program.admin, "PUT", admin, &fields, body.as_bytes()).await;
    assert_eq!(reply.status, 400);
    let line = program.line("refused").await;
    assert_eq!(
        (&line["reason"], &line["detail"]),
        (&json!("admin"), &json!("body"))
    );
    assert!(!line.to_string().contains(WRITTEN), "{line}");
}

/// The debug data of a GOAWAY is text from the peer (RFC 9113 §6.8).
#[tokio::test]
async fn goaway_debug_data_stays_out_of_the_log() {
    needs_ours!("the program");
    const WRITTEN: &str = "aOOygrE-bTK_8XfZNX49ys4OURqu";
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    program.set_filter("debug").await;
    let mut stream = TcpStream::connect(&program.public).await.unwrap();
    let (last_stream, protocol_error) = ([0; 4], [0, 0, 0, 1]);
    let goaway = [&last_stream[..], &protocol_error, WRITTEN.as_bytes()].concat();
    let frames = [frames::http2_begin(&[]), frames::http2(7, 0, 0, &goaway)];
    stream.write_all(&frames.concat()).await.unwrap();
    let line = program.line("HTTP/2 connection ended").await;
    assert!(!line.to_string().contains(WRITTEN), "{line}");
    assert_eq!(line["reason"], "PROTOCOL_ERROR");
}

#[tokio::test]
async fn the_reason_of_a_refused_register_is_logged() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let mut program = Program::start(folder.path()).await;
    let server = Server::at(&program.public);
    let mut user_agent = UserAgent::connect(&server).await;
    for (channel, key, reason) in [
        (
            "NOT-A-UUID",
            json!(null),
            "a channelID is a UUID in lower case",
        ),
        (CHANNEL, json!("BA1H"), "the key has 3 octets"),
    ] {
        let answer = user_agent.try_register(channel, key).await;
        assert_eq!(answer["status"], 400);
        let line = program.line("a register is refused").await;
        let printed = line.to_string();
        assert!(
            printed.contains(reason) && printed.contains("400"),
            "{printed}"
        );
        assert!(
            !printed.contains(channel) && !printed.contains("BA1H"),
            "{printed}"
        );
        assert_eq!(line["level"], "INFO");
    }
    terminate(&program.child);
    program.child.wait().await.unwrap();
}
