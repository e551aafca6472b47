//! The outcome of a run: the JSON that `--out` writes and `bugle-load report` reads. New
//! fields may be added; existing ones keep their meaning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::latency::Latency;
use crate::ledger::Counts;
use crate::machine::Machine;

/// The version of this format.
pub const FORMAT: u32 = 1;

/// The outcome of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// [`FORMAT`].
    pub format: u32,
    /// The version of `bugle-load`.
    pub version: String,
    /// The scenario.
    pub scenario: String,
    /// The command line.
    pub command: Vec<String>,
    /// The start, in seconds since 1970 (UTC).
    pub started_at: u64,
    /// The duration in seconds.
    pub seconds: f64,
    /// Every setting of the run by flag.
    pub config: BTreeMap<String, Value>,
    /// The machine of the load tester.
    pub machine: Machine,
    /// Whether the run had no fault.
    pub passed: bool,
    /// Descriptions of the faults; empty if `passed`.
    pub faults: Vec<String>,
    /// The message counts.
    pub messages: Counts,
    /// Scheduled pushes that could not be sent in time.
    pub unsent: u64,
    /// Number of responses to pushes by status; each retry counts.
    pub answers: BTreeMap<u16, u64>,
    /// The connection figures.
    pub connections: Connections,
    /// Latencies by name; see [`crate::meters::Measure`].
    pub latency: BTreeMap<String, Latency>,
    /// The phases of the run in order.
    pub phases: Vec<Phase>,
    /// One entry per second.
    pub series: Vec<Second>,
    /// Resource usage of the load tester.
    pub generator: Option<ProcessRecord>,
    /// Resource usage of the processes given by `--pid`.
    pub service: Vec<ProcessRecord>,
}

/// What became of the connections of user agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// User agents in the run.
    pub user_agents: u64,
    /// Maximum number of concurrent connections.
    pub peak: u64,
    /// Attempts to connect.
    pub attempts: u64,
    /// Attempts with a response to `hello`.
    pub established: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Connections that the service closed or that broke.
    pub broken: u64,
    /// Returning user agents whose uaid the service had lost. A fault.
    pub forgotten: u64,
    /// Number of failed attempts and broken connections by reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Connections {
    /// Describes the faults.
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

/// A phase of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its start, in seconds since the start of the run.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// The events of one second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in seconds since the run began.
    pub at: f64,
    /// User agents connected at its end.
    pub connected: u64,
    /// Pushes sent.
    pub sent: u64,
    /// Pushes accepted.
    pub accepted: u64,
    /// Pushes refused or unanswered.
    pub refused: u64,
    /// Messages that arrived, including repetitions.
    pub delivered: u64,
    /// Latencies of this second by name, without buckets.
    pub latency: BTreeMap<String, Latency>,
}

/// Resource usage of one process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The process id.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Samples, about one per second; the first at the start and the last at the end.
    pub samples: Vec<Sample>,
}

/// Resource usage of a process at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// CPU time (user and system) of all its threads since its start, in seconds.
    pub cpu_seconds: f64,
    /// Memory in bytes.
    pub memory: u64,
    /// Open file descriptors.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// User agents of this run that were connected.
    pub connected: u64,
    /// Messages of this run that had arrived.
    pub delivered: u64,
}

impl Outcome {
    /// The text that the program prints at the end.
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
