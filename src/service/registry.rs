//! Who is connected: one [`Mailbox`] for each reader of a log.
//!
//! A mailbox says *that* there is something in the log; the log says *what*.
//! Only messages with TTL 0, which no log holds, travel through it.

mod all;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bugle_protocol::{ChannelId, PushMessage, ReceiptSubscriptionId, Uaid};
use dashmap::DashMap;
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// All subscriptions of a user agent: a WebSocket, or a held GET on a
    /// subscription set (RFC 8030 §6.1).
    UserAgent(Uaid),
    /// One of them: a held GET on a subscription (RFC 8030 §6).
    Channel(Uaid, ChannelId),
    /// Receipts: a held GET on a receipt subscription (RFC 8030 §6.3).
    Receipts(ReceiptSubscriptionId),
}

impl Reader {
    /// Whose messages it reads, and of which subscription, if it is one; `None`
    /// for receipts.
    pub fn messages(self) -> Option<(Uaid, Option<ChannelId>)> {
        match self {
            Self::UserAgent(uaid) => Some((uaid, None)),
            Self::Channel(uaid, channel) => Some((uaid, Some(channel))),
            Self::Receipts(_) => None,
        }
    }
}

/// The readers that are connected here.
pub struct Clients {
    connected: DashMap<Reader, Arc<Mailbox>>,
    /// Set by `close_all`; later registrations are closed immediately.
    ended: OnceLock<Ended>,
    live_queue: usize,
}

/// Where a connection is told what to look at.
struct Mailbox {
    reader: Reader,
    /// Where the client of the connection is.
    address: IpAddr,
    arrived: Notify,
    mail: Mutex<Mail>,
}

/// What has arrived since a mailbox was last emptied.
#[derive(Debug, Default)]
pub struct Mail {
    /// There may be something new in the log.
    pub log: bool,
    /// When the first of the messages was accepted that it is about.
    pub since: Option<Instant>,
    /// Messages with TTL 0.
    pub live: VecDeque<PushMessage>,
    /// A broadcast may have another version.
    pub broadcasts: bool,
    /// The connection is to end.
    pub ended: Option<Ended>,
}

/// Why the service ends a connection. Each transport has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The user agent has connected again (WS-H-12).
    Superseded,
    /// What was read is removed (RFC 8030 §7.3).
    Removed,
    /// The operator has blocked the address (`bugle admin block`).
    Blocked,
    /// The service stops or restarts.
    ShuttingDown,
}

/// A registered mailbox; unregistered when dropped.
pub struct Registration {
    clients: Arc<Clients>,
    mailbox: Arc<Mailbox>,
}

impl Clients {
    /// None connected; each may have `live_queue` messages of TTL 0 waiting.
    pub fn new(live_queue: usize) -> Arc<Self> {
        Arc::new(Self {
            connected: DashMap::new(),
            ended: OnceLock::new(),
            live_queue,
        })
    }

    /// Registers a connection of a client at `address`. An older one that reads
    /// the same is closed (WS-H-12).
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
        // Looked at after the mailbox is in, as it is set before they are told.
        if let Some(why) = self.ended.get() {
            mailbox.close(*why);
        }
        Registration {
            clients: Arc::clone(self),
            mailbox,
        }
    }

    /// Says that there is something new in the log of this channel, accepted at
    /// `since`.
    pub fn wake(&self, uaid: Uaid, channel: ChannelId, since: Instant) {
        for reader in [Reader::UserAgent(uaid), Reader::Channel(uaid, channel)] {
            self.with(reader, |mailbox| {
                mailbox.put(|mail| {
                    mail.log = true;
                    mail.since.get_or_insert(since);
                });
            });
        }
    }

    /// Says that there are new receipts.
    pub fn wake_receipts(&self, id: ReceiptSubscriptionId) {
        self.with(Reader::Receipts(id), |mailbox| {
            mailbox.put(|mail| mail.log = true);
        });
    }

    /// Hands over a message that is not stored; `false` when nobody is there
    /// or too many are waiting, and the message is gone (RFC 8030 §5.2). It was
    /// accepted at `since`.
    pub fn offer(&self, uaid: Uaid, message: PushMessage, since: Instant) -> bool {
        let (channel, mut message) = (message.channel, Some(message));
        [Reader::UserAgent(uaid), Reader::Channel(uaid, channel)]
            .into_iter()
            .any(|reader| {
                let offered = self.with(reader, |mailbox| {
                    mailbox.put(|mail| {
                        let room = mail.live.len() < self.live_queue;
                        if room {
                            mail.live.extend(message.take());
                            mail.since.get_or_insert(since);
                        }
                        room
                    })
                });
                offered.unwrap_or(false)
            })
    }

    /// Whether a reader is connected.
    pub fn has(&self, reader: Reader) -> bool {
        self.connected.contains_key(&reader)
    }

    /// Closes the connection of a reader, if there is one.
    pub fn close(&self, reader: Reader, why: Ended) {
        self.with(reader, |mailbox| mailbox.close(why));
    }

    fn with<T>(&self, reader: Reader, tell: impl FnOnce(&Mailbox) -> T) -> Option<T> {
        // Not under the map's lock: telling wakes another task.
        let mailbox = Arc::clone(self.connected.get(&reader)?.value());
        Some(tell(&mailbox))
    }
}

impl Mailbox {
    fn mail(&self) -> MutexGuard<'_, Mail> {
        // Nothing that holds this lock can panic half-way.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put<T>(&self, put: impl FnOnce(&mut Mail) -> T) -> T {
        let put = put(&mut self.mail());
        self.arrived.notify_one();
        put
    }

    /// The first reason counts.
    fn close(&self, why: Ended) {
        self.put(|mail| {
            mail.ended.get_or_insert(why);
        });
    }
}

impl Registration {
    /// Waits until something has arrived, and empties the mailbox. Safe to
    /// cancel: what is not taken stays.
    pub async fn mail(&self) -> Mail {
        self.mailbox.arrived.notified().await;
        std::mem::take(&mut self.mailbox.mail())
    }

    /// Empties the mailbox, if something has arrived.
    pub fn try_mail(&self) -> Option<Mail> {
        self.mail().now_or_never()
    }

    /// What the connection reads.
    pub fn reader(&self) -> Reader {
        self.mailbox.reader
    }

    /// Unregisters the mailbox before it is dropped: nothing more arrives.
    pub fn unregister(&self) {
        // A newer connection of the same user agent has its own mailbox here.
        let held = &self.mailbox;
        self.clients
            .connected
            .remove_if(&held.reader, |_, it| Arc::ptr_eq(it, held));
    }

    /// Where the client of the connection is.
    pub fn address(&self) -> IpAddr {
        self.mailbox.address
    }

    /// Why the connection was told to end, if it has not taken that out yet.
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
