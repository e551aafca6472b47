//! Checks that the limits of the machine suffice for a run, and names the commands that
//! raise them.

use std::fmt;
use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// File descriptors besides those of connections: the runtime's, files, /proc.
const OTHER_FILES: u64 = 64;

/// Kernel memory for one end of an idle TCP connection, in bytes.
const KERNEL_OCTETS: u64 = 4096;

/// Memory of the load tester for one idle user agent, in bytes; more with TLS.
const USER_AGENT_OCTETS: u64 = 8192;

/// The unit of `tcp_mem`, in bytes.
const PAGE: u64 = 4096;

/// The requirements of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Concurrent connections.
    pub connections: u64,
    /// Source addresses that the connections use; 0 lets the system choose.
    pub sources: u64,
    /// Connections that are opened concurrently.
    pub opening: u64,
    /// Whether the service runs on this machine, which then holds both ends.
    pub is_local: bool,
}

/// The limits of the machine. `None` means that this kernel lacks the setting, so there is
/// no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of open file descriptors of this process.
    pub files: u64,
    /// Ports for outgoing connections per source address.
    pub ports: Option<u64>,
    /// `net.core.somaxconn`: maximum length of the accept backlog.
    pub backlog: Option<u64>,
    /// `net.netfilter.nf_conntrack_max`.
    pub conntrack: Option<u64>,
    /// The last of `net.ipv4.tcp_mem`, in pages.
    pub tcp_pages: Option<u64>,
    /// Free and reclaimable memory in bytes.
    pub memory: Option<u64>,
}

/// A limit that is too low.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The name of the limit.
    pub what: &'static str,
    /// The required value.
    pub needed: u64,
    /// The present value.
    pub available: u64,
    /// The command or flag that raises it.
    pub remedy: String,
    /// Whether the run will certainly fail; otherwise it may.
    pub is_certain: bool,
}

impl Limits {
    /// The limits of this machine and process. Raises the soft limit of file descriptors to
    /// the hard limit first.
    pub fn of_this_machine() -> Self {
        Self {
            files: raise_files(),
            ports: numbers("/proc/sys/net/ipv4/ip_local_port_range")
                .and_then(|range| Some(range.get(1)?.saturating_sub(*range.first()?) + 1)),
            backlog: number("/proc/sys/net/core/somaxconn"),
            conntrack: number("/proc/sys/net/netfilter/nf_conntrack_max"),
            tcp_pages: numbers("/proc/sys/net/ipv4/tcp_mem")
                .and_then(|pages| pages.last().copied()),
            memory: available_memory(),
        }
    }

    /// The limits that are too low for `needs`.
    pub fn shortages(&self, needs: &Needs) -> Vec<Shortage> {
        let shortages = [
            self.files(needs),
            self.ports(needs),
            self.backlog(needs),
            self.conntrack(needs),
            self.tcp_pages(needs),
            self.memory(needs),
        ];
        shortages.into_iter().flatten().collect()
    }

    fn files(&self, needs: &Needs) -> Option<Shortage> {
        let needed = needs.connections + OTHER_FILES;
        let remedy = format!(
            "ulimit -n {needed}   (as root; for good, `* - nofile {needed}` in \
             /etc/security/limits.conf, and fs.nr_open at least that)"
        );
        Shortage::of(
            "file handles of this process",
            needed,
            Some(self.files),
            remedy,
        )
    }

    fn ports(&self, needs: &Needs) -> Option<Shortage> {
        let needed = needs.connections.div_ceil(needs.sources.max(1));
        let sources = needs.connections.div_ceil(self.ports?.max(1));
        let remedy = format!(
            "--sources {sources}   (or sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
        );
        Shortage::of("ports for each source address", needed, self.ports, remedy)
    }

    fn backlog(&self, needs: &Needs) -> Option<Shortage> {
        let needed = needs.opening;
        let remedy = format!("sysctl -w net.core.somaxconn={needed}");
        let shortage = Shortage::of(
            "connections that wait to be accepted",
            needed,
            self.backlog,
            remedy,
        );
        shortage.map(Shortage::that_may_not_matter)
    }

    fn conntrack(&self, needs: &Needs) -> Option<Shortage> {
        // The packet filter counts both ends as one connection.
        let needed = needs.connections;
        let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={needed}");
        let what = "connections that the packet filter follows";
        Shortage::of(what, needed, self.conntrack, remedy)
    }

