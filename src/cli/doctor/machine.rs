//! Checks on the machine of the service: file descriptors, disk, data folder. They open nothing
//! that a running service has locked.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use rustix::process::{Resource, getrlimit, getuid};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::network::millis;
use super::report::Finding;
use crate::cli::serve::OTHER_HANDLES;
use crate::config::{Config, StoreEngine};
use crate::secrets;
use crate::store::folder_of;
use crate::time::Clock;

/// Maximum number of test syncs.
const SYNCS: usize = 20;

/// Maximum duration of the test syncs.
const SYNC_TIME: Duration = Duration::from_secs(2);

/// A median sync slower than this delays every push.
const SLOW_SYNC: Duration = Duration::from_millis(50);

/// The limit's name in /proc/PID/limits.
const OPEN_FILES: &str = "Max open files";

/// Checks that the limit of file descriptors suffices for `limits.connections`.
pub(super) fn file_handles(config: &Config) -> Finding {
    let needed = config.limits.connections as u64 + OTHER_HANDLES;
    let service = service_of(config);
    let (handles, whose) = match service.and_then(|id| Some((handles_of(id)?, id))) {
        Some((handles, id)) => (handles, format!("the running service (process {id})")),
        // The service raises its own soft limit to the hard limit.
        None => (
            getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            "no service runs here; one that is started in this shell".to_owned(),
        ),
    };
    let text = format!("{whose} may open {handles} files, and needs {needed}");
    let finding = match handles < needed {
        true => Finding::fail(
            format!("{text} for limits.connections"),
            "raise LimitNOFILE= in the unit or `ulimit -Hn` in the shell, or lower \
             limits.connections",
        ),
        false => Finding::ok(text),
    };
    finding.with("handles", handles).with("needed", needed)
}

/// The process that holds the lock on the store.
fn service_of(config: &Config) -> Option<u32> {
    let inode = fs::metadata(folder_of(config).join("db")).ok()?.ino();
    holder(&fs::read_to_string("/proc/locks").ok()?, inode)
}

/// The process that locks the file with this inode (proc_locks(5)).
fn holder(locks: &str, inode: u64) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [_, "FLOCK", _, _, process, file, ..] if file.ends_with(&suffix) => {
                process.parse().ok()
            }
            _ => None,
        }
    })
}

fn handles_of(process: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix(OPEN_FILES))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Measures how long the disk takes to sync a write.
pub(super) async fn disk(config: &Config, limit: Duration) -> Finding {
    if config.store.engine == StoreEngine::Memory {
        return Finding::skip("store.engine is \"memory\": nothing is kept on a disk");
    }
    let folder = config.server.data.clone();
    let shown = folder.display().to_string();
    let measured = timeout(SYNC_TIME + limit, spawn_blocking(move || syncs(&folder))).await;
    let times = match measured {
        Err(_) | Ok(Err(_)) => {
            return Finding::fail(
                format!("the disk of {shown} does not answer"),
                "see the log of the kernel (dmesg), and put server.data on another disk",
            );
        }
        Ok(Ok(Ok(times))) => times,
        Ok(Ok(Err(error))) => return unwritable(&shown, &error),
    };
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let worst = times.last().copied().unwrap_or_default();
    let (median_ms, worst_ms) = (millis(median), millis(worst));
    let text = format!(
        "a sync takes {median_ms} ms, the longest of {} {worst_ms} ms",
        times.len()
    );
    let finding = match median > SLOW_SYNC {
        true => Finding::warn(
            format!("{text}: every push waits for one"),
            "put server.data on a faster disk, one with a cache that survives a loss of power",
        ),
        false => Finding::ok(text),
    };
    finding
        .with("sync_ms", median_ms)
        .with("worst_ms", worst_ms)
}

fn unwritable(folder: &str, error: &io::Error) -> Finding {
    match error.kind() {
        io::ErrorKind::NotFound => Finding::skip(format!("there is no folder {folder} yet")),
        io::ErrorKind::PermissionDenied => Finding::skip(format!(
            "only the owner of {folder} may write there: run this as that user (sudo -u)"
        )),
        _ => Finding::fail(
            format!("nothing can be written to {folder}: {error}"),
            "mend the disk or make room on it, or set server.data to another",
        ),
    }
}

/// Durations of the test syncs, shortest first.
fn syncs(folder: &Path) -> io::Result<Vec<Duration>> {
    let mut file = nameless(folder)?;
    let clock = Clock::system();
    let begin = clock.monotonic();
    let mut times = Vec::new();
    while times.len() < SYNCS && clock.monotonic() < begin + SYNC_TIME {
        let before = clock.monotonic();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(clock.monotonic() - before);
    }
    times.sort_unstable();
    Ok(times)
}

/// A nameless file, which vanishes with this process.
fn nameless(folder: &Path) -> io::Result<File> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

