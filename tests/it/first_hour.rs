//! Mistakes in an operator's first hour: `bugle serve` exits with one clear sentence for each,
//! or logs it and serves.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Output;

use tempfile::tempdir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::cli::{bugle, run, text};
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::TIMEOUT;

/// Flags with which the program starts.
pub const FREE: [&str; 6] = [
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "",
    "--data",
    "data",
];

/// Asserts that the program exits at once with these words in one line of standard error.
#[track_caller]
pub fn assert_refused(output: &Output, parts: &[&str]) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let printed = text(&output.stderr);
    let lines: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with("bugle: "))
        .collect();
    let [line] = lines[..] else {
        panic!("one sentence: {printed}")
    };
    for part in parts {
        assert!(line.contains(part), "{part}: {printed}");
    }
}

/// Starts the program with these flags instead of those in [`FREE`].
pub async fn serve(folder: &Path, flags: &[&str]) -> Output {
    let is_given = |pair: &&[&str]| flags.contains(&pair[0]);
    let rest = FREE.chunks(2).filter(|pair| !is_given(pair));
    let all: Vec<_> = rest.flatten().chain(flags).copied().collect();
    run(folder, &[&["serve"], &all[..]].concat()).await
}

#[tokio::test]
async fn an_unavailable_listen_address_is_reported() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    for (flag, setting) in [
        ("--listen", "server.listen"),
        ("--admin-listen", "admin.listen"),
    ] {
        let printed = serve(folder.path(), &[flag, &taken]).await;
        let place = format!("cannot listen at {taken} ({setting}, {flag}): ");
        assert_refused(
            &printed,
            &[&place, "another program listens there: stop it"],
        );
    }
    // TEST-NET-1 (RFC 5737).
    let printed = serve(folder.path(), &["--listen", "192.0.2.1:8080"]).await;
    assert_refused(&printed, &["this machine does not have that address"]);
    let socket = folder.path().join("push.sock");
    let _holder = UnixListener::bind(&socket).unwrap();
    fs::write(
        folder.path().join("a.toml"),
        "[server]\nsocket = \"push.sock\"\n",
    )
    .unwrap();
    let printed = serve(folder.path(), &["--config", "a.toml"]).await;
    assert_refused(
        &printed,
        &[
            "push.sock",
            "server.socket",
            "another program listens there",
        ],
    );
}

#[tokio::test]
async fn an_unusable_data_folder_is_reported() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let server = Server::start_program(None).await;
    let used = server.data().to_str().unwrap();
    let printed = serve(folder.path(), &["--data", used]).await;
    assert_refused(
        &printed,
        &[used, "is in use by another process; stop that one"],
    );
    fs::write(folder.path().join("file"), "").unwrap();
    for data in ["file", "file/data"] {
        let printed = serve(folder.path(), &["--data", data]).await;
        assert_refused(
            &printed,
            &["cannot make the data folder file", "server.data (--data)"],
        );
    }
}

/// Starts a copy of the program in `folder` as an unprivileged user. If the tests run as root,
/// it switches to a user who may not read the build folder.
async fn serve_without_rights(folder: &Path, flags: &[&str]) -> Output {
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(folder, open.clone()).unwrap();
    let program = folder.join("bugle");
    // Not by `fs::copy`: a process that another test forks meanwhile would keep the copy open for
    // writing, and a program that is being written cannot be run (ETXTBSY).
    let copy = [env!("CARGO_BIN_EXE_bugle").as_ref(), program.as_os_str()];
    let copied = Command::new("cp").args(copy).status().await.unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, open).unwrap();
    let probe = folder.join("probe");
    fs::write(&probe, "").unwrap();
    fs::set_permissions(&probe, Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(&program);
    command.arg("serve").args(flags);
    command.current_dir(folder).env_clear();
    if fs::read(&probe).is_ok() {
        command.uid(65_534).gid(65_534);
    }
    let printed = timeout(TIMEOUT, command.output()).await;
    printed.expect("the program ends").unwrap()
}

#[tokio::test]
async fn a_data_folder_of_another_user_is_reported() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, Permissions::from_mode(0o500)).unwrap();
    for (data, says) in [
        ("data", "cannot use the data folder data/store"),
        ("data/new", "cannot make the data folder data/new"),
    ] {
        let flags = [&FREE[..4], &["--data", data]].concat();
        let printed = serve_without_rights(folder.path(), &flags).await;
        assert_refused(&printed, &[says, "Permission denied", "user"]);
    }
}

