//! What comes next of one log, for whatever transport.
//!
//! A [`Drain`] is one reader: its mailbox, how far it has read, and what may be
//! in flight. It reads the log only when it is woken, when a read has left
//! something out, or when the filter is lowered. So one wake costs one read.
//!
//! The cursor passes a message when that is handed out, not when it is read. So
//! what was read ahead may be thrown away at any time: nothing is lost when
//! [`next`](Drain::next) is cancelled, when the filter changes, or when a newer
//! connection takes over.

mod log;

use std::collections::VecDeque;
use std::sync::Arc;

use bugle_protocol::window::{Room, Window};
use bugle_protocol::{MessageId, PushMessage, Uaid, UnixTime, Urgency};
use tokio::time::{Instant, sleep_until};

use self::log::Log;
use crate::app::App;
use crate::service::registry::{Ended, Mail, Registration};
use crate::service::{Error, Handover, Outcome};
use crate::store::{Batch, Receipt};

/// One read of the log: what is in memory at one time for a connection that
/// has much to receive.
const BATCH: Batch = Batch {
    messages: 32,
    bytes: 64 << 10,
};

/// Something that a reader is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one read holds 32 at most, and most are messages"
)]
pub enum Item {
    /// A push message.
    Message {
        /// In whose log it is.
        uaid: Uaid,
        /// The message.
        message: PushMessage,
        /// How it has come to the connection.
        handover: Handover,
    },
    /// What became of a message.
    Receipt(Receipt),
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
pub(super) enum Next {
    /// This, to be sent. It counts as given out.
    Item(Item),
    /// A broadcast may have another version.
    Broadcasts,
    /// Nothing until the time that was given.
    Quiet,
    /// The connection is to end, whatever else there is.
    Ended(Ended),
}

/// What has to be waited for before something can be given.
enum Pause {
    /// Drop this message with TTL 0.
    PassOver(Uaid, MessageId),
    /// Read the log.
    Read(Batch),
    /// Wait for mail, and at most until the window reopens.
    Wait(Option<Instant>),
}

/// What is in memory to be handed out.
#[derive(Default)]
struct Ahead {
    /// Messages with TTL 0, which no log holds.
    live: VecDeque<(PushMessage, Handover)>,
    /// The next items of the log.
    log: VecDeque<Item>,
}

/// One reader of one log.
pub(super) struct Drain {
    pub(super) app: Arc<App>,
    pub(super) registration: Registration,
    log: Log,
    /// What is in flight; `None` where the transport has a bound of its own.
    window: Option<Window>,
    /// `None` while there is nothing: idle connections are many.
    ahead: Option<Box<Ahead>>,
    /// Whether the log may hold more than was read.
    more: bool,
    broadcasts: bool,
    /// When the first of what is new in the log was accepted.
    accepted: Option<Instant>,
    since: UnixTime,
}

impl Drain {
    /// Reads the log of a reader from its beginning. Its mailbox is registered
    /// before, so that nothing falls between. Messages below `min` are held back
    /// (RFC 8030 §5.3).
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

    /// What comes next, in this order: the end, messages with TTL 0, broadcasts,
    /// the log. When there is nothing until `until`, or no room for it in the
    /// window, that is [`Next::Quiet`]; with a time that has passed, the call
    /// gives what is there now. After the end there is nothing more to ask.
    ///
    /// Safe to cancel: what was not given is given by the next call.
    ///
    /// Not an `async fn`, which would hold its arguments twice: an idle
    /// connection waits here. What does not wait for long is boxed.
    ///
    /// # Errors
    /// Those of the read, after which the log is read again:
    /// [`Error::Unavailable`]; [`Error::NotFound`] when a receipt subscription
    /// has ended.
    #[expect(clippy::manual_async_fn, reason = "a block takes less memory")]
    pub(super) fn next(
        &mut self,
        until: Instant,
    ) -> impl Future<Output = Result<Next, Error>> + Send {
        async move {
            loop {
                if let Some(why) = self.look() {
                    return Ok(Next::Ended(why));
                }
                let pause = match self.give(Instant::now()) {
                    Ok(next) => return Ok(next),
                    Err(pause) => pause,
                };
                let reopens = match pause {
                    Pause::PassOver(uaid, id) => {
                        Box::pin(self.pass_over(uaid, id)).await;
                        continue;
                    }
                    Pause::Read(batch) => {
                        Box::pin(self.read(batch)).await?;
                        continue;
                    }
                    Pause::Wait(reopens) => reopens,
                };
                let wake = reopens.map_or(until, |reopens| reopens.min(until));
                let mail = tokio::select! {
                    biased;
                    mail = self.registration.mail() => Some(mail),
                    () = sleep_until(wake) => None,
                };
                match mail {
                    Some(mail) => {
                        if let Some(why) = self.sort(mail) {
                            return Ok(Next::Ended(why));
                        }
                    }
                    None if Instant::now() >= until => return Ok(self.quiet()),
                    None => {}
                }
            }
        }
    }

