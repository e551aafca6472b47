//! The limit of open files of the test process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the file descriptor limit; this process holds both ends of each connection.
pub fn raise_file_limit(needed: u64) {
    let most = getrlimit(Resource::Nofile).maximum;
    let enough = most.is_none_or(|most| most >= needed);
    assert!(enough, "`ulimit -Hn` is {most:?}; this needs {needed}");
    let all = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, all).unwrap();
}
