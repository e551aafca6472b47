//! Resource usage of processes during a run: CPU time per message, memory per connection.

use std::sync::{Mutex, PoisonError};

use crate::outcome::{Phase, ProcessRecord, Sample};
use crate::process::{Observed, ProcessError};

/// Maximum number of samples per process, one per second for more than 12 hours.
const MAX_SAMPLES: usize = 50_000;

/// Observes processes.
#[derive(Debug, Default)]
pub struct Observer {
    processes: Mutex<Vec<(Observed, Vec<Sample>)>>,
}

impl Observer {
    /// Observes this process, as the first, and those with these process ids.
    ///
    /// # Errors
    /// When a process cannot be read.
    pub fn new(pids: &[u32]) -> Result<Self, ProcessError> {
        let others = pids.iter().map(|pid| Observed::new(*pid));
        let all = std::iter::once(Observed::this()).chain(others);
        let processes = all.map(|observed| Ok((observed?, Vec::new())));
        let processes = Mutex::new(processes.collect::<Result<_, ProcessError>>()?);
        Ok(Self { processes })
    }

    /// Samples each process that has not ended; `run` holds the figures of the run.
    pub fn sample(&self, run: &Sample) {
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (observed, samples) in processes.iter_mut() {
            if samples.len() >= MAX_SAMPLES {
                continue;
            }
            if let Ok(sample) = observed.sample() {
                samples.push(Sample {
                    at: run.at,
                    connected: run.connected,
                    delivered: run.delivered,
                    ..sample
                });
            }
        }
    }

    /// The samples of each process, this process first.
    pub fn records(&self) -> Vec<ProcessRecord> {
        let processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let records = processes.iter().map(|(observed, samples)| ProcessRecord {
            pid: observed.pid,
            name: observed.name.clone(),
            samples: samples.clone(),
        });
        records.collect()
    }
}

/// The usage of a process in one phase of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// CPU time in seconds, user and system.
    pub cpu_seconds: f64,
    /// Messages delivered in the phase.
    pub delivered: u64,
    /// Connections opened in the phase, minus those closed.
    pub connected: i64,
    /// Memory at the end, in bytes.
    pub memory: u64,
    /// Growth of the memory, in bytes.
    pub growth: i64,
}

impl ProcessRecord {
    /// The usage in a phase whose start and end are among the samples.
    pub fn usage(&self, phase: &Phase) -> Option<Usage> {
        let at = |time: f64| self.samples.iter().rev().find(|sample| sample.at <= time);
        let (from, to) = (at(phase.from).or(self.samples.first())?, at(phase.to)?);
        Some(Usage {
            cpu_seconds: to.cpu_seconds - from.cpu_seconds,
            delivered: to.delivered.saturating_sub(from.delivered),
            connected: to.connected.cast_signed() - from.connected.cast_signed(),
            memory: to.memory,
            growth: to.memory.cast_signed() - from.memory.cast_signed(),
        })
    }

    /// Describes the usage in each phase, one line each.
    pub fn summary(&self, phases: &[Phase]) -> Vec<String> {
        let used = phases.iter().filter_map(|phase| {
            let usage = self.usage(phase)?;
            Some(format!(
                "{} ({}) {}: {usage}",
                self.name, self.pid, phase.name
            ))
        });
        used.collect()
    }
}

impl std::fmt::Display for Usage {
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = self.memory as f64 / f64::from(1 << 20);
        write!(f, "{:.2} s CPU, {mib:.1} MiB", self.cpu_seconds)?;
        if self.delivered > 0 {
            let each = self.cpu_seconds * 1e6 / self.delivered as f64;
            write!(f, ", {each:.1} µs CPU for each message delivered")?;
        }
        if self.connected > 0 {
            let cpu = self.cpu_seconds * 1e6 / self.connected as f64;
            let kib = self.growth as f64 / 1024.0 / self.connected as f64;
            write!(f, ", {cpu:.1} µs CPU and {kib:.2} KiB for each connection")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, cpu_seconds: f64, memory: u64, connected: u64, delivered: u64) -> Sample {
        Sample {
            at,
            cpu_seconds,
            memory,
            connected,
            delivered,
            ..Sample::default()
        }
    }

    #[test]
    fn a_phase_counts_the_usage_between_its_ends() {
        let record = ProcessRecord {
            samples: vec![
                sample(0.0, 1.0, 1 << 20, 0, 0),
                sample(1.0, 2.0, 3 << 20, 1000, 0),
                sample(2.0, 2.5, 3 << 20, 1000, 10_000),
            ],
            ..ProcessRecord::default()
        };
        let phase = |name: &str, from, to| Phase {
            name: name.to_owned(),
            from,
            to,
        };
        let phases = [phase("connect", 0.0, 1.0), phase("push", 1.0, 2.0)];
        let described: Vec<_> = phases
            .iter()
            .filter_map(|phase| Some(record.usage(phase)?.to_string()))
            .collect();
        assert_eq!(
            described,
            [
                "1.00 s CPU, 3.0 MiB, 1000.0 µs CPU and 2.05 KiB for each connection",
                "0.50 s CPU, 3.0 MiB, 50.0 µs CPU for each message delivered",
            ]
        );
    }

    #[test]
    fn this_process_is_the_first() {
        let observer = Observer::new(&[]).map_err(|error| error.to_string());
        let records = observer.map(|observer| {
            observer.sample(&Sample::default());
            observer.records()
        });
        let first = records.map(|records| (records[0].pid, records[0].samples.len()));
        assert_eq!(first, Ok((std::process::id(), 1)));
    }
}
