//! The real service with its own folder.

use std::path::{Path, PathBuf};

use bugle::Config;
use bugle_launch::{Launcher, free_port};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

/// A running service. Dropping it stops it and removes its data.
pub struct Service {
    /// The URL for user agents.
    pub url: String,
    _running: bugle_launch::Service,
    /// The folder, with `cert.pem` if the service uses TLS.
    pub folder: TempDir,
}

impl Service {
    /// Starts a service with the default settings.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts a service with changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        change(&mut config);
        let mut launcher = Launcher::new(program(), folder.path());
        launcher.configure(&config.to_toml()).unwrap();
        let running = launcher.start().await;
        Self {
            _running: running.unwrap_or_else(|error| panic!("{error}")),
            url: format!("ws://{}/", launcher.listening().public),
            folder,
        }
    }

    /// Starts a service with TLS and a new certificate for `localhost`.
    pub async fn start_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let port = free_port();
        let mut launcher = Launcher::new(program(), folder.path())
            .at_port(port)
            .args(["--public-url", &format!("https://localhost:{port}")])
            .args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
        let running = launcher.start().await;
        Self {
            _running: running.unwrap_or_else(|error| panic!("{error}")),
            url: format!("wss://localhost:{port}/"),
            folder,
        }
    }
}

/// The service that cargo built beside the load tester.
pub fn program() -> PathBuf {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_bugle-load")).with_file_name("bugle");
    assert!(
        program.exists(),
        "{} is not there: test the whole workspace, or `cargo build -p bugle` first",
        program.display()
    );
    program
}

fn write_certificate(folder: &Path) {
    let names = ["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
}
