//! `bugle serve`

use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use super::config_args::ConfigArgs;
use super::{Failure, StopSignals, print};
use crate::config::{LogFormat, PublicUrl};
use crate::observe::log::Log;
use crate::observe::otel::Traces;
use crate::server::Process;
use crate::server::systemd::{self, Inherited};
use crate::{Clock, Config, Server};

pub(super) const EXAMPLE: &str = "\
Every setting of docs/configuration.md can come from a file (--config), from the environment
(BUGLE_LIMITS__BODY_BYTES=8192), which overrides the file, or from a flag, which overrides both.

Example:
  bugle --listen 127.0.0.1:8080 --data ./bugle-data";

/// How long remaining tasks may take after the shutdown.
const LAST_WORK: Duration = Duration::from_secs(1);

/// File descriptors for the store, the listeners and the log, in addition to those of connections.
pub(super) const OTHER_HANDLES: u64 = 64;

/// The arguments of `bugle serve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Never sync writes to disk: a power loss then loses accepted messages, which a test of that
    /// must detect
    #[arg(long, hide = true)]
    test_without_sync: bool,
}

/// Serves until Ctrl-C or SIGTERM; a second signal ends the process at once.
///
/// # Errors
/// If the service cannot start, or a required task ends.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.config.load()?;
    config.store.without_sync = args.test_without_sync;
    let log = Log::start(&config.log)?;
    if args.test_without_sync {
        tracing::error!(
            "--test-without-sync: a loss of power loses what was accepted; this is for tests alone"
        );
    }
    // Keys and data are for this user only, whatever the shell's umask and whichever library
    // creates the file.
    umask(Mode::RWXG | Mode::RWXO);
    raise_file_handles(config.limits.connections + config.admin.connections);
    // Before any thread starts: this changes the environment.
    let inherited = Inherited::from_environment()?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let process = Process {
        inherited,
        log: log.clone(),
        traces: Traces::default(),
        watchdog: systemd::watchdog_time(),
    };
    let served = runtime.block_on(serve(config, process));
    runtime.shutdown_timeout(LAST_WORK);
    log.end();
    served
}

/// Raises the limit of file descriptors to the hard limit; the shell's default is often far lower.
fn raise_file_handles(connections: usize) {
    let most = getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: most,
        maximum: most,
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        tracing::warn!(%error, "the limit of file handles cannot be raised");
    }
    let handles = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if handles < connections as u64 + OTHER_HANDLES {
        tracing::warn!(
            handles,
            connections,
            "fewer file handles than limits.connections and admin.connections: raise `ulimit -Hn` \
             or LimitNOFILE=, or lower the settings"
        );
    }
}

async fn serve(config: Config, mut process: Process) -> Result<(), Failure> {
    let mut signals = StopSignals::new()?;
    let (log_format, data) = (config.log.format, config.server.data.clone());
    // Within the runtime, which exports them.
    process.traces = Traces::from_environment();
    let traces = process.traces.clone();
    systemd::status("Opening the data folder");
    let server = tokio::select! {
        bound = Server::bind_in(config, Clock::system(), process) => bound?,
        () = signals.next() => {
            systemd::stopping("Shutting down before the data folder was open");
            tracing::info!("stopped by a signal before the data folder was open");
            return Ok(());
        }
    };
    let address = server.local_addr()?;
    match log_format {
        // Standard output may be closed; that is not an error.
        LogFormat::Text => drop(print(greeting(&server, &data)?)),
        LogFormat::Json => tracing::info!(
            listen = %address,
            admin = server.admin_addr().map(tracing::field::display),
            public_url = %server.public_url(),
            "listening"
        ),
    }
    systemd::ready(&format!("Serving at {address}"));
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // The sender is dropped only when this future is.
        let _ = stopped.await;
    };
    let signalled = async {
        signals.next().await;
        let _ = stop.send(());
        signals.next().await;
    };
    let ended = tokio::select! {
        ended = server.run(stopped) => ended,
        () = signalled => {
            tracing::warn!("a second signal: what is open is cut");
            Ok(())
        }
    };
    traces.end().await;
    Ok(ended?)
}

/// Reports the addresses, and the next steps.
fn greeting(server: &Server, data: &Path) -> io::Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let (listen, data) = (server.local_addr()?, data.display());
    let mut text = format!("Bugle {version} listens on {listen}; its data is in {data}\n");
    if server.is_inherited() {
        text += "The service manager holds that address: server.listen has no effect\n";
    }
    if let Some(admin) = server.admin_addr() {
        text += &format!(
            "The console is at http://{admin}/ and takes the token in {}; metrics are at /metrics there\n",
            server.admin_token_file().display()
        );
    }
    Ok(text + &next_steps(server.public_url(), &program_name()))
}

fn next_steps(url: &PublicUrl, bugle: &str) -> String {
    let websocket = url.websocket_url();
    let mut text = "\nFirefox, in about:config:\n".to_owned();
    if !url.is_tls() {
        // Firefox reads this preference only when the URL changes, so it comes first.
        text += "  dom.push.testing.allowInsecureServerURL = true (add it first, as a boolean)\n";
    }
    text + &format!(
        "  dom.push.serverURL = {websocket}\n\n\
         A first push, from two other terminals:\n  \
           {bugle} listen --server {websocket} --subscription subscription.json\n  \
           {bugle} send subscription.json \"hello\"\n"
    )
}

/// The name this program was started as, so that the printed commands can be copied.
fn program_name() -> String {
    let name = std::env::args_os().next();
    name.map_or("bugle".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn the_next_steps_name_what_to_set() {
        let plain = next_steps(&"http://127.0.0.1:8080".parse().unwrap(), "./bugle");
        let insecure = plain.find("allowInsecureServerURL = true").unwrap();
        let url = plain.find("dom.push.serverURL = ws://127.0.0.1:8080/\n");
        assert!(insecure < url.unwrap(), "{plain}");
        assert!(
            plain.contains("\n  ./bugle send subscription.json"),
            "{plain}"
        );
        let tls = next_steps(&"https://push.example.org".parse().unwrap(), "bugle");
        assert!(tls.contains("--server wss://push.example.org/ "));
        assert!(!tls.contains("allowInsecureServerURL"));
    }
}
