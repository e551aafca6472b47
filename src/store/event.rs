//! Events, by which an engine reports its changes. No effect of a change depends on its caller: a
//! request may be cancelled while the disk is slow, and the change still happens.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bugle_protocol::{ChannelId, MessageId, ReceiptSubscriptionId, Uaid};

/// A change in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message for this channel was stored.
    Message {
        /// The user agent of its log.
        uaid: Uaid,
        /// The channel.
        channel: ChannelId,
    },
    /// A receipt subscription has new receipts, or has ended.
    Receipts(ReceiptSubscriptionId),
    /// A subscription has ended, and connections that read it must close ([`Readers::Close`]).
    Ended {
        /// Its user agent.
        uaid: Uaid,
        /// Its channel.
        channel: ChannelId,
        /// Whether its user agent has no subscription left.
        is_last: bool,
    },
    /// A broadcast has a new version, or was removed.
    Broadcasts,
    /// The engine has recovered from a failure. Any other event may have been missed, so all
    /// readers must read again.
    Gap,
}

/// What happens to connections that read a subscription when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// They stay open, because the user agent ended it over its own WebSocket.
    Stay,
    /// [`Event::Ended`] closes them.
    Close,
}

/// Receives the changes of a store.
///
/// Called on the thread that makes changes durable, so an implementation must be cheap and must not
/// block. A panic in it is logged, and affects no other caller.
pub trait Listener: Send + Sync + 'static {
    /// Called when a change is as durable as the contract of its method says. The caller of that
    /// method has not been answered yet, and may have been cancelled.
    fn changed(&self, event: Event);
}

/// Called with the id of an accepted message, under the rules of [`Listener::changed`] and before
/// it.
pub type OnAccepted = Box<dyn FnOnce(MessageId) + Send>;

/// Calls the listener of an engine.
#[derive(Clone)]
pub(super) struct Notifier(Arc<dyn Listener>);

/// The callback and the events of one change.
#[derive(Default)]
pub(super) struct Notice {
    pub(super) accepted: Option<(MessageId, OnAccepted)>,
    pub(super) events: Vec<Event>,
}

impl Notifier {
    pub(super) fn new(listener: Arc<dyn Listener>) -> Self {
        Self(listener)
    }

    /// Sends the notice of a change, and catches panics of its receivers.
    pub(super) fn notify(&self, notice: Notice) {
        let notified = catch_unwind(AssertUnwindSafe(|| {
            if let Some((id, accepted)) = notice.accepted {
                accepted(id);
            }
            for event in notice.events {
                self.0.changed(event);
            }
        }));
        if notified.is_err() {
            tracing::error!("the listener of the store panicked: a reader may not have been woken");
        }
    }
}

impl From<Event> for Notice {
    fn from(event: Event) -> Self {
        Self {
            accepted: None,
            events: vec![event],
        }
    }
}

impl Notice {
    /// Returns the notice of the end of a subscription.
    pub(super) fn ended(uaid: Uaid, channel: ChannelId, is_last: bool, readers: Readers) -> Self {
        match readers {
            Readers::Stay => Self::default(),
            Readers::Close => Self::from(Event::Ended {
                uaid,
                channel,
                is_last,
            }),
        }
    }

    /// Returns the notice of the end of a user agent with all its subscriptions, which have these
    /// channels. It closes their readers.
    pub(super) fn ended_with(uaid: Uaid, channels: &[ChannelId]) -> Self {
        let Some((last, others)) = channels.split_last() else {
            return Self::default();
        };
        let ended = |channel: &ChannelId, is_last| Event::Ended {
            uaid,
            channel: *channel,
            is_last,
        };
        let others = others.iter().map(|channel| ended(channel, false));
        Self {
            accepted: None,
            events: others.chain([ended(last, true)]).collect(),
        }
    }

    /// Adds the change of these receipt subscriptions.
    pub(super) fn receipts(mut self, ids: impl IntoIterator<Item = ReceiptSubscriptionId>) -> Self {
        self.events.extend(ids.into_iter().map(Event::Receipts));
        self
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notifier")
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notice")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// A listener that keeps the events it receives, in order.
#[cfg(test)]
#[derive(Default)]
pub(super) struct EventRecorder(std::sync::Mutex<Vec<Event>>);

#[cfg(test)]
impl Listener for EventRecorder {
    fn changed(&self, event: Event) {
        self.events().push(event);
    }
}

#[cfg(test)]
impl EventRecorder {
    /// Takes the events since the last call.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events())
    }

    /// Takes the receipt subscriptions with events since the last call, each once.
    pub(super) fn take_receipts(&self) -> Vec<ReceiptSubscriptionId> {
        let events = self.take().into_iter();
        let receipts = events.filter_map(|event| match event {
            Event::Receipts(id) => Some(id),
            _ => None,
        });
        let mut receipts: Vec<_> = receipts.collect();
        receipts.sort_unstable();
        receipts.dedup();
        receipts
    }

    fn events(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A listener that ignores all events.
#[cfg(test)]
pub(super) struct IgnoreEvents;

#[cfg(test)]
impl Listener for IgnoreEvents {
    fn changed(&self, _: Event) {}
}