/// Checks the owner and the permissions of the data folder.
pub(super) fn data(config: &Config) -> Finding {
    let (folder, keys_file) = (&config.server.data, config.endpoint_keys_file());
    let shown = folder.display();
    let found = match fs::metadata(folder) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            return Finding::fail(
                format!("{shown} is no folder"),
                "set server.data (--data) to a folder",
            );
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::fail(
                format!("there is no folder {shown}"),
                "start the service, which makes it, or set server.data (--data, --config) to the \
                 one that it uses",
            );
        }
        Err(error) => {
            return Finding::fail(
                format!("{shown} cannot be looked at: {error}"),
                "run this as the user of the service (sudo -u), or set server.data",
            );
        }
    };
    if let Some(finding) = open_to_others(folder, &found, "700") {
        return finding;
    }
    let is_ours = found.uid() == getuid().as_raw() || getuid().is_root();
    if !is_ours {
        return Finding::ok(format!(
            "{shown} is private to user {}; that user sees more here (sudo -u)",
            found.uid()
        ));
    }
    secrets(folder, &found, &keys_file)
}

/// Checks that the endpoint keys exist, are valid, and are readable by their owner only.
fn secrets(folder: &Path, found: &Metadata, keys_file: &Path) -> Finding {
    let shown = folder.display();
    let keys = match fs::metadata(keys_file) {
        Ok(keys) => keys,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Finding::warn(
                format!("{shown} has no endpoint keys yet"),
                "the first start makes them; if there were some, put them back: without them no \
                 endpoint works",
            );
        }
        Err(error) => {
            return Finding::fail(
                format!("{} cannot be looked at: {error}", keys_file.display()),
                "let the user of the service read it",
            );
        }
    };
    if let Some(finding) = open_to_others(keys_file, &keys, "600") {
        return finding;
    }
    if let Err(error) = secrets::lines(keys_file) {
        return Finding::fail(error.to_string(), "put the file back from a copy");
    }
    if keys.uid() != found.uid() {
        return Finding::fail(
            format!(
                "{} belongs to user {}, {shown} to user {}",
                keys_file.display(),
                keys.uid(),
                found.uid()
            ),
            format!("give both to the user of the service: chown -R USER {shown}"),
        );
    }
    Finding::ok(format!(
        "{shown} and its keys are private to user {}; `bugle store check` reads what it holds",
        found.uid()
    ))
}

fn open_to_others(path: &Path, found: &Metadata, mode: &str) -> Option<Finding> {
    let path = path.display();
    (found.mode() & 0o077 != 0).then(|| {
        Finding::warn(
            format!(
                "other users may look into {path} (mode {:o})",
                found.mode() & 0o777
            ),
            format!("chmod {mode} {path}"),
        )
    })
}

/// Checks the free disk space.
pub(super) fn space(config: &Config) -> Finding {
    let (folder, least) = (&config.server.data, config.store.min_free);
    let shown = folder.display();
    let found = match rustix::fs::statvfs(folder) {
        Ok(found) => found,
        Err(error) => return Finding::skip(format!("{shown} cannot tell: {error}")),
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!(
        "{} free at {shown}, of which store.min_free keeps {}",
        ByteSize::b(free),
        ByteSize::b(least)
    );
    let mend = "make room on the disk, or set server.data to a larger one";
    let finding = if free < least {
        Finding::fail(format!("{text}: pushes and registrations get 429"), mend)
    } else if free / 4 < least {
        Finding::warn(text, mend)
    } else {
        Finding::ok(text)
    };
    finding
        .with("free_bytes", free)
        .with("min_free_bytes", least)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

    use super::*;

    #[test]
    fn the_process_that_holds_a_lock_is_found() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 08:01:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 08:01:7 0 EOF\n";
        assert_eq!(holder(locks, 7), Some(13));
        assert_eq!(holder(locks, 77), Some(12));
        assert_eq!(holder(locks, 1), None);
        assert_eq!(holder("junk\n\n3: FLOCK", 7), None);
        assert!(handles_of(std::process::id()).unwrap() > 0);
    }

    #[test]
    fn an_open_folder_and_a_full_disk_are_reported() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data = folder.path().to_owned();
        let mode =
            |bits| fs::set_permissions(folder.path(), fs::Permissions::from_mode(bits)).unwrap();
        let text = |finding: Finding| format!("{finding:?}");
        mode(0o755);
        assert!(
            text(data(&config)).contains("chmod 700"),
            "{:?}",
            data(&config)
        );
        mode(0o700);
        assert!(text(data(&config)).contains("no endpoint keys yet"));
        fs::write(config.endpoint_keys_file(), "junk").unwrap();
        assert!(text(data(&config)).contains("chmod 600"));
        fs::set_permissions(
            config.endpoint_keys_file(),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        assert!(text(data(&config)).contains("line 1"));
        fs::remove_file(config.endpoint_keys_file()).unwrap();
        secrets::load_or_make(&config.endpoint_keys_file()).unwrap();
        assert!(text(data(&config)).contains("private to user"));
        config.store.min_free = 1 << 50;
        assert!(space(&config).is_fail());
        config.store.min_free = 0;
        assert!(!space(&config).is_fail());
        let before = fs::read_dir(folder.path()).unwrap().count();
        assert!(!syncs(folder.path()).unwrap().is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), before);
        config.server.data = folder.path().join("gone");
        assert!(data(&config).is_fail());
        assert!(text(space(&config)).contains("cannot tell"));
    }
}
