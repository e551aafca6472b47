//! The registry of connections: one [`Mailbox`] per connected reader of a log.
//!
//! A mailbox wakes its reader, which then reads the log. Only messages with TTL 0, which no log
//! holds, pass through the mailbox.

mod all;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bugle_protocol::{ChannelId, PushMessage, ReceiptSubscriptionId, Uaid};
use dashmap::DashMap;
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The log that a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// All subscriptions of a user agent: a WebSocket, or a held GET on a
    /// subscription set (RFC 8030 §6.1).
    UserAgent(Uaid),
    /// One subscription of a user agent: a held GET on it (RFC 8030 §6).
    Channel(Uaid, ChannelId),
    /// Receipts: a held GET on a receipt subscription (RFC 8030 §6.3).
    Receipts(ReceiptSubscriptionId),
}

impl Reader {
    /// The user agent whose messages it reads, and the subscription, unless it reads all of them.
    /// `None` if it reads receipts.
    pub fn messages(self) -> Option<(Uaid, Option<ChannelId>)> {
        match self {
            Self::UserAgent(uaid) => Some((uaid, None)),
            Self::Channel(uaid, channel) => Some((uaid, Some(channel))),
            Self::Receipts(_) => None,
        }
    }
}

/// The registry of connected readers.
pub struct Clients {
    connected: DashMap<Reader, Arc<Mailbox>>,
    /// Set by `close_all`; later registrations are closed immediately.
    ended: OnceLock<Ended>,
    live_queue: usize,
}

/// The mailbox of one connection.
struct Mailbox {
    reader: Reader,
    /// The address of the client.
    address: IpAddr,
    arrived: Notify,
    mail: Mutex<Mail>,
}

/// What has arrived since a mailbox was last emptied.
#[derive(Debug, Default)]
pub struct Mail {
    /// The log may have new items.
    pub log: bool,
    /// When the first of the new messages was accepted.
    pub since: Option<Instant>,
    /// Messages with TTL 0.
    pub live: VecDeque<PushMessage>,
    /// The version of a broadcast may have changed.
    pub broadcasts: bool,
    /// Why the connection must end.
    pub ended: Option<Ended>,
}

/// Why the service ends a connection. Each transport translates it to its own protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A newer connection reads the same log (WS-H-12).
    Superseded,
    /// The subscription, set or user agent was removed (RFC 8030 §7.3).
    Removed,
    /// The operator has blocked the address (`bugle admin block`).
    Blocked,
    /// The service is shutting down.
    ShuttingDown,
}

/// A registered mailbox. Dropping it unregisters the mailbox.
pub struct Registration {
    clients: Arc<Clients>,
    mailbox: Arc<Mailbox>,
}

impl Clients {
    /// An empty registry. Each mailbox queues at most `live_queue` messages with TTL 0.
    pub fn new(live_queue: usize) -> Arc<Self> {
        Arc::new(Self {
            connected: DashMap::new(),
            ended: OnceLock::new(),
            live_queue,
        })
    }

    /// Registers a connection of a client at `address`. It supersedes an older connection of the
    /// same reader, which is closed (WS-H-12).
    pub fn register(self: &Arc<Self>, reader: Reader, address: IpAddr) -> Registration {
        let mailbox = Arc::new(Mailbox {
            reader,
            address: address.to_canonical(),
            arrived: Notify::new(),
            mail: Mutex::default(),
        });
        if let Some(older) = self.connected.insert(reader, Arc::clone(&mailbox)) {
            older.close(Ended::Superseded);
        }
        // `close_all` sets this before it lists the mailboxes. Checking it after the insertion
        // therefore misses no registration.
        if let Some(why) = self.ended.get() {
            mailbox.close(*why);
        }
        Registration {
            clients: Arc::clone(self),
            mailbox,
        }
    }

    /// Wakes the readers of a channel for a message in its log, accepted at `since`.
    pub fn wake(&self, uaid: Uaid, channel: ChannelId, since: Instant) {
        for mailbox in self.message_mailboxes(uaid, channel) {
            mailbox.put(|mail| {
                mail.log = true;
                mail.since.get_or_insert(since);
            });
        }
    }

    /// Wakes the reader of a receipt subscription.
    pub fn wake_receipts(&self, id: ReceiptSubscriptionId) {
        if let Some(mailbox) = self.mailbox(Reader::Receipts(id)) {
            mailbox.put(|mail| mail.log = true);
        }
    }

    /// Queues a message with TTL 0, accepted at `since`, for a connected reader. Returns `false` if
    /// none is connected or the queues are full; the message is dropped then (RFC 8030 §5.2).
    pub fn offer(&self, uaid: Uaid, message: PushMessage, since: Instant) -> bool {
        let (channel, mut message) = (message.channel, Some(message));
        self.message_mailboxes(uaid, channel).any(|mailbox| {
            mailbox.put(|mail| {
                let fits = mail.live.len() < self.live_queue;
                if fits {
                    mail.live.extend(message.take());
                    mail.since.get_or_insert(since);
                }
                fits
            })
        })
    }

    /// Whether a reader is connected.
    pub fn has(&self, reader: Reader) -> bool {
        self.connected.contains_key(&reader)
    }

    /// Closes the connection of a reader, if it is connected.
    pub fn close(&self, reader: Reader, why: Ended) {
        if let Some(mailbox) = self.mailbox(reader) {
            mailbox.close(why);
        }
    }

    /// The mailbox of a reader. It is cloned to release the lock of the map: what is put into it
    /// wakes another task.
    fn mailbox(&self, reader: Reader) -> Option<Arc<Mailbox>> {
        Some(Arc::clone(self.connected.get(&reader)?.value()))
    }

    /// The mailboxes of the readers of a channel's messages.
    fn message_mailboxes(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> impl Iterator<Item = Arc<Mailbox>> {
        let readers = [Reader::UserAgent(uaid), Reader::Channel(uaid, channel)];
        readers.into_iter().filter_map(move |it| self.mailbox(it))
    }
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        // No critical section of this lock can panic.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put<T>(&self, put: impl FnOnce(&mut Mail) -> T) -> T {
        let put = put(&mut self.mail());
        self.arrived.notify_one();
        put
    }

    /// Keeps the reason of an earlier close.
    fn close(&self, why: Ended) {
        self.put(|mail| {
            mail.ended.get_or_insert(why);
        });
    }
}

impl Registration {
    /// Waits until something arrives, and empties the mailbox. Cancellation-safe: the contents stay
    /// in the mailbox.
    pub async fn mail(&self) -> Mail {
        self.mailbox.arrived.notified().await;
        std::mem::take(&mut self.mailbox.mail())
    }

    /// Empties the mailbox if something has arrived.
    pub fn try_mail(&self) -> Option<Mail> {
        self.mail().now_or_never()
    }

    /// The log that the connection reads.
    pub fn reader(&self) -> Reader {
        self.mailbox.reader
    }

    /// Unregisters the mailbox before it is dropped. Nothing arrives afterwards.
    pub fn unregister(&self) {
        // A newer connection of the same reader may have registered its own mailbox.
        let held = &self.mailbox;
        self.clients
            .connected
            .remove_if(&held.reader, |_, it| Arc::ptr_eq(it, held));
    }

    /// The address of the client.
    pub fn address(&self) -> IpAddr {
        self.mailbox.address
    }

    /// Why the connection must end, if that is still in the mailbox.
    pub fn closing(&self) -> Option<Ended> {
        self.mailbox.mail().ended
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.unregister();
    }
}

#[cfg(test)]
mod tests;
