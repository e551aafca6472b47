//! The command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use bugle::Clock;
use bugle_client::{ClientError, Dialer};
use bugle_protocol::Urgency;
use clap::{Args, Parser, Subcommand, value_parser};
use serde::{Serialize, Serializer};
use url::{Host, Url};

use crate::faults::FaultCommand;
use crate::ledger::Terms;
use crate::preflight::Needs;
use crate::report::Report;
use crate::run::Setup;
use crate::scenario::Scenario;
use crate::siege::Siege;
use crate::soak::Soak;
use crate::subscription::{PushSpec, Signing};
use crate::target::Guard;

/// User agents per source address: a service may limit connections per address, and an
/// address has a limited number of ports.
const PER_SOURCE: u32 = 500;

/// Loads a Web Push service, and accounts for every message.
///
/// Each scenario prints a summary, and its exit code is 0 only when nothing
/// was missing, duplicated, out of order, late or corrupted.
#[derive(Debug, Parser)]
#[command(name = "bugle-load", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plays a scenario.
    #[command(flatten)]
    Scenario(Scenario),
    /// Kills a service repeatedly and checks that it loses no accepted message
    #[command(subcommand)]
    Faults(FaultCommand),
    /// Lets user agents connect and disconnect for an hour, then checks that the service
    /// has released its resources
    Soak(Soak),
    /// Pushes while hostile clients exhaust shared limits, and reports what honest clients
    /// were refused
    Siege(Siege),
    /// Renders one or several results as an HTML page with plots
    Report(Report),
}

/// Settings that all scenarios share.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Common {
    /// Where user agents connect: ws://HOST:PORT/ or wss://HOST:PORT/
    pub url: Url,
    /// Connects user agents by MCS, as Chromium, instead of by WebSocket; the service must admit
    /// the site https://localhost
    #[arg(long)]
    pub mcs: bool,
    /// User agents, 1 to 1000000
    #[arg(long, short = 'n', default_value = "100", value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub user_agents: u32,
    /// Certificates to trust in addition to the system's, in PEM
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Source addresses 127.1.x.y to connect from; 0 lets the system choose
    /// [default: as many as the user agents need, on loopback]
    #[arg(long, value_name = "COUNT", value_parser = value_parser!(u32).range(0..=60_000))]
    pub sources: Option<u32>,
    /// User agents that connect concurrently, 1 to 100000
    #[arg(long, default_value = "64", value_parser = value_parser!(u32).range(1..=100_000))]
    pub opening: u32,
    /// How long to wait at the end for outstanding messages, up to 1h
    #[arg(long, default_value = "10s", value_parser = seconds::<3600>)]
    #[serde(serialize_with = "duration")]
    pub settle: Duration,
    /// When to abort the run, up to 12h
    #[arg(long, default_value = "10m", value_parser = seconds::<43_200>)]
    #[serde(serialize_with = "duration")]
    pub time_limit: Duration,
    /// Threads of the load tester, 1 to 64
    #[arg(long, default_value = "1", value_parser = value_parser!(u32).range(1..=64))]
    pub threads: u32,
    /// Identifies the run in its messages and seeds its random choices [default: the time]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A process of the service whose CPU time and memory to measure; may be given several
    /// times
    #[arg(long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Allows a target that is not this machine, because you own it
    #[arg(long, value_name = "NAME")]
    pub i_own_this_host: Option<String>,
    /// Where to write the result, as JSON
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Shows no progress
    #[arg(long, short)]
    pub quiet: bool,
}

/// How application servers push.
#[derive(Clone, Debug, Args, Serialize)]
pub struct Pushing {
    /// Bytes of the body as posted, 123 to 4096
    #[arg(long, default_value = "200", value_parser = value_parser!(u32).range(123..=4096))]
    pub size: u32,
    /// TTL in seconds; with 0, only connected user agents receive the message
    #[arg(long, default_value = "86400", value_parser = value_parser!(u32).range(0..=2_147_483_648))]
    pub ttl: u32,
    /// Urgency: very-low, low, normal or high [default: no header]
    #[arg(long, value_parser = urgency)]
    #[serde(serialize_with = "word")]
    pub urgency: Option<Urgency>,
    /// Sends random bodies in the format of encrypted ones, which saves the load tester
    /// most of its work
    #[arg(long)]
    pub prepared: bool,
    /// Signs a new VAPID token for each push, instead of one for all
    #[arg(long, conflicts_with = "unsigned")]
    pub fresh_tokens: bool,
    /// Sends no VAPID, and does not restrict subscriptions to a key
    #[arg(long)]
    pub unsigned: bool,
    /// Uses HTTP/2 instead of HTTP/1.1
    #[arg(long)]
    pub http2: bool,
    /// Connections of application servers, 1 to 10000
    #[arg(long, default_value = "16", value_parser = value_parser!(u32).range(1..=10_000))]
    pub senders: u32,
    /// Concurrent pushes on each HTTP/2 connection, 1 to 1000
    #[arg(long, default_value = "16", value_parser = value_parser!(u32).range(1..=1000))]
    pub streams: u32,
    /// How often to retry a push after 429 or 503
    #[arg(long, default_value = "5", value_parser = value_parser!(u32).range(0..=1000))]
    pub retries: u32,
}

