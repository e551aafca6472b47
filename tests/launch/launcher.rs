//! Starts the service, repeatedly on the same address.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::service::{LaunchError, Listening, Service};

/// Starts `bugle serve` in a folder with its files: `bugle.toml`, `data` and `service.log`.
///
/// The first start uses free ports of 127.0.0.1; later starts reuse them, because endpoints
/// contain them.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    listening: Listening,
}

impl Launcher {
    /// `program` is the path of the built `bugle`.
    pub fn new(program: impl Into<PathBuf>, folder: &Path) -> Self {
        let free = || "127.0.0.1:0".to_owned();
        Self {
            program: program.into(),
            folder: folder.to_owned(),
            data: folder.join("data"),
            arguments: Vec::new(),
            environment: Vec::new(),
            listening: Listening {
                public: free(),
                admin: Some(free()),
            },
        }
    }

    /// Sets the public port, which a URL already contains.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        self.listening.public = format!("127.0.0.1:{port}");
        self
    }

    /// Sets another data folder.
    #[must_use]
    pub fn with_data(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    /// Adds command-line arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        let arguments = arguments.into_iter();
        self.arguments
            .extend(arguments.map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let (name, value) = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.environment.push((name, value));
        self
    }

    /// Writes the configuration file; flags and environment variables take precedence.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn configure(&self, toml: &str) -> Result<(), LaunchError> {
        let path = self.config_file();
        std::fs::write(&path, toml).map_err(|error| LaunchError::Write { path, error })
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("bugle.toml")
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The log, to which all started processes append.
    pub fn log_file(&self) -> PathBuf {
        self.folder.join("service.log")
    }

    /// The addresses of the listeners, after the first start.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Starts the service and blocks the thread until it listens.
    ///
    /// # Errors
    /// When the service does not start to listen.
    pub fn start_and_wait(&mut self) -> Result<Service, LaunchError> {
        let mut service = Service::start(&mut self.command(), &self.log_file())?;
        self.listening = service.wait_until_listening()?;
        Ok(service)
    }

    /// Like `start_and_wait`, without blocking the thread.
    ///
    /// # Errors
    /// When the service does not start to listen.
    pub async fn start(&mut self) -> Result<Service, LaunchError> {
        let mut service = Service::start(&mut self.command(), &self.log_file())?;
        self.listening = service.listening().await?;
        Ok(service)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .current_dir(&self.folder)
            .args(["--listen", &self.listening.public])
            .args([
                "--admin-listen",
                self.listening.admin.as_deref().unwrap_or(""),
            ])
            .arg("--data")
            .arg(&self.data)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if self.config_file().exists() {
            command.arg("--config").arg(self.config_file());
        }
        command
    }
}
