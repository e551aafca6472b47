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
pub struct Lack {
    /// The name of the limit.
    pub what: &'static str,
    /// The required value.
    pub needed: u64,
    /// The present value.
    pub there: u64,
    /// The command or flag that raises it.
    pub mend: String,
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
    pub fn lacks(&self, needs: &Needs) -> Vec<Lack> {
        let lacks = [
            self.files(needs),
            self.ports(needs),
            self.backlog(needs),
            self.conntrack(needs),
            self.tcp_pages(needs),
            self.memory(needs),
        ];
        lacks.into_iter().flatten().collect()
    }

    fn files(&self, needs: &Needs) -> Option<Lack> {
        let needed = needs.connections + OTHER_FILES;
        let mend = format!(
            "ulimit -n {needed}   (as root; for good, `* - nofile {needed}` in \
             /etc/security/limits.conf, and fs.nr_open at least that)"
        );
        Lack::of(
            "file handles of this process",
            needed,
            Some(self.files),
            mend,
        )
    }

    fn ports(&self, needs: &Needs) -> Option<Lack> {
        let needed = needs.connections.div_ceil(needs.sources.max(1));
        let sources = needs.connections.div_ceil(self.ports?.max(1));
        let mend = format!(
            "--sources {sources}   (or sysctl -w net.ipv4.ip_local_port_range='1024 65535')"
        );
        Lack::of("ports for each source address", needed, self.ports, mend)
    }

    fn backlog(&self, needs: &Needs) -> Option<Lack> {
        let needed = needs.opening;
        let mend = format!("sysctl -w net.core.somaxconn={needed}");
        let lack = Lack::of(
            "connections that wait to be accepted",
            needed,
            self.backlog,
            mend,
        );
        lack.map(Lack::that_may_not_matter)
    }

    fn conntrack(&self, needs: &Needs) -> Option<Lack> {
        // The packet filter counts both ends as one connection.
        let needed = needs.connections;
        let mend = format!("sysctl -w net.netfilter.nf_conntrack_max={needed}");
        let what = "connections that the packet filter follows";
        Lack::of(what, needed, self.conntrack, mend)
    }

    fn tcp_pages(&self, needs: &Needs) -> Option<Lack> {
        let octets = needs.connections * needs.ends() * KERNEL_OCTETS;
        let needed = octets.div_ceil(PAGE);
        let mend = format!("sysctl -w net.ipv4.tcp_mem='{0} {0} {0}'", needed * 2);
        let lack = Lack::of("pages of memory for TCP", needed, self.tcp_pages, mend);
        lack.map(Lack::that_may_not_matter)
    }

    fn memory(&self, needs: &Needs) -> Option<Lack> {
        let each = USER_AGENT_OCTETS + needs.ends() * KERNEL_OCTETS;
        let mend = "fewer user agents, or a larger machine".to_owned();
        let needed = needs.connections * each;
        let lack = Lack::of("octets of free memory", needed, self.memory, mend);
        lack.map(Lack::that_may_not_matter)
    }
}

impl Needs {
    /// Number of ends of each connection on this machine.
    fn ends(&self) -> u64 {
        if self.is_local { 2 } else { 1 }
    }
}

impl Lack {
    fn of(what: &'static str, needed: u64, there: Option<u64>, mend: String) -> Option<Self> {
        let there = there.filter(|there| *there < needed)?;
        Some(Self {
            what,
            needed,
            there,
            mend,
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

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            needed,
            there,
            mend,
            ..
        } = self;
        write!(f, "{what}: {needed} needed, {there} there\n    {mend}")
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
        limits.lacks(needs).iter().map(|lack| lack.what).collect()
    }

    #[test]
    fn a_small_run_lacks_nothing() {
        let needs = Needs {
            connections: 19_000,
            sources: 38,
            opening: 64,
            is_local: true,
        };
        assert_eq!(SMALL.lacks(&needs), []);
    }

    #[test]
    fn a_large_run_names_each_low_limit_and_its_remedy() {
        let needs = Needs {
            connections: 100_000,
            sources: 1,
            opening: 100_000,
            is_local: true,
        };
        let lacks = SMALL.lacks(&needs);
        let mended = |what: &str| {
            let lack = lacks.iter().find(|lack| lack.what.contains(what));
            lack.map(|lack| (lack.is_certain, lack.mend.clone()))
        };
        assert!(
            mended("file handles").is_some_and(|(certain, mend)| {
                certain && mend.starts_with("ulimit -n 100064 ")
            })
        );
        assert!(mended("ports").is_some_and(|(_, mend)| mend.starts_with("--sources 4 ")));
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