impl Common {
    /// Builds the dialer for these settings.
    ///
    /// # Errors
    /// When the certificates cannot be read.
    pub fn dialer(&self) -> Result<Dialer, ClientError> {
        let dialer = Dialer::new(self.ca.as_deref())?;
        Ok(dialer.connect_from(self.source_addresses()))
    }

    /// The run's setup; `pushing` holds the settings of its application servers, if it has
    /// any.
    pub fn setup(&self, pushing: Option<&Pushing>) -> Setup {
        let signing = match pushing {
            Some(pushing) if pushing.unsigned => Signing::Not,
            Some(pushing) if pushing.fresh_tokens => Signing::Fresh,
            _ => Signing::Once,
        };
        Setup {
            url: self.url.clone(),
            mcs: self.mcs,
            user_agents: self.user_agents,
            // User agents that receive nothing need no keys.
            prepared: pushing.is_none_or(|pushing| pushing.prepared),
            signing,
            http2: pushing.is_some_and(|pushing| pushing.http2),
            senders: pushing.map_or(1, |pushing| pushing.senders),
            streams: pushing.map_or(1, |pushing| pushing.streams),
            retries: pushing.map_or(0, |pushing| pushing.retries),
            opening: self.opening,
            settle: self.settle,
            guard: Guard::new(self.i_own_this_host.as_deref()),
            seed: self
                .seed
                .unwrap_or_else(|| Clock::system().now().as_millis()),
        }
    }

    /// What the run requires of the machine.
    pub fn needs(&self, pushing: Option<&Pushing>) -> Needs {
        let senders = pushing.map_or(0, |pushing| pushing.senders);
        Needs {
            connections: u64::from(self.user_agents) + u64::from(senders),
            sources: self.source_addresses().len() as u64,
            opening: self.opening.into(),
            is_local: Guard::default().check(&self.url).is_ok(),
        }
    }

    /// The source addresses to connect from. Every one of the 2^24 loopback addresses works
    /// as a source; for other targets the system chooses.
    fn source_addresses(&self) -> Vec<IpAddr> {
        let is_loopback = match self.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            _ => false,
        };
        let count = match self.sources {
            Some(count) => count,
            None if is_loopback => self.user_agents.div_ceil(PER_SOURCE),
            None => 0,
        };
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
        let addresses = (0..count).map(|index| Ipv4Addr::from(first + index).into());
        addresses.collect()
    }
}

impl Pushing {
    /// The push that these settings describe.
    pub fn spec(&self) -> PushSpec {
        PushSpec {
            terms: Terms {
                ttl: self.ttl,
                topic: None,
            },
            urgency: self.urgency,
            size: self.size as usize,
        }
    }
}

/// Parses a duration of at most `MAX` seconds, such as "90s" or "5m".
///
/// # Errors
/// A message that says what is wrong.
pub fn seconds<const MAX: u64>(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration > Duration::from_secs(MAX) {
        let longest = humantime::format_duration(Duration::from_secs(MAX));
        return Err(format!("at most {longest} is allowed"));
    }
    Ok(duration)
}

/// Serializes a duration in seconds.
///
/// # Errors
/// Those of the serializer.
pub fn duration<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

fn urgency(text: &str) -> Result<Urgency, String> {
    let known = "one of very-low, low, normal and high is needed";
    text.parse().map_err(|_| known.to_owned())
}

fn word<S: Serializer>(urgency: &Option<Urgency>, to: S) -> Result<S::Ok, S::Error> {
    urgency.map(Urgency::as_str).serialize(to)
}
