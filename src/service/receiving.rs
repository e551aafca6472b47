//! What user agents receive (RFC 8030 §6; `hello`, `notification`, `ack`).

use std::net::IpAddr;

use bugle_protocol::{MessageId, MessageUrl, PushMessage, Uaid, UnixTime};
use tokio::time::Instant;

use super::{Error, PushService};
use crate::gate::Refusal;
use crate::observe::message_log::Event;
use crate::service::registry::{Reader, Registration};
use crate::store::{Batch, Filter, Page, ReceiptStatus, Removal};

/// How messages came to the connection of their user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Since when the connection has been there.
    pub since: UnixTime,
    /// When the first of those was accepted that it was woken for; `None` when
    /// it was not woken for them: they lay in the log.
    pub accepted: Option<Instant>,
    /// When it had them.
    pub at: Instant,
}

impl Handover {
    /// Of what has come now.
    pub fn now(since: UnixTime, accepted: Option<Instant>) -> Self {
        let at = Instant::now();
        Self {
            since,
            accepted,
            at,
        }
    }
}

/// What a user agent says of a message that it is done with (WS-N-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its page has it, or what stands for that: nothing was said.
    Delivered,
    /// It could not be decrypted.
    NotDecrypted,
    /// No page wants it.
    NotWanted,
    /// A code that has no meaning here. It counts as delivered.
    Unknown(u16),
}

impl Outcome {
    /// The code that a user agent sends for it, in logs and traces too.
    pub const fn code(self) -> u16 {
        match self {
            Self::Delivered => 100,
            Self::NotDecrypted => 101,
            Self::NotWanted => 102,
            Self::Unknown(code) => code,
        }
    }
}

impl From<Option<u16>> for Outcome {
    fn from(code: Option<u16>) -> Self {
        match code {
            None | Some(100) => Self::Delivered,
            Some(101) => Self::NotDecrypted,
            Some(102) => Self::NotWanted,
            Some(code) => Self::Unknown(code),
        }
    }
}

impl PushService {
    /// Connects a user agent: the one that it says it is, if that has a
    /// subscription here, else a `new` one (WS-H-8 to WS-H-10). Says which of the
    /// two it is: whether it was known.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: no name is given out then (WS-H-11). Whoever is
    /// known is served while the store can be read. As
    /// [`register`](Self::register).
    pub async fn connect(
        &self,
        said: Option<Uaid>,
        new: Uaid,
        address: IpAddr,
    ) -> Result<(bool, Registration), Error> {
        if let Some(uaid) = said {
            // A drop comes before it, or closes the connection.
            let _turn = self.order.share(uaid).await?;
            if self.stored(self.store.connect(uaid).await)? {
                return Ok((true, self.register(Reader::UserAgent(uaid), address)?));
            }
        }
        self.stored(self.store.health())?;
        Ok((false, self.register(Reader::UserAgent(new), address)?))
    }

    /// The next messages of a log, after `after`, that pass the filter. They do
    /// not count as [given out](Self::give_out).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
    ) -> Result<Page<PushMessage>, Error> {
        let pending = self.store.pending(uaid, after, filter, batch, self.now());
        self.stored(pending.await)
    }

    /// Notes that a message of a log is handed to a connection now. What its
    /// receipt says depends on it.
    pub fn give_out(&self, message: &PushMessage) {
        if message.receipt.is_some() {
            self.store.give_out(message.id);
        }
    }

    /// Whether a reader would find nothing now. Nothing counts as given out.
    ///
    /// # Errors
    /// [`Error::NotFound`] when a receipt subscription has ended;
    /// [`Error::Unavailable`].
    pub async fn has_nothing(&self, reader: Reader, filter: Filter) -> Result<bool, Error> {
        const ONE: Batch = Batch {
            messages: 1,
            bytes: 0,
        };
        match reader {
            Reader::UserAgent(uaid) | Reader::Channel(uaid, _) => {
                let pending = self.pending(uaid, None, filter, ONE).await;
                pending.map(|pending| pending.items.is_empty())
            }
            Reader::Receipts(id) => {
                let receipts = self.receipts(id, None, 1).await;
                receipts.map(|receipts| receipts.items.is_empty())
            }
        }
    }

    /// Registers a reader of a log for a client at `address`, and closes an
    /// older one of the same log.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`], when the operator has blocked the address
    /// since the client was let in.
    pub fn register(&self, reader: Reader, address: IpAddr) -> Result<Registration, Refusal> {
        self.blocks.check_address(address)?;
        let registration = self.clients.register(reader, address);
        // Once more: a block that was set meanwhile has not found it.
        self.blocks.check_address(address)?;
        Ok(registration)
    }

    /// The `version` of a message: the token of its URL.
    pub fn version(&self, uaid: Uaid, id: MessageId) -> String {
        MessageUrl { uaid, id }.seal(&self.keyring)
    }

    /// Counts a message that was sent to a user agent, which had taken it at
    /// `written`.
    pub fn delivered(&self, message: &PushMessage, handover: Handover, written: Instant) {
        self.metrics.delivered.inc();
        if let Some(accepted) = handover.accepted {
            self.metrics.route.record(handover.at - accepted);
        }
        self.metrics.write.record(written - handover.at);
        self.traces.delivered(message.id, handover.at, written);
        self.note(message.id, Event::Delivered);
        // What waited for its user agent says nothing about the service.
        if message.accepted_at >= handover.since {
            let took = self.now().since(message.accepted_at);
            self.metrics.delivery.record(took);
        }
    }

    /// The message of a user agent that a `version` names; `None` when it names
    /// none (WS-N-12).
    pub fn of_version(&self, uaid: Uaid, version: &str) -> Option<MessageId> {
        let message = MessageUrl::open(&self.keyring, version).ok()?;
        (message.uaid == uaid).then_some(message.id)
    }

    /// Ends the delivery of messages of a user agent, whatever became of them
    /// (WS-N-9).
    ///
    /// A store that takes no changes delivers them again, to the next connection.
    pub async fn acknowledge(&self, uaid: Uaid, messages: &[(MessageId, Outcome)]) {
        let mut stored = Vec::with_capacity(messages.len());
        for (id, outcome) in messages {
            let (why, status) = match outcome {
                Outcome::NotDecrypted => (Removal::NotDecrypted, ReceiptStatus::Failed),
                Outcome::NotWanted => (Removal::NotWanted, ReceiptStatus::Failed),
                Outcome::Delivered | Outcome::Unknown(_) => {
                    (Removal::Delivered, ReceiptStatus::Delivered)
                }
            };
            match self.live.take((uaid, *id)) {
                Some(receipt) => self.settle(receipt, uaid, *id, status).await,
                None => stored.push((*id, why)),
            }
        }
        if !stored.is_empty() {
            let removed = self.store.remove(uaid, &stored, self.now()).await;
            // A failure is counted and logged.
            let _ = self.stored(removed);
        }
        for (id, outcome) in messages {
            let code = outcome.code();
            self.metrics.acknowledge(code);
            self.traces.acknowledged(*id, Some(code));
            self.note(*id, Event::Acknowledged(code));
        }
    }
}
