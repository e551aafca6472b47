//! What an engine tells of its changes, so that no effect of a change depends
//! on its caller: a request may be cancelled while the disk is slow, and the
//! change is made all the same.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bugle_protocol::{ChannelId, MessageId, ReceiptSubscriptionId, Uaid};

/// Something has changed in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message for this channel was stored.
    Message {
        /// In whose log it is.
        uaid: Uaid,
        /// For which channel.
        channel: ChannelId,
    },
    /// Receipts were left in a receipt subscription, or it has ended.
    Receipts(ReceiptSubscriptionId),
    /// A subscription has ended, and its readers with it
    /// ([`Readers::Close`]).
    Ended {
        /// Whose it was.
        uaid: Uaid,
        /// Its channel.
        channel: ChannelId,
        /// Whether its user agent has no subscription left.
        is_last: bool,
    },
    /// A broadcast has another version, or was removed.
    Broadcasts,
    /// The engine goes on after a failure: any of the above may have been
    /// missed, so all readers look again.
    Gap,
}

/// What becomes of the connections that read a subscription which ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// They stay: the user agent has ended it over its own WebSocket.
    Stay,
    /// They are closed, by [`Event::Ended`].
    Close,
}

/// Learns of the changes in a store.
///
/// Called from the thread that makes changes durable: an implementation must be
/// cheap and must not block. A panic in it is logged and harms nobody else.
pub trait Listener: Send + Sync + 'static {
    /// A change is made, and as durable as the contract of its method says. The
    /// caller of that method has not been answered yet, and may be gone.
    fn changed(&self, event: Event);
}

/// Called with the id of a message that is accepted, under the rules of
/// [`Listener::changed`] and before that.
pub type OnAccepted = Box<dyn FnOnce(MessageId) + Send>;

/// The listener of an engine.
#[derive(Clone)]
pub(super) struct Notifier(Arc<dyn Listener>);

/// What is told of one change.
#[derive(Default)]
pub(super) struct News {
    pub(super) accepted: Option<(MessageId, OnAccepted)>,
    pub(super) events: Vec<Event>,
}

impl Notifier {
    pub(super) fn new(listener: Arc<dyn Listener>) -> Self {
        Self(listener)
    }

    /// Tells of a change.
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
    /// That a subscription has ended.
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

    /// That a user agent has ended with all its subscriptions, which are of
    /// these channels, and their readers with them.
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

    /// Adds that these receipt subscriptions have something new.
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

/// Listens to nothing.
#[cfg(test)]
pub(super) struct Nobody;

#[cfg(test)]
impl Listener for Nobody {
    fn changed(&self, _: Event) {}
}
