//! Sieges: strangers take what all share, and honest application servers and
//! user agents go on beside them.
//!
//! The same pushes are played without a siege and then during each one. The
//! strangers come from an address of their own and from threads of their own;
//! what they do is in `strangers`.

mod frames;
mod strangers;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::{fs, io, thread};

use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};

use crate::harness::{self, Failure};
use crate::latency::Latency;
use crate::outcome::Outcome;
use crate::scenario::{Push, Scenario};

pub use self::strangers::Kind;
use self::strangers::Strangers;

/// Where the strangers come from, unless the command line says otherwise: honest
/// clients come from 127.1.x.y.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 1));

/// How long a siege lasts before the honest pushes begin.
const LEAD: Duration = Duration::from_secs(3);

/// `bugle-load siege`
#[derive(Clone, Debug, Args, Serialize)]
pub struct Siege {
    /// The honest application servers and user agents.
    #[command(flatten)]
    #[serde(flatten)]
    pub push: Push,
    /// Which sieges to play, one after the other [default: all]
    #[arg(long = "kind", value_enum, value_name = "KIND")]
    pub kinds: Vec<Kind>,
    /// The address that the strangers come from
    #[arg(long, value_name = "ADDRESS", default_value_t = STRANGER)]
    pub stranger: IpAddr,
}

/// What the honest clients met, without a siege and during each.
#[derive(Clone, Debug, Serialize)]
pub struct SiegeOutcome {
    /// Without.
    pub peace: Outcome,
    /// By the siege's name.
    pub sieges: BTreeMap<String, Outcome>,
}

/// Plays the sieges on runtimes of their own, and writes the result where
/// `--out` says.
///
/// # Errors
/// When a run could not begin, or the result could not be written. What honest
/// clients were refused is in the outcome.
pub fn play(siege: &Siege) -> Result<SiegeOutcome, Failure> {
    let failed = |what: String| move |error| Failure::System { what, error };
    // Each run would write its own; all are written together.
    let mut push = siege.push.clone();
    push.common.out = None;
    let scenario = Scenario::Push(push);
    let mut outcome = SiegeOutcome {
        peace: harness::play(&scenario)?,
        sieges: BTreeMap::new(),
    };
    let kinds = match siege.kinds.is_empty() {
        true => Kind::value_variants(),
        false => &siege.kinds,
    };
    for kind in kinds {
        let strangers = Strangers::new(*kind, &siege.push.common, siege.stranger)?;
        let played = during(strangers, || harness::play(&scenario))?;
        outcome.sieges.insert(kind.to_string(), played);
    }
    if let Some(path) = &siege.push.common.out {
        let json = serde_json::to_string_pretty(&outcome).map_err(io::Error::other);
        json.and_then(|json| fs::write(path, json))
            .map_err(failed(format!("cannot write {}", path.display())))?;
    }
    Ok(outcome)
}

/// Plays a run while strangers besiege the service.
fn during(
    strangers: Strangers,
    play: impl FnOnce() -> Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::System {
            what: "cannot start threads".to_owned(),
            error,
        })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let siege = thread::spawn(move || {
        runtime.block_on(async {
            let besiege = async {
                strangers.prepare().await;
                tokio::join!(strangers.besiege(), async {
                    sleep(LEAD).await;
                    // Whoever waited may have gone.
                    let _ = ready.send(());
                });
            };
            tokio::select! {
                () = besiege => {}
                _ = stopped => {}
            }
        });
    });
    // An error says that the siege has ended: the run shows how it goes then.
    let _ = is_ready.recv();
    let outcome = play();
    drop(stop);
    // What it panicked of is on standard error.
    let _ = siege.join();
    outcome
}

impl SiegeOutcome {
    /// Whether every honest client was served during each siege.
    pub fn passed(&self) -> bool {
        let all = self.sieges.values().chain([&self.peace]);
        all.into_iter().all(|outcome| outcome.passed)
    }
}

/// Answers to honest pushes other than acceptance, and pushes without any.
fn refused(outcome: &Outcome) -> u64 {
    let statuses = outcome.answers.iter();
    let others = statuses.filter(|(status, _)| !(200..300).contains(*status));
    others.map(|(_, count)| count).sum::<u64>() + outcome.messages.unanswered
}

fn ms(micros: u64) -> String {
    format!("{}.{:01}", micros / 1000, micros % 1000 / 100)
}

impl fmt::Display for SiegeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<12} {:>8} {:>8} {:>8}  accept p50, p99  delivery p50, p99 (ms)",
            "siege", "honest", "refused", "verdict"
        )?;
        let named = self.sieges.iter().map(|(name, it)| (name.as_str(), it));
        for (name, outcome) in [("none", &self.peace)].into_iter().chain(named) {
            let none = Latency::default();
            let of = |name: &str| outcome.latency.get(name).unwrap_or(&none);
            let (accept, delivery) = (of("acceptance"), of("delivery"));
            let verdict = if outcome.passed { "passed" } else { "FAILED" };
            write!(
                f,
                "\n{name:<12} {:>8} {:>8} {verdict:>8}  {:>7} {:>7}  {:>7} {:>7}",
                outcome.messages.sent,
                refused(outcome),
                ms(accept.p50),
                ms(accept.p99),
                ms(delivery.p50),
                ms(delivery.p99),
            )?;
            for fault in &outcome.faults {
                write!(f, "\n             {fault}")?;
            }
        }
        Ok(())
    }
}
