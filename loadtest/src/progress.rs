//! The progress bar of a run, and its time series.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::outcome::Second;
use crate::run::Run;

/// Maximum length of the series, in seconds: more than the 12 hours that a run may take.
const MAX_SECONDS: usize = 50_000;

/// The task that observes a run.
pub struct ProgressTask {
    over: CancellationToken,
    task: JoinHandle<Vec<Second>>,
}

impl ProgressTask {
    /// Starts the task; with `quiet` it shows no bar.
    pub fn start(run: &Arc<Run>, limit: Duration, quiet: bool) -> Self {
        let over = CancellationToken::new();
        let task = tokio::spawn(watch(Arc::clone(run), over.clone(), bar(limit, quiet)));
        Self { over, task }
    }

    /// Stops the task and returns the series.
    pub async fn end(self) -> Vec<Second> {
        self.over.cancel();
        self.task.await.unwrap_or_default()
    }
}

fn bar(limit: Duration, quiet: bool) -> ProgressBar {
    let target = match quiet {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr(),
    };
    let bar = ProgressBar::with_draw_target(Some(limit.as_secs()), target);
    let style = ProgressStyle::with_template("{elapsed} {bar:20} of at most {len} s  {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

async fn watch(run: Arc<Run>, over: CancellationToken, bar: ProgressBar) -> Vec<Second> {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    // The first tick completes immediately.
    ticks.tick().await;
    let mut last = run.meters.progress();
    let mut series = Vec::new();
    let mut is_over = false;
    while !is_over {
        is_over = over.run_until_cancelled(ticks.tick()).await.is_none();
        let now = run.observe();
        let (second, progress) = run.meters.second(&last, now);
        last = progress;
        bar.set_position(run.now().as_micros() / 1_000_000);
        bar.set_message(line(&second, run.ledger.open()));
        if series.len() < MAX_SECONDS {
            series.push(second);
        }
    }
    bar.finish_and_clear();
    series
}

fn line(second: &Second, open: u64) -> String {
    let p99 = second.latency.get("delivery");
    let p99 = p99.map_or(String::new(), |latency| {
        format!(
            ", p99 {:.1} ms",
            Duration::from_micros(latency.p99).as_secs_f64() * 1e3
        )
    });
    format!(
        "{} connected, {}/s sent, {}/s delivered, {open} open{p99}",
        second.connected, second.sent, second.delivered
    )
}
