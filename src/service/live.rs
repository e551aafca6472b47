//! Messages with TTL 0 whose sender wants a receipt, while their user agent
//! has not acknowledged them. No log holds them, so this does, for a minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

/// For how long an acknowledgement is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message that was handed over, by its user agent and its id.
pub(super) type Name = (Uaid, MessageId);

/// What is waited for.
#[derive(Default)]
pub(super) struct Live {
    waiting: Mutex<HashMap<Name, (ReceiptSubscriptionId, UnixTime)>>,
    most: usize,
}

impl Live {
    /// Waits for at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            most,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<Name, (ReceiptSubscriptionId, UnixTime)>> {
        // Nothing that holds this lock can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the acknowledgement of a message; `false` when there are too
    /// many already.
    pub(super) fn add(&self, name: Name, receipt: ReceiptSubscriptionId, now: UnixTime) -> bool {
        let mut waiting = self.waiting();
        let room = waiting.len() < self.most;
        if room {
            waiting.insert(name, (receipt, now + PATIENCE));
        }
        room
    }

    /// The message was acknowledged, or was not handed over after all.
    pub(super) fn take(&self, name: Name) -> Option<ReceiptSubscriptionId> {
        self.waiting().remove(&name).map(|(receipt, _)| receipt)
    }

    /// Those that have waited for too long.
    pub(super) fn given_up(&self, now: UnixTime) -> Vec<(Name, ReceiptSubscriptionId)> {
        let mut waiting = self.waiting();
        let given_up = waiting.extract_if(|_, (_, until)| *until <= now);
        given_up
            .map(|(name, (receipt, _))| (name, receipt))
            .collect()
    }
}
