//! The commands that packages and containers run.

use std::time::Duration;

use crate::cli::{run, text};
use crate::support::server::Server;
use crate::support::subject::needs_ours;

#[tokio::test]
async fn health_reports_alive_ready_or_neither() {
    needs_ours!("the program");
    let notice = Duration::from_secs(3600);
    let mut server = Server::start_with(|config| config.server.stop_notice = notice).await;
    let folder = tempfile::tempdir().unwrap();
    let admin = server.admin().to_owned();
    let alive = ["health", "--admin-listen", &admin];
    let ready = ["health", "--admin-listen", &admin, "--ready"];
    for arguments in [&alive[..], &ready] {
        let healthy = run(folder.path(), arguments).await;
        assert!(healthy.status.success(), "{healthy:?}");
        assert_eq!(text(&healthy.stdout), "ok\n");
    }
    server.begin_stop();
    let ended = async { while run(folder.path(), &ready).await.status.success() {} };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    ended.expect("a service that stops is not ready");
    let leaving = run(folder.path(), &ready).await;
    assert_eq!(leaving.status.code(), Some(1));
    let printed = text(&leaving.stderr);
    assert!(printed.contains("/ready says 503"), "{printed}");
    assert!(run(folder.path(), &alive).await.status.success());
    let nobody = run(folder.path(), &["health", "--admin-listen", "127.0.0.1:1"]).await;
    let printed = text(&nobody.stderr);
    assert!(
        printed.contains("nothing to be heard at 127.0.0.1:1"),
        "{printed}"
    );
}

#[tokio::test]
async fn every_command_has_a_man_page_and_completions() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let made = run(folder.path(), &["assets", "out"]).await;
    assert!(made.status.success(), "{made:?}");
    let help = text(&run(folder.path(), &["--help"]).await.stdout);
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.split("\n\n").next().unwrap();
    let commands: Vec<_> = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"serve"), "{commands:?}");
    let bash = std::fs::read_to_string(folder.path().join("out/completions/bugle.bash"));
    let bash = bash.unwrap();
    for command in commands {
        let page = folder.path().join(format!("out/man/bugle-{command}.1"));
        assert!(page.exists(), "{}", page.display());
        assert!(bash.contains(command), "{command} is not completed");
    }
}
