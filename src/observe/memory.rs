//! The memory that this process uses, and its limit.

use std::fs;
use std::path::{Path, PathBuf};

/// Resident memory in bytes, as Linux reports it (proc_pid_status(5)).
pub fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// The lowest `memory.max` of the process's control groups (version 2), in bytes. Returns `None`
/// without such a limit, as outside of containers.
pub fn limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    limit_of(Path::new("/sys/fs/cgroup"), &groups)
}

fn limit_of(root: &Path, groups: &str) -> Option<u64> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group: PathBuf = root.join(group);
    let within = group.ancestors().take_while(|path| path.starts_with(root));
    let limits = within.filter_map(|path| {
        let limit = fs::read_to_string(path.join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_lowest_limit_of_all_control_groups_applies() {
        let root = tempfile::tempdir().unwrap();
        let groups = "12:cpu:/x\n0::/a.slice/b.service\n";
        assert_eq!(limit_of(root.path(), groups), None);
        let group = root.path().join("a.slice/b.service");
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_of(root.path(), groups), None);
        fs::write(root.path().join("a.slice/memory.max"), "1000\n").unwrap();
        fs::write(group.join("memory.max"), "2000\n").unwrap();
        assert_eq!(limit_of(root.path(), groups), Some(1000));
        assert_eq!(limit_of(root.path(), "0::/\n"), None);
        assert_eq!(limit_of(root.path(), "12:cpu:/x\n"), None);
        assert!(resident().unwrap() > 0);
    }
}
