//! Sieges: hostile clients exhaust shared limits while honest application servers and user
//! agents continue.
//!
//! The same pushes are played without a siege and then during each one. The hostile clients use
//! their own address and threads. `strangers` implements them, and `hoard` those that fill
//! storage.

mod frames;
mod hoard;
mod honest;
mod strangers;
mod tally;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::{fs, io, thread};

use bugle_client::Dialer;
use clap::{Args, ValueEnum};
use rustix::process::setpriority_process;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Duration, sleep};
use url::Url;

use crate::harness::{self, Failure};
use crate::latency::Latency;
use crate::outcome::Outcome;
use crate::scenario::{Push, Scenario};

use self::strangers::Strangers;

pub use self::honest::ReceiptCounts;
pub use self::strangers::Kind;
pub use self::tally::Tally;

/// Default source address of the hostile clients; honest clients use 127.1.x.y.
const HOSTILE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 66, 0, 1));

/// How long a siege runs before the honest pushes start.
const LEAD: Duration = Duration::from_secs(3);

/// A siege of a minute cannot fill the default limits of storage.
const SMALL_BOUNDS: &str = "\
The kinds stored, receipts and subscriptions fill bounds of what is stored, so the service has to be
started with bounds that a minute can fill, and with an empty data folder:
  BUGLE_LIMITS__STORED_BYTES=64MiB BUGLE_LIMITS__SUBSCRIPTIONS=20000 \\
  BUGLE_LIMITS__RECEIPT_SUBSCRIPTIONS=10000 BUGLE_LIMITS__LIVE_RECEIPTS=2000 bugle
The result says what the strangers sent, and which bound refused it.";

/// `bugle-load siege`
#[derive(Clone, Debug, Args, Serialize)]
#[command(after_help = SMALL_BOUNDS)]
pub struct Siege {
    /// The honest application servers and user agents.
    #[command(flatten)]
    #[serde(flatten)]
    pub push: Push,
    /// Which sieges to play, one after the other [default: all]
    #[arg(long = "kind", value_enum, value_name = "KIND")]
    pub kinds: Vec<Kind>,
    /// Source address of the hostile clients
    #[arg(long, value_name = "ADDRESS", default_value_t = HOSTILE_ADDRESS)]
    pub stranger: IpAddr,
    /// Gives the hostile clients the lowest priority, so that honest clients on the same machine wait
    /// for the service and not for them; an idle CPU is then needed for a siege at all
    #[arg(long)]
    pub low_priority: bool,
}

/// The results of the honest clients, without a siege and during each.
#[derive(Clone, Debug, Serialize)]
pub struct SiegeOutcome {
    /// Without a siege.
    pub peace: Outcome,
    /// By the name of the siege.
    pub sieges: BTreeMap<String, Outcome>,
    /// What the hostile clients sent in the sieges that fill storage, by the name of the
    /// siege.
    pub strangers: BTreeMap<String, Tally>,
    /// The receipts of an honest application server during the siege of receipts.
    pub receipts: Option<ReceiptCounts>,
}

/// Plays the sieges on their own runtimes and writes the result to the file given by
/// `--out`.
///
/// # Errors
/// When a run could not start, or the result could not be written. Refusals of honest
/// clients are part of the outcome.
pub fn play(siege: &Siege) -> Result<SiegeOutcome, Failure> {
    let failed = |what: String| move |error| Failure::System { what, error };
    // A run must not write its own result; all results go into one file.
    let mut push = siege.push.clone();
    push.common.out = None;
    let scenario = Scenario::Push(push);
    let mut outcome = SiegeOutcome {
        peace: harness::play(&scenario)?,
        sieges: BTreeMap::new(),
        strangers: BTreeMap::new(),
        receipts: None,
    };
    let kinds = match siege.kinds.is_empty() {
        true => Kind::value_variants(),
        false => &siege.kinds,
    };
    for kind in kinds {
        let common = &siege.push.common;
        let strangers = Strangers::new(*kind, common, siege.stranger)?;
        let tally = strangers.tally();
        let asks = (*kind == Kind::Receipts)
            .then(|| common.dialer())
            .transpose()?;
        let asks = asks.map(|dialer| (dialer, common.url.clone()));
        let play = || harness::play(&scenario);
        let (receipts, played) = during(strangers, asks, siege.low_priority, play)?;
        outcome.sieges.insert(kind.to_string(), played);
        let tally = tally.map(|tally| (kind.to_string(), tally.read()));
        outcome.strangers.extend(tally);
        outcome.receipts = receipts.or(outcome.receipts);
    }
    if let Some(path) = &siege.push.common.out {
        let json = serde_json::to_string_pretty(&outcome).map_err(io::Error::other);
        json.and_then(|json| fs::write(path, json))
            .map_err(failed(format!("cannot write {}", path.display())))?;
    }
    Ok(outcome)
}

