//! The real service in this process, over a folder of its own.

use std::path::Path;

use bugle::{Clock, Config, Server};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A running service. Dropped, it is gone with its data.
pub struct Service {
    /// Where user agents connect.
    pub url: String,
    /// Its folder, with `cert.pem` if it speaks TLS.
    pub folder: TempDir,
    task: JoinHandle<()>,
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
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = None;
        config.server.data = folder.path().join("data");
        change(&mut config);
        Self::run(config, folder, "ws", "127.0.0.1").await
    }

    /// With TLS, and a certificate of its own for `localhost`.
    pub async fn start_tls() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_certificate(folder.path());
        let mut config = Config::default();
        config.server.listen = "127.0.0.1:0".parse().unwrap();
        config.admin.listen = None;
        config.server.data = folder.path().join("data");
        config.tls.cert_file = Some(folder.path().join("cert.pem"));
        config.tls.key_file = Some(folder.path().join("key.pem"));
        let port = free_port();
        config.server.listen.set_port(port);
        config.server.public_url = Some(format!("https://localhost:{port}").parse().unwrap());
        Self::run(config, folder, "wss", "localhost").await
    }

    async fn run(config: Config, folder: TempDir, scheme: &str, host: &str) -> Self {
        let server = Server::bind(config, Clock::system()).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            server.run(std::future::pending()).await.unwrap();
        });
        Self {
            url: format!("{scheme}://{host}:{port}/"),
            folder,
            task,
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn write_certificate(folder: &Path) {
    let names = ["localhost".to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    std::fs::write(folder.join("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("cert.pem"), cert.pem()).unwrap();
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
