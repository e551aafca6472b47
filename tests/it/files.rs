//! The files of the service: accessible to its user only, whatever the umask.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use bugle_launch::{Launcher, Service};
use bugle_protocol::WireUaid;

use crate::support::app_server::Push;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, UserAgent};

/// All paths below a folder.
fn all_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_below(&path));
        }
        found.push(path);
    }
    found
}

/// Whether a file in a folder contains these bytes.
fn holds(folder: &Path, octets: &[u8]) -> bool {
    let files = all_below(folder).into_iter().filter(|path| path.is_file());
    files.into_iter().any(|path| {
        let content = fs::read(path).unwrap();
        content.windows(octets.len()).any(|window| window == octets)
    })
}

#[tokio::test]
async fn the_data_folder_contains_no_uaid() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_program(Some(folder.path())).await;
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let uaid: WireUaid = user_agent.uaid.parse().unwrap();
    let digits = u128::from_str_radix(&user_agent.uaid, 16).unwrap();
    assert!(!holds(folder.path(), user_agent.uaid.as_bytes()));
    assert!(!holds(folder.path(), &digits.to_be_bytes()));
    assert!(holds(folder.path(), uaid.digest().as_bytes()), "it is kept");
}

#[tokio::test]
async fn keys_and_data_are_accessible_to_the_services_user_only() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    // A folder with careless permissions.
    let data = folder.path().join("data");
    fs::DirBuilder::new().mode(0o755).create(&data).unwrap();
    let mut program = Command::new("sh");
    program
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_bugle"))
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .arg("--data")
        .arg(&data);
    let mut service = Service::start(&mut program, &folder.path().join("log")).unwrap();
    let listening = service.listening().await.unwrap();

    let server = Server::at(&listening.public);
    let mut user_agent = UserAgent::connect(&server).await;
    let endpoint = user_agent.register(CHANNEL, None).await;
    Push::to(&server, &endpoint).text("x").accepted().await;
    let made = all_below(&data);
    assert!(made.iter().any(|path| path.ends_with("endpoint-keys")));
    assert!(made.len() > 3, "{made:?}");
    for path in made {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
    }
}

/// Starts the program in `folder` with the data folder `data`.
async fn program(folder: &Path, more: &str) -> Service {
    let mut launcher = Launcher::new(env!("CARGO_BIN_EXE_bugle"), folder);
    launcher.configure(more).unwrap();
    launcher = launcher.with_data(Path::new("data"));
    launcher.start().await.unwrap()
}

#[tokio::test]
async fn the_first_start_works_with_bare_file_names() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let names = "keys.endpoint_keys_file = \"keys\"\nadmin.token_file = \"token\"\n";
    let _program = program(folder.path(), names).await;
    for name in ["keys", "token"] {
        let found = fs::metadata(folder.path().join(name)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn secrets_are_never_written_through_symbolic_links() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let (data, victim) = (folder.path().join("data"), folder.path().join("victim"));
    fs::DirBuilder::new().mode(0o777).create(&data).unwrap();
    fs::write(&victim, "untouched").unwrap();
    for secret in ["endpoint-keys", "admin-token", "admin-read-token", "blocks"] {
        // Links at the guessable temporary name, and at the secret itself with a dangling
        // target.
        symlink(&victim, data.join(secret).with_extension("new")).unwrap();
        symlink(folder.path().join(secret), data.join(secret)).unwrap();
    }
    let _program = program(folder.path(), "").await;
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    for secret in ["endpoint-keys", "admin-token", "admin-read-token"] {
        assert!(!folder.path().join(secret).exists(), "{secret}");
        let kind = fs::symlink_metadata(data.join(secret)).unwrap().file_type();
        assert!(kind.is_file(), "{secret}");
    }
}

#[tokio::test]
async fn a_data_folder_that_others_may_enter_is_reported_at_start() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(data.join("admin-token"), "a-token-that-everybody-can-read").unwrap();
    fs::set_permissions(data.join("admin-token"), fs::Permissions::from_mode(0o644)).unwrap();
    let log = program(folder.path(), "").await.log();
    for wanted in ["chmod 700 data", "chmod 600 data/admin-token"] {
        assert!(log.contains(wanted), "{log}");
    }
}
