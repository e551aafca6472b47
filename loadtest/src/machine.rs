//! The machine on which the load tester runs.

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};

/// The properties of the machine on which results depend. An unreadable field is empty or
/// 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The model of the first CPU.
    pub cpu_model: String,
    /// Total memory in bytes.
    pub memory: u64,
    /// The kernel release.
    pub kernel: String,
}

impl Machine {
    /// Reads those of this machine.
    pub fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
            .split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or_default();
        Self {
            cpus: thread::available_parallelism().map_or(0, usize::from),
            cpu_model: field(&read("/proc/cpuinfo"), "model name"),
            memory: kib * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}

/// The value after `name` and a colon.
fn field(text: &str, name: &str) -> String {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(key, value)| (key.trim(), value.trim()))
        .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
        .unwrap_or_default()
}