    fn tcp_pages(&self, needs: &Needs) -> Option<Shortage> {
        let octets = needs.connections * needs.ends() * KERNEL_OCTETS;
        let needed = octets.div_ceil(PAGE);
        let remedy = format!("sysctl -w net.ipv4.tcp_mem='{0} {0} {0}'", needed * 2);
        let shortage = Shortage::of("pages of memory for TCP", needed, self.tcp_pages, remedy);
        shortage.map(Shortage::that_may_not_matter)
    }

    fn memory(&self, needs: &Needs) -> Option<Shortage> {
        let each = USER_AGENT_OCTETS + needs.ends() * KERNEL_OCTETS;
        let remedy = "fewer user agents, or a larger machine".to_owned();
        let needed = needs.connections * each;
        let shortage = Shortage::of("octets of free memory", needed, self.memory, remedy);
        shortage.map(Shortage::that_may_not_matter)
    }
}

impl Needs {
    /// Number of ends of each connection on this machine.
    fn ends(&self) -> u64 {
        if self.is_local { 2 } else { 1 }
    }
}

impl Shortage {
    fn of(what: &'static str, needed: u64, available: Option<u64>, remedy: String) -> Option<Self> {
        let available = available.filter(|available| *available < needed)?;
        Some(Self {
            what,
            needed,
            available,
            remedy,
            is_certain: true,
        })
    }

    /// Marks a limit that only slows a run down, or that is an estimate.
    fn that_may_not_matter(self) -> Self {
        Self {
            is_certain: false,
            ..self
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            needed,
            available,
            remedy,
            ..
        } = self;
        write!(
            f,
            "{what}: {needed} needed, {available} there\n    {remedy}"
        )
    }
}

/// Raises the soft limit of file descriptors to the hard limit, which needs no privilege.
/// Returns the resulting limit.
fn raise_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let raised = match setrlimit(Resource::Nofile, most) {
        Ok(()) => limit.maximum,
        // Some systems enforce a lower limit than the hard one.
        Err(_) => limit.current,
    };
    // `None` means unlimited.
    raised.unwrap_or(u64::MAX)
}

fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn number(path: &str) -> Option<u64> {
    numbers(path)?.first().copied()
}

fn numbers(path: &str) -> Option<Vec<u64>> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        files: 20_000,
        ports: Some(28_000),
        backlog: Some(4096),
        conntrack: Some(65_536),
        tcp_pages: Some(190_000),
        memory: Some(8 << 30),
    };

    fn what(limits: &Limits, needs: &Needs) -> Vec<&'static str> {
        limits
            .shortages(needs)
            .iter()
            .map(|shortage| shortage.what)
            .collect()
    }

    #[test]
    fn a_small_run_lacks_nothing() {
        let needs = Needs {
            connections: 19_000,
            sources: 38,
            opening: 64,
            is_local: true,
        };
        assert_eq!(SMALL.shortages(&needs), []);
    }

    #[test]
    fn a_large_run_names_each_low_limit_and_its_remedy() {
        let needs = Needs {
            connections: 100_000,
            sources: 1,
            opening: 100_000,
            is_local: true,
        };
        let shortages = SMALL.shortages(&needs);
        let mended = |what: &str| {
            let shortage = shortages
                .iter()
                .find(|shortage| shortage.what.contains(what));
            shortage.map(|shortage| (shortage.is_certain, shortage.remedy.clone()))
        };
        assert!(mended("file handles").is_some_and(|(certain, remedy)| {
            certain && remedy.starts_with("ulimit -n 100064 ")
        }));
        assert!(mended("ports").is_some_and(|(_, remedy)| remedy.starts_with("--sources 4 ")));
        let backlog = "sysctl -w net.core.somaxconn=100000".to_owned();
        assert_eq!(mended("accepted"), Some((false, backlog)));
        let conntrack = "sysctl -w net.netfilter.nf_conntrack_max=100000".to_owned();
        assert_eq!(mended("packet filter"), Some((true, conntrack)));
        assert!(mended("TCP").is_some());
        assert_eq!(mended("free memory"), None);
    }

    #[test]
    fn a_setting_that_the_kernel_lacks_is_no_limit() {
        let limits = Limits {
            files: u64::MAX,
            ..Limits::default()
        };
        let needs = Needs {
            connections: 10_000_000,
            ..Needs::default()
        };
        assert_eq!(what(&limits, &needs), Vec::<&str>::new());
    }

    #[test]
    fn limits_of_this_machine_are_read() {
        let limits = Limits::of_this_machine();
        assert!(limits.files > 0);
        assert!(limits.memory.is_some_and(|octets| octets > 0));
    }
}
