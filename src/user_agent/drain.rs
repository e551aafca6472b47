//! Reads one log for one connection, whatever its transport.
//!
//! A [`Drain`] has the reader's mailbox, its position in the log, and the window of messages in
//! flight. It reads the log only after a wake, after a read that did not reach the end, or after
//! the filter was lowered. So one wake costs one read.
//!
//! The cursor advances when a message is handed out, not when it is read. So the messages read
//! ahead can be discarded at any time: nothing is lost when [`next`](Drain::next) is cancelled,
//! when the filter changes, or when a newer connection supersedes this one.

mod log;

use std::collections::VecDeque;
use std::sync::Arc;

use bugle_protocol::window::{Credit, Window};
use bugle_protocol::{MessageId, PushMessage, Uaid, UnixTime, Urgency};
use tokio::time::{Instant, sleep_until};

use self::log::Log;
use crate::app::App;
use crate::service::registry::{Ended, Mail, Registration};
use crate::service::{Error, Handover, Outcome};
use crate::store::{Batch, Receipt};

/// Maximum of one read of the log. It bounds the memory of a connection with a long backlog.
const BATCH: Batch = Batch {
    messages: 32,
    bytes: 64 << 10,
};

/// Something to send to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one read holds 32 at most, and most are messages"
)]
pub enum Item {
    /// A push message.
    Message {
        /// The user agent whose log it is from.
        uaid: Uaid,
        /// The message.
        message: PushMessage,
        /// When and why the connection got it.
        handover: Handover,
    },
    /// The outcome of a message, for its sender.
    Receipt(Receipt),
}

/// What the transport must do next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
pub(super) enum Next {
    /// Send this item. It counts as given out.
    Item(Item),
    /// Compare the broadcasts: a version may have changed.
    Broadcasts,
    /// Nothing could be sent until the given time.
    Quiet,
    /// End the connection, even if more could be sent.
    Ended(Ended),
}

/// What the drain must wait for before it can hand out an item.
enum Blocked {
    /// Drop this message with TTL 0, which cannot be sent.
    DropFiltered(Uaid, MessageId),
    /// Read the log.
    Read(Batch),
    /// Wait for mail, but not longer than until the window reopens.
    Wait(Option<Instant>),
}

/// Items in memory that wait to be handed out.
#[derive(Default)]
struct ReadAhead {
    /// Messages with TTL 0, which no log holds.
    live: VecDeque<(PushMessage, Handover)>,
    /// The next items of the log.
    log: VecDeque<Item>,
}

/// Reads one log for one connection.
pub(super) struct Drain {
    pub(super) app: Arc<App>,
    pub(super) registration: Registration,
    log: Log,
    /// The messages in flight; `None` if the transport bounds them itself.
    window: Option<Window>,
    /// `None` while empty, because most connections are idle.
    ahead: Option<Box<ReadAhead>>,
    /// Whether the log may hold more than has been read.
    more: bool,
    broadcasts: bool,
    /// When the first new message in the log was accepted.
    accepted: Option<Instant>,
    since: UnixTime,
}

impl Drain {
    /// Starts at the beginning of the reader's log. The mailbox is already registered, so that no
    /// message between the first read and the first wake is missed. Messages below `min` are held
    /// back (RFC 8030 §5.3).
    pub(super) fn new(
        app: &Arc<App>,
        registration: Registration,
        window: Option<Window>,
        min: Urgency,
    ) -> Self {
        Self {
            since: app.service.now(),
            app: Arc::clone(app),
            log: Log::of(registration.reader(), min),
            registration,
            window,
            ahead: None,
            more: true,
            broadcasts: false,
            accepted: None,
        }
    }

