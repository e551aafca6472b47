//! Held GETs: a subscription or a set drained for its user agent (RFC 8030
//! §6), a receipt subscription for its application server (§6.3).
//!
//! A [`Monitor`] says what comes next; how that is told (HTTP/2 server push or
//! events in the body) is the HTTP side's business.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::{MessageId, PushMessage, Uaid, UnixTime};
use http::StatusCode;
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::gate::fairness::Slot;
use crate::service::registry::{Ended, Mail, Reader, Registration};
use crate::service::{Error, Handover};
use crate::store::{Batch, Filter, Receipt, ReceiptId};

/// One read of the log.
const BATCH: Batch = Batch {
    messages: 32,
    bytes: 64 << 10,
};

/// Something that a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A push message of this user agent.
    Message(Uaid, PushMessage),
    /// What became of a message.
    Receipt(Receipt),
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it moves twice"
)]
pub enum Next {
    /// This, to be told.
    Item(Item),
    /// Nothing for a while: a sign of life is due.
    Quiet,
    /// The end, with the status of the held GET: 200 when something was
    /// told, 204 when not, 404 when what was read is gone, 403 when the operator
    /// has blocked the reader.
    Ended(StatusCode),
}

/// A held GET.
pub struct Monitor {
    app: Arc<App>,
    reader: Reader,
    registration: Registration,
    filter: Filter,
    waits: bool,
    messages_after: Option<MessageId>,
    receipts_after: Option<ReceiptId>,
    ready: VecDeque<Item>,
    /// Whether the log may hold something after the cursor.
    behind: bool,
    told: bool,
    /// When the first of what is new in the log was accepted.
    accepted: Option<Instant>,
    /// How what is ready has come.
    handover: Handover,
    /// When it began.
    since: UnixTime,
    ends_at: Instant,
    _place: Box<Slot>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.app.service.metrics().monitors.dec();
    }
}

impl Monitor {
    /// Reads the log of `reader` from the beginning, for a client at `address`.
    /// An older held GET on it is told to end. `waits` is whether it stays once
    /// everything is told.
    ///
    /// # Errors
    /// [`Error::Refused`] when too many are connected, when too many of them are
    /// at `address`, or when the operator has blocked it.
    pub fn new(
        app: &Arc<App>,
        address: IpAddr,
        reader: Reader,
        filter: Filter,
        waits: bool,
    ) -> Result<Self, Error> {
        // First: one that is refused is not to end another.
        let place = app.admit_user_agent(address)?;
        let registration = app.service.register(reader, address)?;
        app.service.metrics().monitors.inc();
        let lifetime = app.service.config().user_agent.monitor_lifetime;
        Ok(Self {
            app: Arc::clone(app),
            reader,
            registration,
            filter,
            waits,
            messages_after: None,
            receipts_after: None,
            ready: VecDeque::new(),
            behind: true,
            told: false,
            accepted: None,
            handover: Handover::now(None),
            since: app.service.now(),
            ends_at: Instant::now() + lifetime,
            _place: place,
        })
    }

    /// The site whose log is read.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What comes next. After the end there is nothing more to ask.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.told = true;
                return Next::Item(item);
            }
            if self.behind {
                match self.read().await {
                    Ok(()) => continue,
                    Err(Error::NotFound) => return Next::Ended(StatusCode::NOT_FOUND),
                    // It stays in the log; the reader comes back.
                    Err(_) => return self.ended(StatusCode::SERVICE_UNAVAILABLE),
                }
            }
            if !self.waits {
                return self.ended(StatusCode::NO_CONTENT);
            }
            let quiet = Instant::now() + self.app.service.config().user_agent.ping_interval;
            tokio::select! {
                biased;
                mail = self.registration.mail() => if let Some(end) = self.open(mail).await {
                    return end;
                },
                () = sleep_until(self.ends_at) => return self.ended(StatusCode::NO_CONTENT),
                () = sleep_until(quiet) => return Next::Quiet,
            }
        }
    }

    /// Says that an item has reached the reader. A message is acknowledged by
    /// its reader (RFC 8030 §6.2); a receipt has served its purpose.
    pub async fn confirm(&self, item: &Item) {
        match (self.reader, item) {
            (Reader::Receipts(id), Item::Receipt(receipt)) => {
                self.app.service.forget_receipt(id, receipt.id).await;
            }
            (_, Item::Message(_, message)) => {
                let service = &self.app.service;
                service.delivered(message, self.since, self.handover, Instant::now());
            }
            _ => {}
        }
    }

    /// Fills `ready` from the log.
    async fn read(&mut self) -> Result<(), Error> {
        let service = &self.app.service;
        match self.reader {
            Reader::UserAgent(uaid) | Reader::Channel(uaid, _) => {
                let after = self.messages_after;
                let page = service.pending(uaid, after, self.filter, BATCH).await?;
                let messages = page.items;
                self.messages_after = messages.last().map_or(after, |message| Some(message.id));
                let items = messages
                    .into_iter()
                    .map(|message| Item::Message(uaid, message));
                self.ready.extend(items);
                self.behind = page.more;
            }
            Reader::Receipts(id) => {
                let after = self.receipts_after;
                let page = service.receipts(id, after, BATCH.messages).await?;
                let receipts = page.items;
                self.receipts_after = receipts.last().map_or(after, |receipt| Some(receipt.id));
                self.ready.extend(receipts.into_iter().map(Item::Receipt));
                self.behind = page.more;
            }
        }
        self.handover = Handover::now(self.accepted.take());
        Ok(())
    }

    async fn open(&mut self, mail: Mail) -> Option<Next> {
        if mail.log {
            self.behind = true;
            self.accepted = self.accepted.or(mail.since);
        }
        self.handover = Handover::now(mail.since);
        if let Reader::UserAgent(uaid) | Reader::Channel(uaid, _) = self.reader {
            for message in mail.live {
                if self.filter.lets_pass(&message) {
                    self.ready.push_back(Item::Message(uaid, message));
                } else {
                    self.app.service.pass_over(uaid, message.id).await;
                }
            }
        }
        mail.ended.map(|why| match why {
            Ended::Removed => Next::Ended(StatusCode::NOT_FOUND),
            Ended::Blocked => Next::Ended(StatusCode::FORBIDDEN),
            Ended::Superseded | Ended::ShuttingDown => self.ended(StatusCode::NO_CONTENT),
        })
    }

    /// 200 stands for "something was told".
    fn ended(&self, otherwise: StatusCode) -> Next {
        Next::Ended(if self.told { StatusCode::OK } else { otherwise })
    }
}
