//! What a run found: the JSON that `--out` writes and `bugle-load report`
//! draws. Fields may be added; those that are here keep their meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::latency::Latency;
use crate::ledger::Counts;
use crate::machine::Machine;

/// The number of this form.
pub const FORMAT: u32 = 1;

/// What a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of `bugle-load`.
    pub version: String,
    /// Which scenario it was.
    pub scenario: String,
    /// The command line.
    pub command: Vec<String>,
    /// When it began, in seconds since 1970 (UTC).
    pub started_at: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Every setting of the run, by its flag.
    pub config: BTreeMap<String, Value>,
    /// The machine of the load tester.
    pub machine: Machine,
    /// Whether all is as it should be.
    pub passed: bool,
    /// What is not, in words. Empty when `passed`.
    pub faults: Vec<String>,
    /// What became of the messages.
    pub messages: Counts,
    /// Pushes that the schedule wanted and that were not begun in time.
    pub unsent: u64,
    /// How often each status answered a push; pushes that were tried again
    /// count each time.
    pub answers: BTreeMap<u16, u64>,
    /// What became of the connections of user agents.
    pub connections: Connections,
    /// Latencies by name: see [`crate::meters::Measure`].
    pub latency: BTreeMap<String, Latency>,
    /// Parts of the run and how long each took, in their order.
    pub phases: Vec<Phase>,
    /// One entry for each second.
    pub series: Vec<Second>,
    /// What the load tester itself used.
    pub generator: Option<ProcessRecord>,
    /// What the processes named by `--pid` used.
    pub service: Vec<ProcessRecord>,
}

/// What became of the connections of user agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// User agents of the run.
    pub user_agents: u64,
    /// The most that were connected at one time.
    pub peak: u64,
    /// Connections that were tried.
    pub attempts: u64,
    /// Attempts that got as far as the answer to hello.
    pub established: u64,
    /// Attempts that did not.
    pub failed: u64,
    /// Connections that the service closed or that broke.
    pub broken: u64,
    /// Returning user agents whose name the service no longer knew. A fault.
    pub forgotten: u64,
    /// Why attempts failed and connections broke, and how often.
    pub reasons: BTreeMap<String, u64>,
}

impl Connections {
    /// What is wrong, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.peak < self.user_agents {
            let (peak, wanted) = (self.peak, self.user_agents);
            faults.push(format!(
                "only {peak} of {wanted} user agents were connected at one time"
            ));
        }
        if self.forgotten > 0 {
            faults.push(format!(
                "{} returning user agents were not known",
                self.forgotten
            ));
        }
        faults
    }
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// When it began, in seconds since the run did.
    pub from: f64,
    /// When it ended.
    pub to: f64,
}

/// What happened in one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in seconds since the run began.
    pub at: f64,
    /// User agents connected at its end.
    pub connected: u64,
    /// Pushes begun.
    pub sent: u64,
    /// Pushes accepted.
    pub accepted: u64,
    /// Other answers to pushes, and none.
    pub refused: u64,
    /// Messages that arrived, again or for the first time.
    pub delivered: u64,
    /// Latencies of this second by name, without buckets.
    pub latency: BTreeMap<String, Latency>,
}

/// What one process used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// What was read, about once a second, the first at the beginning and the
    /// last at the end.
    pub samples: Vec<Sample>,
}

/// What a process has used and holds at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// CPU time of all its threads since it was started, in seconds, user and
    /// system.
    pub cpu_seconds: f64,
    /// Memory in octets.
    pub memory: u64,
    /// Open file handles.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// User agents of this run that were connected.
    pub connected: u64,
    /// Messages of this run that had arrived.
    pub delivered: u64,
}

impl Outcome {
    /// What the program prints at the end.
    pub fn summary(&self) -> String {
        let verdict = if self.passed { "passed" } else { "FAILED" };
        let mut lines = vec![format!(
            "{} {verdict} after {:.1} s",
            self.scenario, self.seconds
        )];
        let m = &self.messages;
        lines.push(format!(
            "messages     {} sent, {} accepted, {} refused, {} unanswered, {} delivered, {} acknowledged",
            m.sent, m.accepted, m.refused, m.unanswered, m.delivered, m.acknowledged
        ));
        lines.push(format!(
            "             {} expired, {} replaced, {} withdrawn, {} abandoned, {} not stored, {} redelivered",
            m.expired, m.replaced, m.withdrawn, m.abandoned, m.not_stored, m.redelivered
        ));
        lines.push(format!(
            "faults       {} missing, {} duplicate, {} out of order, {} late, {} corrupted, {} foreign, {} rejected",
            m.missing, m.duplicate, m.out_of_order, m.late, m.corrupted, m.foreign, m.rejected
        ));
        let c = &self.connections;
        lines.push(format!(
            "user agents  {} wanted, {} at most connected; {} connections, {} failed, {} broken",
            c.user_agents, c.peak, c.established, c.failed, c.broken
        ));
        lines.extend(
            self.connections
                .reasons
                .iter()
                .map(|(reason, count)| format!("             {count} times: {reason}")),
        );
        for (name, l) in self.latency.iter().filter(|(_, l)| l.count > 0) {
            lines.push(format!(
                "{name:<12} ms: p50 {} p90 {} p99 {} p99.9 {} max {} ({} measured)",
                ms(l.p50),
                ms(l.p90),
                ms(l.p99),
                ms(l.p99_9),
                ms(l.max),
                l.count
            ));
        }
        let lasted = self.phases.iter().map(|phase| {
            let seconds = phase.to - phase.from;
            format!("phase        {} took {seconds:.2} s", phase.name)
        });
        lines.extend(lasted);
        let processes = self.service.iter().chain(&self.generator);
        let used = processes.flat_map(|process| process.summary(&self.phases));
        lines.extend(used.map(|used| format!("used         {used}")));
        lines.extend(
            self.faults
                .iter()
                .map(|fault| format!("fault        {fault}")),
        );
        lines.join("\n")
    }
}

fn ms(micros: u64) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}
