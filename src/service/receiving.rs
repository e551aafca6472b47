//! Delivery to user agents (RFC 8030 §6; `hello`, `notification`, `ack`).

use std::net::IpAddr;

use bugle_protocol::{MessageId, MessageUrl, PushMessage, Uaid, UnixTime};
use tokio::time::Instant;

use super::{Error, PushService};
use crate::gate::Refusal;
use crate::observe::message_log::Event;
use crate::service::registry::{Reader, Registration};
use crate::store::{Batch, Filter, Page, ReceiptStatus, Removal};

/// When and why a connection received messages from the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// When the connection was made.
    pub since: UnixTime,
    /// When the first message of the wake was accepted; `None` if the messages were read without a
    /// wake, because they already were in the log.
    pub accepted: Option<Instant>,
    /// When the connection received the messages.
    pub at: Instant,
}

impl Handover {
    /// A handover at the current time.
    pub fn now(since: UnixTime, accepted: Option<Instant>) -> Self {
        let at = Instant::now();
        Self {
            since,
            accepted,
            at,
        }
    }
}

/// The outcome of a message, as its user agent acknowledges it (WS-N-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The page received it. An ack without a code also means this.
    Delivered,
    /// The user agent could not decrypt it.
    NotDecrypted,
    /// No page wanted it.
    NotWanted,
    /// An unknown code. The message counts as delivered.
    Unknown(u16),
}

impl Outcome {
    /// The code of the outcome in an ack, in logs and in traces.
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
    /// Connects a user agent: under the id `claimed` if that has a subscription here, else under the
    /// id `new` (WS-H-8 to WS-H-10). Returns whether `claimed` was known.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store fails: no new id is assigned then (WS-H-11). A known
    /// user agent is served as long as the store can be read. Also the errors of
    /// [`register`](Self::register).
    pub async fn connect(
        &self,
        claimed: Option<Uaid>,
        new: Uaid,
        address: IpAddr,
    ) -> Result<(bool, Registration), Error> {
        if let Some(uaid) = claimed {
            // A concurrent drop either completes first, or finds and closes the connection.
            let _turn = self.order.share(uaid).await?;
            if self.stored(self.store.connect(uaid).await)? {
                return Ok((true, self.register(Reader::UserAgent(uaid), address)?));
            }
        }
        self.stored(self.store.health())?;
        Ok((false, self.register(Reader::UserAgent(new), address)?))
    }

    /// Reads the next messages of a log that come after `after` and pass the filter. They do not
    /// count as [given out](Self::give_out).
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

    /// Records that a message of a log is handed to a connection now. The status of its receipt
    /// depends on it.
    pub fn give_out(&self, message: &PushMessage) {
        if message.receipt.is_some() {
            self.store.give_out(message.id);
        }
    }

    /// Whether the log of a reader is empty. No message counts as given out.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a receipt subscription has ended; [`Error::Unavailable`].
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

    /// Registers a reader for a client at `address`. It supersedes an older reader of the same log.
    ///
    /// # Errors
    /// [`Refusal::BlockedAddress`] if the operator has blocked the address since the client was
    /// admitted.
    pub fn register(&self, reader: Reader, address: IpAddr) -> Result<Registration, Refusal> {
        self.blocks.check_address(address)?;
        let registration = self.clients.register(reader, address);
        // Check again: a block set since the first check may have missed this registration.
        self.blocks.check_address(address)?;
        Ok(registration)
    }

    /// The `version` of a message: the token of its URL.
    pub fn version(&self, uaid: Uaid, id: MessageId) -> String {
        MessageUrl { uaid, id }.seal(&self.keyring)
    }

    /// Counts a message sent to a user agent, whose connection accepted it at `written`.
    pub fn delivered(&self, message: &PushMessage, handover: Handover, written: Instant) {
        self.metrics.delivered.inc();
        if let Some(accepted) = handover.accepted {
            self.metrics.route.record(handover.at - accepted);
        }
        self.metrics.write.record(written - handover.at);
        self.traces.delivered(message.id, handover.at, written);
        self.note(message.id, Event::Delivered);
        // The time that a message waits for its user agent to connect is no latency of the service.
        if message.accepted_at >= handover.since {
            let took = self.now().since(message.accepted_at);
            self.metrics.delivery.record(took);
        }
    }

    /// The message of a user agent that a `version` names, if any (WS-N-12).
    pub fn of_version(&self, uaid: Uaid, version: &str) -> Option<MessageId> {
        let message = MessageUrl::open(&self.keyring, version).ok()?;
        (message.uaid == uaid).then_some(message.id)
    }

    /// Removes acknowledged messages of a user agent, whatever their outcome (WS-N-9).
    ///
    /// If the store rejects changes, the messages stay and are delivered again to the next
    /// connection.
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
            // `stored` has counted and logged a failure.
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