    /// Ends the delivery of messages, whatever their codes (WS-N-9): takes them
    /// out of the log and out of the window.
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

    /// Sets the least urgency that is handed out from now on. What a higher one
    /// has held back follows.
    pub(super) fn filter(&mut self, min: Urgency) {
        self.more |= self.log.filter(min);
        // It was read under the other filter.
        if let Some(ahead) = &mut self.ahead {
            self.more |= !ahead.log.is_empty();
            ahead.log.clear();
        }
        self.give_back();
    }

    /// Reads the log only when it is woken, after a read that has failed: once
    /// the store returns, all are.
    pub(super) fn wait_for_wake(&mut self) {
        self.more = false;
    }

    /// Looks into the mailbox, and says whether the connection is to end. It is
    /// emptied before each read of the log. While messages of it are ahead it is
    /// left as it is: it has a bound, and what is ahead has none of its own.
    fn look(&mut self) -> Option<Ended> {
        let ahead = self.ahead.as_ref();
        if ahead.is_some_and(|ahead| !ahead.live.is_empty()) {
            return self.registration.closing();
        }
        let mail = self.registration.try_mail()?;
        self.sort(mail)
    }

    /// Sorts what the mailbox brought, and says whether the connection is to
    /// end.
    fn sort(&mut self, mail: Mail) -> Option<Ended> {
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

    /// What is in memory and may be sent now.
    fn give(&mut self, now: Instant) -> Result<Next, Pause> {
        while let Some((message, handover)) = self.pop(|ahead| &mut ahead.live) {
            if let Some((uaid, _)) = self.registration.reader().messages() {
                return match self.passes_live(&message, now) {
                    true => Ok(Next::Item(Item::Message {
                        uaid,
                        message,
                        handover,
                    })),
                    false => Err(Pause::PassOver(uaid, message.id)),
                };
            }
        }
        if std::mem::take(&mut self.broadcasts) {
            return Ok(Next::Broadcasts);
        }
        if self.ahead.is_none() && !self.more {
            return Err(Pause::Wait(None));
        }
        let Some(batch) = self.room(now) else {
            let reopens = self.window.as_ref().and_then(Window::reopens_at);
            return Err(Pause::Wait(reopens.map(Into::into)));
        };
        while let Some(item) = self.pop(|ahead| &mut ahead.log) {
            if self.passes(&item, now) {
                return Ok(Next::Item(item));
            }
        }
        Err(match self.more {
            true => Pause::Read(batch),
            false => Pause::Wait(None),
        })
    }

    /// Says whether a message with TTL 0 is to be sent: now or never (RFC 8030
    /// §5.2). One that is counts as in flight.
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

    /// Passes the next item of the log, and says whether it is to be sent: it may
    /// have been sent under another filter, or have expired since it was read
    /// (RFC 8030 §5.2).
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

    /// How much the next read may bring; `None` while too much is in flight.
    fn room(&mut self, now: Instant) -> Option<Batch> {
        let Some(window) = &mut self.window else {
            return Some(BATCH);
        };
        let Room { messages, bytes } = window.room_at(now.into_std())?;
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

    /// Drops a message with TTL 0. Its sender's receipt must not depend on who
    /// waits for this, so it has a task of its own from the first poll on.
    async fn pass_over(&self, uaid: Uaid, id: MessageId) {
        let app = Arc::clone(&self.app);
        let passed = self.app.finish(async move {
            app.service.pass_over(uaid, id).await;
            Ok::<_, Error>(())
        });
        // A failure is counted and logged where it happens.
        let _ = passed.await;
    }

    fn quiet(&mut self) -> Next {
        if let Some(window) = &mut self.window {
            window.forget(Instant::now().into_std());
        }
        Next::Quiet
    }

    fn pop<T>(&mut self, queue: impl FnOnce(&mut Ahead) -> &mut VecDeque<T>) -> Option<T> {
        let item = queue(self.ahead.as_deref_mut()?).pop_front();
        self.give_back();
        item
    }

    fn give_back(&mut self) {
        let ahead = self.ahead.as_deref();
        if ahead.is_some_and(|ahead| ahead.live.is_empty() && ahead.log.is_empty()) {
            self.ahead = None;
        }
    }
}

#[cfg(test)]
mod tests;