#[tokio::test]
async fn a_privileged_port_is_reported() {
    needs_ours!("the program");
    // On some systems every port is unprivileged, so nothing is refused.
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let port = match first.unwrap().trim().parse::<u16>().unwrap() {
        0 => return eprintln!("any user may take any port here: not tried"),
        first => first - 1,
    };
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let listen = format!("127.0.0.1:{port}");
    let flags = ["--listen", &listen, "--admin-listen", "", "--data", "data"];
    let printed = serve_without_rights(folder.path(), &flags).await;
    assert_refused(
        &printed,
        &[&listen, "server.listen", "CAP_NET_BIND_SERVICE"],
    );
}

#[tokio::test]
async fn a_configuration_error_is_reported_with_its_position() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    for (file, parts) in [
        (
            "[limits]\nbody_bites = 1",
            [
                "a.toml:2:1: there is no setting `limits.body_bites`",
                "did you mean `limits.body_bytes`?",
            ],
        ),
        (
            "[sever]\n",
            [
                "a.toml:1:2: there is no section `sever`",
                "did you mean `server`?",
            ],
        ),
        (
            "listen = \"127.0.0.1:0\"",
            [
                "a.toml:1:1: there is no setting `listen`",
                "or `server.listen`?",
            ],
        ),
        (
            "[log]\ncolour = 1",
            ["there is no setting `log.colour`", "docs/configuration.md"],
        ),
        (
            "[server]\nlisten = \"localhost\"",
            [
                "a.toml:2:10: ",
                "an IP address and a port, such as \"127.0.0.1:8080\"",
            ],
        ),
        (
            "[limits]\nconnections = \"many\"",
            ["a.toml:2:15: ", "a whole number from 1"],
        ),
        (
            "[server]\npublic_url = \"push.example.org\"",
            ["a.toml:2:14: ", "an http or https URL"],
        ),
        (
            "[user_agent]\nping_interval = \"soon\"",
            ["a.toml:2:17: ", "a duration from"],
        ),
        ("[server\nlisten = 1", ["a.toml:1:8: ", "expected `]`"]),
    ] {
        fs::write(folder.path().join("a.toml"), file).unwrap();
        let printed = serve(folder.path(), &["--config", "a.toml"]).await;
        assert_refused(&printed, &parts);
    }
    let printed = serve(folder.path(), &["--config", "no.toml"]).await;
    assert_refused(&printed, &["--config: cannot read no.toml: No such file"]);
    for (name, value, parts) in [
        (
            "BUGLE_LIMITS__BODY_BITES",
            "1",
            [
                "BUGLE_LIMITS__BODY_BITES: there is no setting",
                "did you mean `limits.body_bytes`?",
            ],
        ),
        (
            "BUGLE_LIMITS__BODY_BYTES",
            "much",
            ["BUGLE_LIMITS__BODY_BYTES: ", "a size from"],
        ),
    ] {
        let mut command = bugle(folder.path(), &FREE);
        command.env(OsStr::new(name), value);
        let printed = timeout(TIMEOUT, command.output())
            .await
            .expect("the program ends");
        assert_refused(&printed.unwrap(), &parts);
    }
    let printed = serve(folder.path(), &["--listen", "localhost:80"]).await;
    assert_refused(&printed, &["--listen: ", "an IP address and a port"]);
    let printed = run(folder.path(), &["serve", "--lisen", "x"]).await;
    assert_eq!(printed.status.code(), Some(2));
    assert!(text(&printed.stderr).contains("'--listen'"), "{printed:?}");
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[tokio::test]
async fn invalid_key_files_are_not_replaced() {
    needs_ours!("the program");
    let folder = tempdir().unwrap();
    let file = folder.path().join("keys");
    fs::write(
        folder.path().join("a.toml"),
        "[keys]\nendpoint_keys_file = \"keys\"\n",
    )
    .unwrap();
    for (keys, parts) in [
        (
            "junk\n",
            [
                "the endpoint keys keys, line 1",
                "restore the file from a copy",
            ],
        ),
        (
            "",
            [
                "the endpoint keys keys hold no key",
                "restore the file from a copy",
            ],
        ),
    ] {
        fs::write(&file, keys).unwrap();
        let printed = serve(folder.path(), &["--config", "a.toml"]).await;
        assert_refused(&printed, &parts);
        assert_eq!(fs::read_to_string(&file).unwrap(), keys);
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let printed = serve(folder.path(), &["--config", "a.toml"]).await;
    assert_refused(
        &printed,
        &[
            "cannot read or make the endpoint keys keys",
            "user that the service runs as",
        ],
    );
}
