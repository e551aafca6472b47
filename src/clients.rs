//! Who is connected: one [`Mailbox`] for each reader of a log.
//!
//! A mailbox says *that* there is something in the log; the log says *what*.
//! Only messages with TTL 0, which no log holds, travel through it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bugle_protocol::session::Close;
use bugle_protocol::{ChannelId, PushMessage, ReceiptSubscriptionId, Uaid};
use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

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

/// The readers that are connected here.
pub struct Clients {
    connected: DashMap<Reader, Arc<Mailbox>>,
    /// Set when all are told to end: those who come later are told at once.
    ended: OnceLock<Close>,
    live_queue: usize,
}

/// Where a connection is told what to look at.
#[derive(Default)]
pub struct Mailbox {
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
    pub close: Option<Close>,
}

/// A registered mailbox; unregistered when dropped.
pub struct Registration {
    clients: Arc<Clients>,
    reader: Reader,
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

    /// Registers a connection. An older one that reads the same is told to end
    /// (WS-H-12).
    pub fn register(self: &Arc<Self>, reader: Reader) -> Registration {
        let mailbox = Arc::new(Mailbox::default());
        if let Some(older) = self.connected.insert(reader, Arc::clone(&mailbox)) {
            older.put(|mail| mail.close = Some(Close::Superseded));
        }
        // Looked at after the mailbox is in, as it is set before they are told.
        if let Some(close) = self.ended.get() {
            mailbox.put(|mail| mail.close = Some(close.clone()));
        }
        Registration {
            clients: Arc::clone(self),
            reader,
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

    /// Tells the connection of a reader to end, if there is one.
    pub fn close(&self, reader: Reader, close: Close) {
        self.with(reader, |mailbox| {
            mailbox.put(|mail| mail.close = Some(close));
        });
    }

    /// Says to all connections that a broadcast may have another version.
    pub fn announce(&self) {
        for entry in &self.connected {
            entry.value().put(|mail| mail.broadcasts = true);
        }
    }

    /// Says to all connections that whatever they read may have changed.
    pub fn wake_all(&self) {
        for entry in &self.connected {
            entry.value().put(|mail| {
                mail.log = true;
                mail.broadcasts = true;
            });
        }
    }

    /// Tells all connections to end, those that are here and those that come.
    pub fn close_all(&self, close: &Close) {
        // The first reason counts.
        let _ = self.ended.set(close.clone());
        for entry in &self.connected {
            entry.value().put(|mail| mail.close = Some(close.clone()));
        }
    }

    /// The same, spread evenly over `window` in the order of the registry,
    /// which is a random one: they come back, and not all at one time. Few are
    /// told sooner, a millisecond apart.
    pub async fn close_within(&self, close: &Close, window: Duration) {
        const APART: Duration = Duration::from_millis(1);
        const STEP: Duration = Duration::from_millis(10);
        let all: Vec<_> = self
            .connected
            .iter()
            .map(|it| Arc::clone(it.value()))
            .collect();
        let most = APART.saturating_mul(u32::try_from(all.len()).unwrap_or(u32::MAX));
        let steps = window.min(most).as_millis() / STEP.as_millis();
        let at_once = all
            .len()
            .div_ceil(usize::try_from(steps).unwrap_or(usize::MAX).max(1));
        for told in all.chunks(at_once.max(1)) {
            for mailbox in told {
                mailbox.put(|mail| mail.close = Some(close.clone()));
            }
            if steps > 0 {
                sleep(STEP).await;
            }
        }
        // Who has come meanwhile.
        self.close_all(close);
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
}

impl Registration {
    /// Waits until something has arrived, and empties the mailbox. Safe to
    /// cancel: what is not taken stays.
    pub async fn mail(&self) -> Mail {
        self.mailbox.arrived.notified().await;
        std::mem::take(&mut self.mailbox.mail())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // A newer connection of the same user agent has its own mailbox here.
        self.clients
            .connected
            .remove_if(&self.reader, |_, held| Arc::ptr_eq(held, &self.mailbox));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UAID: Uaid = Uaid::from_bytes([1; 16]);
    const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
    const READER: Reader = Reader::UserAgent(UAID);

    #[tokio::test]
    async fn wakes_are_kept_and_melt_into_one() {
        let clients = Clients::new(1);
        let registration = clients.register(READER);
        clients.wake(UAID, CHANNEL, Instant::now());
        clients.wake(UAID, CHANNEL, Instant::now());
        assert!(registration.mail().await.log);
        let nothing = tokio::time::timeout(Duration::ZERO, registration.mail()).await;
        assert!(nothing.is_err());
    }

    #[tokio::test]
    async fn all_can_be_told_to_look_again() {
        let clients = Clients::new(1);
        let readers = [READER, Reader::Channel(UAID, CHANNEL)];
        let registrations = readers.map(|reader| clients.register(reader));
        clients.wake_all();
        for registration in registrations {
            let mail = registration.mail().await;
            assert!(mail.log && mail.broadcasts);
        }
    }

    #[tokio::test]
    async fn the_newest_connection_wins_and_a_late_end_of_the_older_harms_nothing() {
        let clients = Clients::new(1);
        let older = clients.register(READER);
        let newer = clients.register(READER);
        assert_eq!(older.mail().await.close, Some(Close::Superseded));
        drop(older);
        clients.wake(UAID, CHANNEL, Instant::now());
        assert!(newer.mail().await.log);
        drop(newer);
        assert!(clients.connected.is_empty());
    }

    #[tokio::test]
    async fn who_comes_when_all_are_told_to_end_is_told_too() {
        let clients = Clients::new(1);
        let before = clients.register(READER);
        clients.close_all(&Close::GoingAway);
        let after = clients.register(Reader::Channel(UAID, CHANNEL));
        for registration in [before, after] {
            assert_eq!(registration.mail().await.close, Some(Close::GoingAway));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_are_told_to_end_spread_over_the_window() {
        let clients = Clients::new(1);
        let all: Vec<_> = (0..1000_u16)
            .map(|index| {
                let mut uaid = [0; 16];
                uaid[..2].copy_from_slice(&index.to_be_bytes());
                clients.register(Reader::UserAgent(Uaid::from_bytes(uaid)))
            })
            .collect();
        let told = || {
            all.iter()
                .filter(|it| it.mailbox.mail().close.is_some())
                .count()
        };
        for (window, few, half) in [(400, 25, 500), (3_600_000, 10, 500)] {
            for registration in &all {
                registration.mailbox.mail().close = None;
            }
            let closing = clients.close_within(&Close::GoingAway, Duration::from_millis(window));
            let looking = async {
                sleep(Duration::from_millis(5)).await;
                assert_eq!(told(), few, "at first");
                // The longer window is cut to a millisecond for each.
                let middle = window.min(1000) / 2 - 10;
                sleep(Duration::from_millis(middle)).await;
                assert_eq!(told(), half, "in the middle");
            };
            tokio::join!(closing, looking);
            assert_eq!(told(), 1000, "at the end");
        }
    }
}
