//! The messages in flight on one connection, whatever its transport: sent and not acknowledged.
//!
//! Two limits apply. The *window* (`window_messages`, `window_bytes`) keeps delivery in step with a
//! user agent that acknowledges at once. After `window_patience` without an acknowledgement it is
//! reopened, because some user agents collect their acknowledgements and some send none (WS-N-13,
//! WS-N-18). The *total* (`unacknowledged`) counts over all reopened windows, and a message leaves
//! it only by an acknowledgement or after `ack_patience`. So the acknowledgements that a user agent
//! collects in that time fit into one `ack` frame ([`acks_in`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::MessageId;

/// Bytes of an `ack` frame per message: `version` and `channelID` take 54 and 36, names and
/// punctuation 41, or 47 with a space after each colon and comma. The rest is a reserve for unknown
/// fields.
const ACK_BYTES: usize = 160;

/// Bytes of an `ack` frame around its updates.
const ENVELOPE: usize = 64;

/// How many messages one `ack` frame of at most `frame_bytes` bytes can acknowledge.
pub const fn acks_in(frame_bytes: usize) -> usize {
    frame_bytes.saturating_sub(ENVELOPE) / ACK_BYTES
}

/// The size of an `ack` frame for `messages` messages, in bytes: the inverse of [`acks_in`].
pub const fn ack_frame_bytes(messages: usize) -> usize {
    messages.saturating_mul(ACK_BYTES).saturating_add(ENVELOPE)
}

/// The limits of the messages in flight on one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSettings {
    /// Maximum number of messages in flight: sent and not acknowledged (WS-N-13).
    pub window_messages: usize,
    /// Maximum number of bytes in flight.
    pub window_bytes: usize,
    /// How long a full window waits for an acknowledgement before it is reopened: some user agents
    /// never acknowledge (WS-N-18).
    pub window_patience: Duration,
    /// Maximum number of messages in flight over all reopened windows: as many as one `ack` frame
    /// can acknowledge ([`acks_in`]). At least 1.
    pub unacknowledged: usize,
    /// How long a user agent may collect acknowledgements. A message sent longer ago no longer
    /// counts as in flight.
    pub ack_patience: Duration,
}

/// How much may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Messages.
    pub messages: usize,
    /// Bytes; a single message may exceed them.
    pub bytes: usize,
}

/// The messages in flight. It allocates nothing while there are none, because most connections are
/// idle.
#[derive(Debug)]
pub struct Window {
    settings: Arc<WindowSettings>,
    flight: Option<Box<Flight>>,
}

/// At least one message in flight.
#[derive(Debug)]
struct Flight {
    /// In the order of sending.
    sent: VecDeque<Sent>,
    /// Number of the oldest messages that no longer count in the window, because it was reopened
    /// after them.
    passed: usize,
    /// Total bytes of the other messages.
    bytes: usize,
    /// When the last acknowledgement arrived, or the window was last filled.
    moved: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    id: MessageId,
    bytes: usize,
    at: Instant,
}

impl Window {
    /// A window with nothing in flight.
    pub const fn new(settings: Arc<WindowSettings>) -> Self {
        let flight = None;
        Self { settings, flight }
    }

    /// How much may be sent now; `None` if a limit is reached.
    pub fn credit(&self) -> Option<Credit> {
        let (counted, bytes) = match &self.flight {
            Some(flight) => (flight.sent.len() - flight.passed, flight.bytes),
            None => (0, 0),
        };
        let messages = self.settings.window_messages.saturating_sub(counted);
        let messages = messages.min(self.total_credit());
        let bytes = self.settings.window_bytes.saturating_sub(bytes);
        (messages > 0 && bytes > 0).then_some(Credit { messages, bytes })
    }

    /// Like [`credit`](Self::credit), after reopening the window if it is time.
    pub fn credit_at(&mut self, now: Instant) -> Option<Credit> {
        // Credit in the total may leave a full window, which is then due too.
        for _ in 0..2 {
            if self.credit().is_none() {
                self.reopen(now);
            }
        }
        self.credit()
    }

    /// Whether a message with TTL 0 may be sent now. It may exceed the window, but must not exceed
    /// what can be acknowledged.
    pub fn may_send_live(&mut self, now: Instant) -> bool {
        self.forget(now);
        self.total_credit() > 0
    }

    /// How many messages may be sent before the total is reached.
    fn total_credit(&self) -> usize {
        let sent = self.flight.as_ref().map_or(0, |flight| flight.sent.len());
        self.settings.unacknowledged.max(1).saturating_sub(sent)
    }

    /// Records a sent message.
    pub fn sent(&mut self, id: MessageId, bytes: usize, now: Instant) {
        let has_credit = self.credit().is_some();
        let flight = self.flight.get_or_insert_with(|| {
            Box::new(Flight {
                sent: VecDeque::new(),
                passed: 0,
                bytes: 0,
                moved: now,
            })
        });
        // Messages with TTL 0 bypass a full window; they must not extend its wait.
        if has_credit {
            flight.moved = now;
        }
        let at = now;
        flight.sent.push_back(Sent { id, bytes, at });
        flight.bytes += bytes;
    }

    /// Removes acknowledged messages, and returns how long each was in flight. Ignores ids that are
    /// not in flight. Sorts `ids`, so that one pass over the window suffices.
    pub fn settle(&mut self, ids: &mut [MessageId], now: Instant) -> Vec<Duration> {
        let mut took = Vec::new();
        if let Some(flight) = self.flight.as_deref_mut() {
            ids.sort_unstable();
            let (mut at, passed) = (0, flight.passed);
            flight.sent.retain(|it| {
                let is_settled = ids.binary_search(&it.id).is_ok();
                if is_settled {
                    took.push(now.duration_since(it.at));
                    match at < passed {
                        true => flight.passed -= 1,
                        false => flight.bytes -= it.bytes,
                    }
                }
                at += 1;
                !is_settled
            });
            if !took.is_empty() {
                flight.moved = now;
            }
        }
        self.free_if_empty();
        took
    }

    /// When [`credit_at`](Self::credit_at) returns credit again; `None` if it does now.
    pub fn reopens_at(&self) -> Option<Instant> {
        let flight = self.flight.as_ref()?;
        match flight.sent.front() {
            Some(oldest) if self.total_credit() == 0 => {
                Some(oldest.at + self.settings.ack_patience)
            }
            _ if self.credit().is_none() => Some(flight.moved + self.settings.window_patience),
            _ => None,
        }
    }

    /// Reopens the window or the total, if it is time.
    fn reopen(&mut self, now: Instant) {
        if self.reopens_at().is_none_or(|at| at > now) {
            return;
        }
        if self.total_credit() == 0 {
            self.forget(now);
        } else if let Some(flight) = self.flight.as_deref_mut() {
            flight.passed = flight.sent.len();
            flight.bytes = 0;
            flight.moved = now;
        }
    }

    /// Stops waiting for acknowledgements of messages sent `ack_patience` ago or earlier.
    pub fn forget(&mut self, now: Instant) {
        let Some(flight) = self.flight.as_deref_mut() else {
            return;
        };
        while let Some(oldest) = flight.sent.front().copied()
            && oldest.at + self.settings.ack_patience <= now
        {
            flight.sent.pop_front();
            match flight.passed.checked_sub(1) {
                Some(passed) => flight.passed = passed,
                None => flight.bytes -= oldest.bytes,
            }
        }
        self.free_if_empty();
    }

    fn free_if_empty(&mut self) {
        if self
            .flight
            .as_ref()
            .is_some_and(|flight| flight.sent.is_empty())
        {
            self.flight = None;
        }
    }
}
