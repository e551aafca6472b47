//! The examples of `docs/sending.md`: each file unchanged, with its library, against `bugle
//! listen`.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bugle_launch::{Process, wait_until};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::service::Service;

const BUGLE: &str = env!("CARGO_BIN_EXE_bugle");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TIMEOUT: Duration = Duration::from_secs(40);

/// A folder with `vapid.json` and `subscription.json`, and a listening user agent. Uses TLS,
/// which npm's web-push requires.
struct Sender {
    folder: TempDir,
    service: Service,
    _listener: Process,
}

impl Sender {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let service = Service::start_with_tls(Authority::new());
        let vapid = Command::new(BUGLE)
            .args(["vapid", "--json"])
            .current_dir(folder.path())
            .output();
        let vapid = vapid.unwrap().stdout;
        fs::write(folder.path().join("vapid.json"), &vapid).unwrap();
        let keys: serde_json::Value = serde_json::from_slice(&vapid).unwrap();
        let mut listen = Command::new(BUGLE);
        listen
            .args(["listen", "--subscription", "subscription.json"])
            .args(["--vapid-key", keys["publicKey"].as_str().unwrap()])
            .args(["--server", &service.push_server_url(), "--ca"])
            .arg(service.root().unwrap())
            .current_dir(folder.path())
            .stdout(File::create(folder.path().join("pushes")).unwrap())
            .stderr(Stdio::null());
        let listener = Process::start(&mut listen).expect("bugle listen");
        wait_until("the subscription", TIMEOUT, || {
            let file = folder.path().join("subscription.json");
            file.exists().then_some(())
        });
        Self {
            folder,
            service,
            _listener: listener,
        }
    }

    /// Runs an example to its end and waits for its text.
    fn sends(&self, mut example: Command, text: &str) {
        let root = self.service.root().unwrap();
        for variable in ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
            example.env(variable, &root);
        }
        let output = example.current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        wait_until("the push to be printed", TIMEOUT, || {
            let printed = fs::read_to_string(self.folder.path().join("pushes")).unwrap();
            printed.lines().any(|line| line == text).then_some(())
        });
    }
}

#[test]
fn the_example_for_node_sends() {
    let sender = Sender::new();
    // Node looks for libraries beside the importing file.
    let example = sender.folder.path().join("send.mjs");
    fs::copy(
        Path::new(ROOT).join("docs/examples/node/send.mjs"),
        &example,
    )
    .unwrap();
    let libraries = Path::new(ROOT).join("tests/senders/node_modules");
    std::os::unix::fs::symlink(libraries, sender.folder.path().join("node_modules")).unwrap();
    let mut node = Command::new("node");
    node.arg(example);
    sender.sends(node, "hello from Node");
}

#[test]
fn the_example_for_python_sends() {
    let mut python = Command::new(Path::new(ROOT).join("target/senders/bin/python"));
    python.arg(Path::new(ROOT).join("docs/examples/python/send.py"));
    Sender::new().sends(python, "hello from Python");
}

#[test]
fn the_example_for_rust_sends() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(Path::new(ROOT).join("docs/examples/rust/Cargo.toml"))
        .arg("--target-dir")
        .arg(Path::new(ROOT).join("target/examples"));
    Sender::new().sends(cargo, "hello from Rust");
}

/// Examples whose libraries are in registries that the tests cannot reach.
#[test]
fn the_examples_for_php_and_ruby_parse() {
    for (program, flag, file) in [
        ("php", "-l", "php/send.php"),
        ("ruby", "-c", "ruby/send.rb"),
    ] {
        let file = Path::new(ROOT).join("docs/examples").join(file);
        let output = Command::new(program).arg(flag).arg(file).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(output.status.success(), "{output:?}");
    }
}
