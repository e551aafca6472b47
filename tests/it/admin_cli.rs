//! `bugle admin`, the real program, against a service in this process.

use serde_json::Value;

use super::cli::{run, text};
use crate::support::app_server::Push;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

/// Runs `bugle admin` and returns its output.
async fn admin(server: &Server, arguments: &[&str]) -> String {
    let url = format!("http://{}", server.admin());
    let data = server.data().to_str().unwrap();
    let mut all = vec!["admin", "--url", &url, "--data", data];
    all.extend(arguments);
    let output = run(server.data(), &all).await;
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[tokio::test]
async fn every_admin_command_works() {
    needs_ours!("its data folder");
    let server = Server::lenient().await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    user_agent.notification().await;

    let overview = admin(&server, &["overview"]).await;
    assert!(
        overview.contains("1 accepted, 1 delivered, 0 acknowledged"),
        "{overview}"
    );
    assert!(overview.contains("limits.user_agents"), "{overview}");
    let traced = admin(&server, &["trace", &endpoint]).await;
    assert!(
        traced.contains(": sent\n") && traced.contains("  delivered\n"),
        "{traced}"
    );
    let shown = admin(&server, &["user-agent", "show", &user_agent.uaid]).await;
    assert!(shown.contains(": connected, 1 messages"), "{shown}");
    assert!(
        shown.contains(&format!("channel {CHANNEL}  any key")),
        "{shown}"
    );

    admin(
        &server,
        &["block", "add", "192.0.2.0/24", "--note", "a loop"],
    )
    .await;
    let blocks = admin(&server, &["block", "list"]).await;
    assert!(
        blocks.starts_with("192.0.2.0/24") && blocks.contains("a loop"),
        "{blocks}"
    );
    admin(&server, &["block", "remove", "192.0.2.0/24"]).await;
    assert_eq!(
        admin(&server, &["block", "list"]).await,
        "Nobody is blocked\n"
    );

    admin(&server, &["broadcast", "set", "a/b c%", "v1"]).await;
    assert_eq!(admin(&server, &["broadcast", "list"]).await, "a/b c%  v1\n");
    admin(&server, &["broadcast", "remove", "a/b c%"]).await;
    assert_eq!(
        admin(&server, &["broadcast", "list"]).await,
        "No broadcast is set\n"
    );

    let ended = admin(&server, &["subscription", "drop", &endpoint]).await;
    assert!(ended.starts_with("1 subscriptions of "), "{ended}");
    let audit = admin(&server, &["audit"]).await;
    assert!(
        audit.lines().count() == 5 && audit.contains("dropSubscription"),
        "{audit}"
    );
    let session: Value = serde_json::from_str(&admin(&server, &["--json", "audit"]).await).unwrap();
    assert_eq!(session["entries"].as_array().unwrap().len(), 5);
    admin(&server, &["drain"]).await;
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_from_its_owner() {
    needs_ours!("its admin socket");
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    // A killed process leaves its socket file behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let mut server = Server::start_with(|config| config.admin.socket = Some(socket.clone())).await;
    assert_eq!(
        socket.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let config = format!("[admin]\nsocket = {socket:?}\n");
    std::fs::write(folder.path().join("bugle.toml"), config).unwrap();
    let arguments = [
        "admin",
        "--config",
        "bugle.toml",
        "broadcast",
        "set",
        "a",
        "1",
    ];
    let output = run(folder.path(), &arguments).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let audit = server.look("audit").await;
    let peer = audit["entries"][0]["peer"].as_str().unwrap();
    assert!(peer.starts_with("uid "), "{peer}");
    server.restart().await;
    assert!(run(folder.path(), &arguments).await.status.success());
    server.stop().await;
    assert!(!socket.exists());
    let output = run(folder.path(), &arguments).await;
    assert!(
        text(&output.stderr).contains("admin.sock"),
        "{}",
        text(&output.stderr)
    );
}

#[tokio::test]
async fn admin_reports_each_error_in_one_sentence() {
    needs_ours!("its data folder");
    let server = Server::start().await;
    let url = format!("http://{}", server.admin());
    let data = server.data().to_str().unwrap();
    let reader = server.data().join("admin-read-token");
    let reader = reader.to_str().unwrap();
    let nowhere = tempfile::tempdir().unwrap();
    for (arguments, printed) in [
        (vec!["--url", &*url, "overview"], "admin-token"),
        (
            vec!["--data", data, "--url", "http://127.0.0.1:1", "overview"],
            "127.0.0.1:1",
        ),
        (
            vec!["--data", data, "--url", "nonsense", "overview"],
            "--url",
        ),
        (
            vec!["--data", data, "--url", &*url, "trace", "nonsense"],
            "names",
        ),
        (
            vec!["--url", &*url, "--token-file", reader, "drain"],
            "may only look",
        ),
    ] {
        let mut all = vec!["admin"];
        all.extend(&arguments);
        let output = run(nowhere.path(), &all).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(
            error.starts_with("bugle: ") && error.contains(printed),
            "{arguments:?}: {error}"
        );
        assert_eq!(error.trim().lines().count(), 1, "{arguments:?}: {error}");
    }
}
