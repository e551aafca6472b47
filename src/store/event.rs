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
pub(super) struct News {
    pub(super) accepted: Option<(MessageId, OnAccepted)>,
    pub(super) events: Vec<Event>,
}

impl Notifier {
    pub(super) fn new(listener: Arc<dyn Listener>) -> Self {
        Self(listener)
    }

    /// Sends the news of a change, and catches panics of its receivers.
    pub(super) fn tell(&self, news: News) {
        let told = catch_unwind(AssertUnwindSafe(|| {
            if let Some((id, accepted)) = news.accepted {
                accepted(id);
            }
            for event in news.events {
                self.0.changed(event);
            }
        }));
        if told.is_err() {
            tracing::error!("the listener of the store panicked: a reader may not have been woken");
        }
    }
}

impl From<Event> for News {
    fn from(event: Event) -> Self {
        Self {
            accepted: None,
            events: vec![event],
        }
    }
}

impl News {
    /// Returns the news that a subscription has ended.
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

    /// Returns the news that a user agent has ended with all its subscriptions, which have these
    /// channels, and that their readers must close.
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

    /// Adds that these receipt subscriptions have changed.
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

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News")
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// A listener that ignores all events.
#[cfg(test)]
pub(super) struct Nobody;

#[cfg(test)]
impl Listener for Nobody {
    fn changed(&self, _: Event) {}
}
