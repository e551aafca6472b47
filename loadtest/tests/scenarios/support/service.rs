//! The real service, over a folder of its own.

use std::path::{Path, PathBuf};

use bugle::Config;
use bugle_launch::{Launcher, free_port};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;

/// A running service. Dropped, it is gone with its data.
pub struct Service {
    /// Where user agents connect.
    pub url: String,
    _running: bugle_launch::Service,
    /// Its folder, with `cert.pem` if it speaks TLS.
    pub folder: TempDir,
}

impl Service {
    /// With the default settings.
    pub async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With others.
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

    /// With TLS, and a certificate of its own for `localhost`.
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

/// The service's program: what cargo has built beside the load tester.
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
