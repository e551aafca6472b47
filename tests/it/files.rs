//! The files that the service makes: for its user alone, whatever the umask.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bugle_protocol::WireUaid;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::support::app_server::Push;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, PATIENCE, UserAgent};

/// Everything below a folder.
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

/// Whether any file of a folder has these octets.
fn holds(folder: &Path, octets: &[u8]) -> bool {
    let files = all_below(folder).into_iter().filter(|path| path.is_file());
    files.into_iter().any(|path| {
        let content = fs::read(path).unwrap();
        content.windows(octets.len()).any(|window| window == octets)
    })
}

#[tokio::test]
async fn who_reads_the_data_folder_finds_no_uaid() {
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
async fn keys_and_data_are_for_the_user_of_the_service_alone() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    // Made by somebody who did not think of it.
    let data = folder.path().join("data");
    fs::DirBuilder::new().mode(0o755).create(&data).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut program = Command::new("sh");
    program
        .args(["-c", "umask 000; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_bugle"))
        .args(["--listen", &address, "--admin-listen", "127.0.0.1:0"])
        .arg("--data")
        .arg(&data)
        .kill_on_drop(true);
    let _program = program.spawn().unwrap();
    let answers = async {
        while TcpStream::connect(&address).await.is_err() {
            sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, answers).await.expect("it answers");

    let server = Server::at(&address);
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
