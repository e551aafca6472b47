//! The command line: one file for each command.

mod admin;
mod assets;
mod check_config;
mod chromium;
mod config_args;
mod doctor;
mod files;
mod health;
mod identity;
mod listen;
mod retry;
mod send;
mod serve;
mod store;
mod tls;
mod url_arg;
mod vapid;

use std::error::Error;
use std::future::Future;
use std::io::{self, Write};

use clap::{CommandFactory, Parser, Subcommand};
use config_args::ConfigArgs;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Why a command failed, in one sentence.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The error was already reported; only the exit code remains.
#[derive(Debug, thiserror::Error)]
#[error("the error was already reported")]
pub struct AlreadyReported;

/// A self-hosted Web Push service
#[derive(Debug, Parser)]
#[command(
    name = "bugle",
    version,
    about,
    args_conflicts_with_subcommands = true,
    after_help = serve::EXAMPLE
)]
pub struct Cli {
    #[command(flatten)]
    serve: serve::Args,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service (the default command)
    #[command(after_help = serve::EXAMPLE)]
    Serve(serve::Args),
    /// Print the configuration in effect, or the error in it
    #[command(after_help = check_config::EXAMPLE)]
    CheckConfig(ConfigArgs),
    /// Check whether the service on this machine is alive (exit status 0 or 1)
    #[command(after_help = health::EXAMPLE)]
    Health(health::Args),
    /// Check an installation from the outside, and explain how to fix what is wrong
    #[command(after_help = doctor::EXAMPLE)]
    Doctor(doctor::Args),
    /// Write man pages and shell completions, for packagers
    #[command(hide = true)]
    Assets(assets::Args),
    /// Create a VAPID key pair, or show an existing one
    #[command(after_help = vapid::EXAMPLE)]
    Vapid(vapid::Args),
    /// Create certificates of a private authority, and the policy for Firefox
    Tls(tls::Args),
    /// Point a managed Chromium at the service
    Chromium(chromium::Args),
    /// Check, export, import or compact the store of a stopped service
    #[command(after_help = store::EXAMPLE)]
    Store(store::Args),
    /// Act as a user agent: subscribe, and print each push as it arrives
    #[command(after_help = listen::EXAMPLE)]
    Listen(listen::Args),
    /// Act as an application server: encrypt, sign and send one push
    #[command(after_help = send::EXAMPLE)]
    Send(send::Args),
    /// Inspect a running service, and change what it holds
    #[command(after_help = admin::EXAMPLE)]
    Admin(admin::Args),
}

impl Cli {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// With what went wrong, and what to do about it.
    pub fn run(self) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::Serve(self.serve)) {
            Command::Serve(args) => serve::run(&args),
            Command::CheckConfig(args) => check_config::run(&args),
            Command::Health(args) => as_client(health::run(args)),
            Command::Doctor(args) => as_client(doctor::run(args)),
            Command::Assets(args) => assets::run(&args, Self::command()),
            Command::Store(args) => store::run(&args),
            Command::Vapid(args) => vapid::run(&args),
            Command::Tls(args) => tls::run(&args),
            Command::Chromium(args) => chromium::run(&args),
            Command::Listen(args) => as_client(listen::run(args)),
            Command::Send(args) => as_client(send::run(args)),
            Command::Admin(args) => as_client(admin::run(args)),
        }
    }
}

/// Runs a client command on the current thread.
fn as_client(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(command);
    // A blocking DNS lookup may still be running; do not wait for it.
    runtime.shutdown_background();
    ended
}

/// Handlers of SIGINT (Ctrl-C) and SIGTERM.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// # Errors
    /// If the system refuses a signal handler.
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Installs the handlers, and returns a future that waits for the first signal.
///
/// # Errors
/// If the system refuses a signal handler.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut signals = StopSignals::new()?;
    Ok(async move { signals.next().await })
}

/// Writes a line of the requested output to standard output.
fn print(line: impl AsRef<str>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line.as_ref())?;
    out.flush()
}

/// Writes a remark for people to standard error; errors are ignored.
fn note(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_command_line_definition_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    #[expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]
    fn serve_is_the_default_command() {
        let flags = "--listen 127.0.0.1:1 --data d --public-url http://a --log debug";
        let default = parse(&format!("bugle {flags}")).unwrap();
        assert!(default.command.is_none());
        let named = parse(&format!("bugle serve {flags}")).unwrap();
        assert!(matches!(named.command, Some(Command::Serve(args)) if args == default.serve));
        assert!(parse("bugle").unwrap().command.is_none());
    }

    #[test]
    fn test_without_sync_is_hidden_from_help() {
        assert!(parse("bugle serve --test-without-sync").is_ok());
        let help = parse("bugle serve --help")
            .map(drop)
            .map_err(|help| help.to_string());
        assert!(help.is_err_and(|help| help.contains("--listen") && !help.contains("sync")));
    }

    #[test]
    fn a_wrong_command_line_exits_with_2() {
        for line in [
            "bugle --lisen x",
            "bugle fly",
            "bugle --listen a check-config",
            "bugle send",
            "bugle send a --ttl -1",
            "bugle send a --urgency now",
            "bugle listen --vapid-key a",
            "bugle listen --server localhost",
            "bugle listen --urgency high",
            "bugle listen --mcs --rfc8030",
            "bugle listen --site https://a.example",
        ] {
            let code = parse(line).map_err(|error| error.exit_code()).err();
            assert_eq!(code, Some(2), "{line}");
        }
    }
}
