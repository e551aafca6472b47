//! The audit log of changes by the admin API: log events, and the newest entries in memory for the
//! API.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bugle_protocol::UnixTime;
use futures_util::FutureExt;
use serde::Serialize;

use super::access::{Caller, Role};
use super::{Admin, AdminError};
use crate::service::Error;

/// The maximum number of entries in memory.
const MAX_ENTRIES: usize = 256;

/// The outcome of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// It is in progress.
    Asked,
    /// It succeeded.
    Done,
    /// It failed, perhaps in part.
    Failed,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The time, in milliseconds since the epoch.
    at: u64,
    /// The role of the caller.
    role: Role,
    /// Where the caller connects from.
    peer: String,
    /// The operation.
    action: &'static str,
    /// The object of the operation: a handle, a range or an id; never a capability or a key.
    subject: String,
    outcome: Outcome,
    #[serde(skip)]
    number: u64,
}

/// The newest changes since the start.
#[derive(Default)]
pub struct Audit {
    entries: Mutex<VecDeque<Entry>>,
}

/// Makes a change in a task of its own, which continues if the client hangs up. Records it as asked
/// before, and as done or failed after. `subject` must not be a capability.
///
/// # Errors
/// The error of `change`; [`Error::Unavailable`] if it panics.
pub(super) async fn audited<T, F>(
    admin: &Arc<Admin>,
    caller: &Caller,
    action: &'static str,
    subject: &str,
    change: impl FnOnce(Arc<Admin>) -> F,
) -> Result<T, AdminError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, AdminError>> + Send + 'static,
{
    let audit = &admin.audit;
    let number = audit.ask(caller, action, subject, admin.app.service.wall_clock());
    let change = change(Arc::clone(admin));
    let noting = Arc::clone(admin);
    admin
        .app
        .finish(async move {
            let changed = AssertUnwindSafe(change).catch_unwind().await;
            let changed = changed.unwrap_or_else(|_| Err(Error::Unavailable.into()));
            noting.audit.end(number, changed.is_ok());
            changed
        })
        .await
}

impl Audit {
    /// Records a completed change. `subject` must not be a capability.
    pub(super) fn note(&self, caller: &Caller, action: &'static str, subject: &str, now: UnixTime) {
        let number = self.ask(caller, action, subject, now);
        self.end(number, true);
    }

    /// Records a requested change, and returns its number.
    fn ask(&self, caller: &Caller, action: &'static str, subject: &str, now: UnixTime) -> u64 {
        let peer = caller.remote.to_string();
        tracing::info!(target: "bugle::audit", role = ?caller.role, %peer, action, subject, "asked");
        let mut entries = self.entries();
        entries.truncate(MAX_ENTRIES - 1);
        let number = entries.front().map_or(0, |newest| newest.number + 1);
        entries.push_front(Entry {
            at: now.as_millis(),
            role: caller.role,
            peer,
            action,
            subject: subject.to_owned(),
            outcome: Outcome::Asked,
            number,
        });
        number
    }

    /// Records the outcome of a change, unless newer entries have evicted it.
    fn end(&self, number: u64, is_done: bool) {
        let mut entries = self.entries();
        let Some(entry) = entries.iter_mut().find(|entry| entry.number == number) else {
            return;
        };
        entry.outcome = if is_done {
            Outcome::Done
        } else {
            Outcome::Failed
        };
        let Entry {
            role,
            peer,
            action,
            subject,
            outcome,
            ..
        } = entry.clone();
        drop(entries);
        match outcome {
            Outcome::Failed => {
                tracing::warn!(target: "bugle::audit", ?role, %peer, action, subject, "failed");
            }
            _ => tracing::info!(target: "bugle::audit", ?role, %peer, action, subject, "done"),
        }
    }

    /// The entries, newest first.
    pub fn newest(&self) -> Vec<Entry> {
        self.entries().iter().cloned().collect()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        // No panic can leave the entries inconsistent.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