/// Lowers the priority of this thread. Real attackers use their own processors; on the
/// service's machine, honest clients must not wait for theirs.
fn lower_priority() {
    // Linux has a priority per thread. If it cannot be lowered, the figures get worse.
    let _ = setpriority_process(None, 19);
}

/// Plays a run during a siege. With `asks`, an honest application server checks its
/// receipts meanwhile.
fn during(
    strangers: Strangers,
    asks: Option<(Dialer, Url)>,
    low_priority: bool,
    play: impl FnOnce() -> Result<Outcome, Failure>,
) -> Result<(Option<ReceiptCounts>, Outcome), Failure> {
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
        if low_priority {
            lower_priority();
        }
        let mut receipts = asks.as_ref().map(|_| ReceiptCounts::default());
        runtime.block_on(async {
            let besiege = async {
                strangers.prepare().await;
                tokio::join!(strangers.besiege(), async {
                    sleep(LEAD).await;
                    // The receiver may be gone.
                    let _ = ready.send(());
                    if let (Some((dialer, url)), Some(receipts)) = (&asks, &mut receipts) {
                        honest::ask(dialer, url, receipts).await;
                    }
                });
            };
            tokio::select! {
                () = besiege => {}
                _ = stopped => {}
            }
        });
        receipts
    });
    // An error means that the siege has ended; play the run anyway.
    let _ = is_ready.recv();
    let outcome = play();
    drop(stop);
    // A panic of the thread is already printed on standard error.
    let receipts = siege.join().ok().flatten();
    Ok((receipts, outcome?))
}

impl SiegeOutcome {
    /// Whether every honest client was served during each siege and received true receipts.
    pub fn passed(&self) -> bool {
        let is_true = |receipts: &ReceiptCounts| receipts.wrong.is_none() && receipts.delivered > 0;
        let mut all = self.sieges.values().chain([&self.peace]);
        all.all(served) && self.receipts.as_ref().is_none_or(is_true)
    }
}

/// Whether a run passed and none of its pushes was refused.
fn served(outcome: &Outcome) -> bool {
    outcome.passed && refused(outcome) == 0
}

/// Number of honest pushes that were answered otherwise than with acceptance, or not at
/// all.
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
            "{:<13} {:>8} {:>8} {:>8}  accept p50, p99  delivery p50, p99 (ms)",
            "siege", "honest", "refused", "verdict"
        )?;
        let named = self.sieges.iter().map(|(name, it)| (name.as_str(), it));
        for (name, outcome) in [("none", &self.peace)].into_iter().chain(named) {
            let none = Latency::default();
            let of = |name: &str| outcome.latency.get(name).unwrap_or(&none);
            let (accept, delivery) = (of("acceptance"), of("delivery"));
            let verdict = if served(outcome) { "passed" } else { "FAILED" };
            write!(
                f,
                "\n{name:<13} {:>8} {:>8} {verdict:>8}  {:>7} {:>7}  {:>7} {:>7}",
                outcome.messages.sent,
                refused(outcome),
                ms(accept.p50),
                ms(accept.p99),
                ms(delivery.p50),
                ms(delivery.p99),
            )?;
            for fault in &outcome.faults {
                write!(f, "\n              {fault}")?;
            }
            if let Some(tally) = self.strangers.get(name) {
                write!(f, "\n              {tally}")?;
            }
            if let Some(receipts) = self.receipts.as_ref().filter(|_| name == "receipts") {
                write!(f, "\n              {receipts}")?;
            }
        }
        Ok(())
    }
}