    /// Returns what to do next, in this order: the end, messages with TTL 0, broadcasts, the log.
    /// Returns [`Next::Quiet`] if nothing arrives by `until`, or if the window has no credit for it.
    /// If `until` has passed, it returns without waiting for mail. Do not call it after
    /// [`Next::Ended`].
    ///
    /// Cancellation-safe: the next call returns what a cancelled one did not.
    ///
    /// Not an `async fn`, which would store its arguments twice: an idle connection waits here.
    /// Futures that do not wait for long are boxed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the log cannot be read, and [`Error::NotFound`] if a receipt
    /// subscription has ended. The next call reads the log again.
    #[expect(clippy::manual_async_fn, reason = "a block takes less memory")]
    pub(super) fn next(
        &mut self,
        until: Instant,
    ) -> impl Future<Output = Result<Next, Error>> + Send {
        async move {
            loop {
                if let Some(why) = self.check_mail() {
                    return Ok(Next::Ended(why));
                }
                let blocked = match self.next_ready(Instant::now()) {
                    Ok(next) => return Ok(next),
                    Err(blocked) => blocked,
                };
                let reopens = match blocked {
                    Blocked::DropFiltered(uaid, id) => {
                        Box::pin(self.drop_filtered(uaid, id)).await;
                        continue;
                    }
                    Blocked::Read(batch) => {
                        Box::pin(self.read(batch)).await?;
                        continue;
                    }
                    Blocked::Wait(reopens) => reopens,
                };
                let wake = reopens.map_or(until, |reopens| reopens.min(until));
                let mail = tokio::select! {
                    biased;
                    mail = self.registration.mail() => Some(mail),
                    () = sleep_until(wake) => None,
                };
                match mail {
                    Some(mail) => {
                        if let Some(why) = self.apply_mail(mail) {
                            return Ok(Next::Ended(why));
                        }
                    }
                    None if Instant::now() >= until => return Ok(self.quiet()),
                    None => {}
                }
            }
        }
    }

    /// Removes acknowledged messages from the log and from the window, whatever their codes
    /// (WS-N-9).
    pub(super) async fn acknowledge(&mut self, messages: Vec<(MessageId, Outcome)>) {
        let Some((uaid, _)) = self.registration.reader().messages() else {
            return;
        };
        self.app.service.acknowledge(uaid, &messages).await;
        let mut ids: Vec<_> = messages.into_iter().map(|(id, _)| id).collect();
        if let Some(window) = &mut self.window {
            for took in window.settle(&mut ids, Instant::now().into_std()) {
                self.app.service.metrics().ack.record(took);
            }
        }
    }

    /// Sets the minimum urgency from now on. Messages that a higher minimum held back follow.
    pub(super) fn filter(&mut self, min: Urgency) {
        self.more |= self.log.filter(min);
        // These items were read under the old filter.
        if let Some(ahead) = &mut self.ahead {
            self.more |= !ahead.log.is_empty();
            ahead.log.clear();
        }
        self.free_if_empty();
    }

    /// After a failed read, waits for a wake before reading again. All readers are woken when the
    /// store recovers.
    pub(super) fn wait_for_wake(&mut self) {
        self.more = false;
    }

    /// Empties the mailbox before each read of the log. Returns why the connection must end, if it
    /// must. While messages with TTL 0 are ahead, the mailbox is not emptied: its queue is bounded,
    /// and `ahead.live` has no bound of its own.
    fn check_mail(&mut self) -> Option<Ended> {
        let ahead = self.ahead.as_ref();
        if ahead.is_some_and(|ahead| !ahead.live.is_empty()) {
            return self.registration.closing();
        }
        let mail = self.registration.try_mail()?;
        self.apply_mail(mail)
    }

    /// Takes in the contents of the mailbox. Returns why the connection must end, if it must.
    fn apply_mail(&mut self, mail: Mail) -> Option<Ended> {
        if mail.log {
            self.more = true;
            self.accepted = self.accepted.or(mail.since);
        }
        self.broadcasts |= mail.broadcasts;
        if !mail.live.is_empty() {
            let handover = Handover::now(self.since, mail.since);
            let live = mail.live.into_iter().map(|message| (message, handover));
            self.ahead.get_or_insert_default().live.extend(live);
        }
        mail.ended
    }

