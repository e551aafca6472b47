//! `bugle doctor`: checks an installation from outside through its public URL, and the machine of
//! the service.

mod certificate;
mod chromium;
mod http;
mod machine;
mod network;
mod push;
mod refusal;
mod report;
mod site;
mod wall_clock;
mod websocket;

use std::path::PathBuf;
use std::time::Duration;

use bugle_client::{Dialer, TIMEOUT};
use bugle_protocol::Ttl;
use humantime_serde::re::humantime::parse_duration;
use url::ParseError;

use self::network::within;
use self::push::Session;
use self::report::{Check, Finding, Report};
use self::site::Site;
use super::config_args::ConfigArgs;
use super::url_arg::UrlArg;
use super::{Failure, stop_signal};
use crate::Config;
use crate::time::Clock;

pub(super) const EXAMPLE: &str = "\
Without a URL it checks the service of the configuration, through its public URL and on this
machine; with a URL, only through that URL. The exit status is 0 if no check fails, else 1.
docs/doctor.md explains each check.

Examples:
  bugle doctor --config /etc/bugle/config.toml
  bugle doctor https://push.example.org --idle 6m
  bugle doctor --json @url-with-password";

/// Timeout of the cleanup at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// The arguments of `bugle doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// URL for user agents, with its secrets: https, wss, http or ws; @FILE reads it from a file, -
    /// from standard input, which hides a secret in it from `ps` [default: that of the
    /// configuration]
    #[arg(value_name = "URL", value_parser = url, conflicts_with_all = [
        "config", "listen", "admin_listen", "data", "public_url", "tls_cert", "tls_key", "log",
    ])]
    url: Option<UrlArg>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Also trust these certificates (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long to hold an idle connection, to find proxies that cut it; 0s skips this check
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = idle)]
    idle: Duration,
    /// Timeout of each step, up to 20s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = limit)]
    timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn url(text: &str) -> Result<UrlArg, String> {
    let url: UrlArg = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    if let UrlArg::Here(url) = &url {
        Site::of_url(url).map_err(|error| error.to_string())?;
    }
    Ok(url)
}

fn idle(text: &str) -> Result<Duration, String> {
    const MAX_IDLE: Duration = Duration::from_secs(24 * 3600);
    duration(text, Duration::ZERO, MAX_IDLE, "from 0s to 24h")
}

fn limit(text: &str) -> Result<Duration, String> {
    duration(
        text,
        Duration::from_millis(100),
        TIMEOUT,
        "from 100ms to 20s",
    )
}

fn duration(text: &str, least: Duration, most: Duration, range: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    match (least..=most).contains(&duration) {
        true => Ok(duration),
        false => Err(format!("it may be {range}")),
    }
}

/// Runs all checks and reports the findings.
pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let stopped = stop_signal()?;
    let (site, config) = match &args.url {
        Some(url) => (Site::of_url(&url.read()?)?, None),
        None => {
            let config = args.config.load()?;
            (Site::of_config(&config)?, Some(config))
        }
    };
    let mut visit = Visit {
        dialer: Dialer::new(args.ca.as_deref())?,
        site,
        config,
        limit: args.timeout,
        idle: args.idle,
        session: None,
    };
    let mut report = Report::new(args.json);
    let is_complete = tokio::select! {
        () = visit.run(&mut report) => true,
        () = stopped => false,
    };
    visit.leave().await;
    if !is_complete {
        return Err("interrupted: not everything was looked at".into());
    }
    report.end(visit.site.origin.origin())
}

/// One run of the checks.
struct Visit {
    site: Site,
    dialer: Dialer,
    /// The service's configuration, if it is on this machine.
    config: Option<Config>,
    limit: Duration,
    idle: Duration,
    /// The open subscription at the service.
    session: Option<Session>,
}

impl Visit {
    async fn run(&mut self, report: &mut Report) {
        report.head(&format!("{}\n", self.site.origin));
        self.outside(report).await;
        report.skip(&Check::OUTSIDE, "first mend what is wrong above");
        if let Some(config) = self.config.as_ref().filter(|it| it.chromium.enabled) {
            let checked = chromium::check(&self.site, &self.dialer, config, self.limit);
            report.add(Check::Chromium, checked.await);
        }
        match &self.config {
            None => report.skip(
                &Check::HERE,
                "`bugle doctor` without a URL looks at it, on the machine of the service",
            ),
            Some(config) => {
                report.add(Check::FileHandles, machine::file_handles(config));
                report.add(Check::Disk, machine::disk(config, self.limit).await);
                report.add(Check::Data, machine::data(config));
                report.add(Check::Space, machine::space(config));
                report.add(
                    Check::WallClock,
                    wall_clock::check(config, &Clock::system()),
                );
            }
        }
    }

    /// Checks through the public URL, until a failure that the other checks depend on.
    async fn outside(&mut self, report: &mut Report) -> Option<()> {
        let (site, dialer, limit) = (&self.site, &self.dialer, self.limit);
        let addresses = report.take(Check::Dns, network::resolve(site, limit).await)?;
        report.take(Check::Connect, network::connect(&addresses, limit).await)?;
        let certificate = certificate::check(site, dialer, limit).await;
        report.take(Check::Certificate, certificate)?;
        let timed = report.take(Check::Http, http::check(site, dialer, limit).await)?;
        report.add(Check::Version, http::version(&timed));
        let leeway = self.config.as_ref().map(|config| config.push.vapid_leeway);
        let leeway = leeway.unwrap_or_else(|| Config::default().push.vapid_leeway);
        report.add(Check::Clock, http::clock(&timed, leeway));
        let upgraded = websocket::check(site, dialer, limit).await;
        report.take(Check::WebSocket, upgraded)?;
        let opened = Session::open(site, dialer, limit).await;
        let opened = opened.map_err(|finding| report.add(Check::Endpoint, finding));
        let session = self.session.insert(opened.ok()?);
        let endpoint = session.endpoint(site, dialer, limit).await;
        let is_reached = !endpoint.is_fail();
        report.add(Check::Endpoint, endpoint);
        if is_reached {
            let (stored, now) = (Ttl::from_secs(60), Ttl::from_secs(0));
            report.add(Check::Push, session.push(stored, dialer, limit).await);
            report.add(Check::PushNow, session.push(now, dialer, limit).await);
        } else {
            report.skip(
                &[Check::Push, Check::PushNow],
                "first mend what is wrong above",
            );
        }
        let left = session.unsubscribe(limit).await;
        let pings = self
            .config
            .as_ref()
            .map(|config| config.user_agent.ping_interval);
        report.add(
            Check::Idle,
            match left {
                _ if self.idle.is_zero() => Finding::skip("--idle 0s"),
                Ok(()) => websocket::hold(&mut session.agent, self.idle, limit, pings).await,
                Err(trouble) => Finding::fail(
                    format!("the connection is gone before it could be idle: {trouble}"),
                    "see the log of the service, and of the proxy before it",
                ),
            },
        );
        Some(())
    }

    /// Removes the subscription and closes the connection, however far the checks came.
    async fn leave(&mut self) {
        if let Some(mut session) = self.session.take() {
            // On failure only one unused subscription remains at the service.
            let _ = session.unsubscribe(GOODBYE).await;
            let _ = within(GOODBYE, async { Ok(session.agent.close().await) }).await;
        }
    }
}
