//! A private certificate authority with a certificate for loopback.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// The files of the authority's certificate and of the service's certificate and key.
pub(crate) struct Authority {
    directory: TempDir,
}

impl Authority {
    /// Lets `bugle` create an authority and a certificate for `localhost` and 127.0.0.1.
    pub(crate) fn new() -> Self {
        Self::from_commands("bugle tls init --host localhost --host 127.0.0.1")
    }

    /// Runs shell commands that create an authority in their folder; `bugle` is the program
    /// under test.
    pub(crate) fn from_commands(commands: &str) -> Self {
        let commands = commands.replace("bugle", env!("CARGO_BIN_EXE_bugle"));
        let directory = TempDir::new().unwrap();
        let output = Command::new("sh")
            .args(["-euc", &commands])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}\n{errors}");
        Self { directory }
    }

    /// The authority's certificate, which clients must trust.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The service's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    /// The key of the service's certificate.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}