    /// Returns what can be sent now from memory, or what to wait for.
    fn next_ready(&mut self, now: Instant) -> Result<Next, Blocked> {
        while let Some((message, handover)) = self.pop(|ahead| &mut ahead.live) {
            if let Some((uaid, _)) = self.registration.reader().messages() {
                return match self.passes_live(&message, now) {
                    true => Ok(Next::Item(Item::Message {
                        uaid,
                        message,
                        handover,
                    })),
                    false => Err(Blocked::DropFiltered(uaid, message.id)),
                };
            }
        }
        if std::mem::take(&mut self.broadcasts) {
            return Ok(Next::Broadcasts);
        }
        if self.ahead.is_none() && !self.more {
            return Err(Blocked::Wait(None));
        }
        let Some(batch) = self.next_batch(now) else {
            let reopens = self.window.as_ref().and_then(Window::reopens_at);
            return Err(Blocked::Wait(reopens.map(Into::into)));
        };
        while let Some(item) = self.pop(|ahead| &mut ahead.log) {
            if self.passes(&item, now) {
                return Ok(Next::Item(item));
            }
        }
        Err(match self.more {
            true => Blocked::Read(batch),
            false => Blocked::Wait(None),
        })
    }

    /// Whether a message with TTL 0 must be sent. If not, it is dropped (RFC 8030 §5.2); if so, it
    /// counts as in flight.
    fn passes_live(&mut self, message: &PushMessage, now: Instant) -> bool {
        let (now, reader) = (now.into_std(), self.registration.reader());
        let is_wanted = self.log.lets_pass(reader, message);
        let Some(window) = &mut self.window else {
            return is_wanted;
        };
        let fits = is_wanted && window.may_send_live(now);
        if fits {
            window.sent(message.id, message.size(), now);
        }
        fits
    }

    /// Advances past the next item of the log. Returns whether it must be sent: it may have been
    /// sent under another filter, or have expired since it was read (RFC 8030 §5.2).
    fn passes(&mut self, item: &Item, now: Instant) -> bool {
        let is_new = self.log.pass(item);
        if let Item::Message { message, .. } = item {
            let service = &self.app.service;
            if !is_new || message.expires_at <= service.now() {
                return false;
            }
            service.give_out(message);
            if let Some(window) = &mut self.window {
                window.sent(message.id, message.size(), now.into_std());
            }
        }
        is_new
    }

    /// The maximum of the next read; `None` while the window is full.
    fn next_batch(&mut self, now: Instant) -> Option<Batch> {
        let Some(window) = &mut self.window else {
            return Some(BATCH);
        };
        let Credit { messages, bytes } = window.credit_at(now.into_std())?;
        Some(Batch {
            messages: messages.min(BATCH.messages),
            bytes: bytes.min(BATCH.bytes),
        })
    }

    /// Reads the log once.
    async fn read(&mut self, batch: Batch) -> Result<(), Error> {
        let handed = (self.since, self.accepted);
        let (service, reader) = (&self.app.service, self.registration.reader());
        let page = self.log.read(service, reader, batch, handed).await?;
        self.accepted = None;
        self.more = page.more;
        if !page.items.is_empty() {
            self.ahead.get_or_insert_default().log = page.items.into();
        }
        Ok(())
    }

    /// Drops a message with TTL 0. This runs in a task of its own from the first poll on, because
    /// the sender's receipt must not be lost if the caller is cancelled.
    async fn drop_filtered(&self, uaid: Uaid, id: MessageId) {
        let app = Arc::clone(&self.app);
        let passed = self.app.finish(async move {
            app.service.drop_filtered(uaid, id).await;
            Ok::<_, Error>(())
        });
        // The service counts and logs a failure.
        let _ = passed.await;
    }

    fn quiet(&mut self) -> Next {
        if let Some(window) = &mut self.window {
            window.forget(Instant::now().into_std());
        }
        Next::Quiet
    }

    fn pop<T>(&mut self, queue: impl FnOnce(&mut ReadAhead) -> &mut VecDeque<T>) -> Option<T> {
        let item = queue(self.ahead.as_deref_mut()?).pop_front();
        self.free_if_empty();
        item
    }

    fn free_if_empty(&mut self) {
        let ahead = self.ahead.as_deref();
        if ahead.is_some_and(|ahead| ahead.live.is_empty() && ahead.log.is_empty()) {
            self.ahead = None;
        }
    }
}

#[cfg(test)]
mod tests;
