//! Who changed what over the admin API: in the log, and the newest of it in
//! memory for the API itself.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_protocol::UnixTime;
use serde::Serialize;

use super::access::{Caller, Role};

/// How many entries the API shows.
const SHOWN: usize = 256;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, in milliseconds since the epoch.
    at: u64,
    /// With which role.
    role: Role,
    /// From where.
    peer: String,
    /// Which operation.
    action: &'static str,
    /// On what: a handle, a range, an id; never a capability or a key.
    subject: String,
}

/// The newest changes since the start.
#[derive(Default)]
pub struct Audit {
    entries: Mutex<VecDeque<Entry>>,
}

impl Audit {
    /// Notes a change that was made. `subject` must be no capability.
    pub fn note(&self, caller: &Caller, action: &'static str, subject: &str, now: UnixTime) {
        let peer = caller.remote.to_string();
        tracing::info!(target: "bugle::audit", role = ?caller.role, %peer, action, subject, "changed");
        let mut entries = self.entries();
        entries.truncate(SHOWN - 1);
        entries.push_front(Entry {
            at: now.as_millis(),
            role: caller.role,
            peer,
            action,
            subject: subject.to_owned(),
        });
    }

    /// The entries, the newest first.
    pub fn newest(&self) -> Vec<Entry> {
        self.entries().iter().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // Nothing that holds this lock can panic half-way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
