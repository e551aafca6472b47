//! Where subscriptions and messages are kept: the [`Store`] trait, its
//! contracts, and [`open`].

pub mod broadcasts;
pub mod export;

mod days;
mod error;
mod event;
mod limits;
mod memory;
mod message;
mod receipt;
mod sled;
mod usage;

mod full;
pub(crate) mod holders;
mod index;
mod largest;
mod log;
mod page;
mod receipt_logs;
pub(crate) mod room;

#[cfg(test)]
mod conformance;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, ReceiptSubscriptionId, SubscriptionId, Uaid,
    UnixTime,
};

pub use self::days::{Sweep, Unused};
pub use self::error::StoreError;
pub use self::event::{Event, Listener, OnAccepted, Readers};
pub use self::full::{Full, Whose};
pub use self::holders::{Holder, Origin};
pub use self::largest::{Held, HeldReceipts, Largest};
pub use self::limits::StoreLimits;
use self::memory::MemoryStore;
pub use self::message::{Batch, Filter, Grant, NewMessage, ReceiptTarget};
pub use self::page::Page;
pub use self::receipt::{Expired, Receipt, ReceiptId, ReceiptStatus, Removal};
use self::sled::SledStore;
pub use self::sled::{Found, InsertError, Offline, OpenError, fuzz_record, guarded, replace};
pub use self::usage::{Backlog, Usage};

pub use crate::config::Limit;
use crate::config::{Config, StoreEngine};
use crate::store::broadcasts::{Broadcasts, Label};

/// A message in the order of expiry: where a walk through them goes on.
pub type ExpiryCursor = (UnixTime, MessageId);

/// The boxed future that keeps [`Store`] object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A push subscription: a channel of a user agent, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Whose it is.
    pub uaid: Uaid,
    /// The name the user agent gave it.
    pub channel: ChannelId,
    /// This life of it; in its endpoint.
    pub id: SubscriptionId,
    /// The application server key it is restricted to (RFC 8292 §4).
    pub vapid_key: Option<PublicKey>,
}

/// A storage engine. All it promises is here; `conformance.rs` tests it.
///
/// Every change is atomic, and visible to every later call as soon as its
/// future is ready. A change that is answered `Ok` survives a crash of the
/// process and the loss of power, except where its contract says otherwise.
///
/// The log of a user agent is the messages of all its subscriptions in the
/// order of their ids. Once [`pending`](Store::pending) has returned an id, no
/// smaller id of that log that passes the same filter appears later.
///
/// A message that leaves the store and has a receipt subscription leaves a
/// receipt there, in the same step; [`Removal`] says which. It is as durable as
/// that step. A receipt subscription is a log of its own, in the order of its
/// receipts' ids; the oldest goes when one more is over the bound, and each
/// goes when its lifetime is over. Whether a message has been given out before
/// is known since the store was opened. A record that is damaged is set aside,
/// without a receipt.
///
/// An engine is opened with a [`Listener`] and tells it of each change, once
/// that is as durable as its contract says and before the caller is answered.
/// So a future that is dropped, or that gives up on a slow disk, takes nothing
/// from anybody else: a change that was begun is made and told of.
pub trait Store: Send + Sync + 'static {
    /// Subscribes a channel, and gives the subscription that it has from now
    /// on. One that is there with the same key stays, in its life. One with
    /// another key is replaced by `new`: its messages go with it, in the same
    /// step, [given up](Removal::GivenUp). However many ask at once, all that
    /// ask with one key are given one life.
    ///
    /// # Errors
    /// `Full` when this is one more and over a bound.
    fn subscribe(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Subscription, StoreError>>;

    /// The subscription of a channel, in whatever life it is.
    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>>;

    /// Whether the user agent has a subscription. One that has is noted as
    /// connected today. The note is durable like [`remove`](Store::remove), and
    /// left out while it cannot be written.
    fn connect(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Counts the days of service, and ends user agents with all their subscriptions:
    /// those that were neither [connected](Store::connect) nor sent a message
    /// for so many days that [`append`](Store::append) took. A use stands for
    /// those of the week after it, so that some end a week later. Told of and
    /// durable like [`remove`](Store::remove); readers are closed
    /// ([`Readers::Close`]).
    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>>;

    /// All subscriptions of a user agent.
    fn subscriptions(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Up to `limit` subscriptions behind this one, in an order that stays, so
    /// that all are found step by step; damaged ones are passed over. For
    /// operators: it reads the disk.
    fn all_subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Removes the subscription of a channel with its messages, which are
    /// [given up](Removal::GivenUp); where a life is expected, only that life.
    /// `false` when it was not there.
    fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Gives the message an id, greater than every id before it, also across
    /// restarts. Stores it, unless its TTL is 0. A stored message of the same
    /// subscription and topic is removed in the same step, without a receipt
    /// (RFC 8030 §5.4); where the TTL is 0, that is durable like
    /// [`remove`](Store::remove), and any receipt is left to
    /// [`settle`](Store::settle).
    ///
    /// The receipt subscription is made or prolonged in the same step, where the
    /// message asks for that ([`Grant`]), and counts for the message's origin,
    /// unless it counts for somebody already. That is durable when this returns,
    /// also where the TTL is 0. A refused message makes none.
    ///
    /// Calls `accepted` with the id: before the [listener](Listener) is told, so
    /// before any reader is woken. It is called also when the future has been
    /// dropped meanwhile and the message is stored; never when it is not.
    ///
    /// # Errors
    /// `NoSubscription` when the channel's subscription is gone or another
    /// one; `NoReceiptSubscription` when the receipt's is gone and not to be
    /// made; `Full` when a bound
    /// would be crossed, the replaced message counted out, or when somebody
    /// would hold more of it than is left free: of the bounds of a user agent
    /// the subscription, of the bound of all the user agent, the key or the
    /// network of the message's origin.
    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>>;

    /// The messages of a log with ids above `after` that pass the filter, in the
    /// order of ids, none of them expired at `now`, and whether there are more
    /// of that kind after the last of them: the reader reads on only then, or
    /// when it is woken. There may be none left when it does; none may be there
    /// unsaid. A read changes nothing, and alone does not count as [given
    /// out](Store::give_out).
    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>>;

    /// Notes that a message is handed to a connection of its user agent, which
    /// decides two of its receipts ([`Removal`]). Kept in memory alone; of a
    /// message that leaves no receipt there is nothing to note.
    fn give_out(&self, id: MessageId);

    /// How much a log holds. Reads none of it.
    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>>;

    /// One message of a log, unless it has expired at `now`.
    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>>;

    /// Removes those of the messages that are in this log, and says how many
    /// they were. Each goes in one step with its receipt, and once, for the
    /// first reason given. Visible and told of at once; durable with the next
    /// durable change: a lost removal is a second delivery, which the protocol
    /// allows, and then a second receipt.
    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>>;

    /// Removes the messages that a key has signed, [given
    /// up](Removal::GivenUp), as far as that is known: among the next few in the
    /// order of their expiry behind `after`. Says also where to go on; `None`
    /// when all were looked at. Durable like [`remove`](Store::remove).
    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<ExpiryCursor>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>>;

    /// Removes what has expired at `now`, the oldest expiry first: messages,
    /// then receipts, then receipt subscriptions with their receipts; about
    /// `limit` in all. Durable like [`remove`](Store::remove).
    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>>;

    /// Up to `limit` receipt subscriptions behind this one, with their ends, in
    /// the order of those.
    fn all_receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>>;

    /// Removes a receipt subscription with its receipts. `false` when it was
    /// not there, or had ended at `now`.
    fn remove_receipt_subscription(
        &self,
        id: ReceiptSubscriptionId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Leaves the receipt of a message that was never stored, its TTL 0.
    /// `false` when there is no such receipt subscription.
    fn settle(
        &self,
        id: ReceiptSubscriptionId,
        uaid: Uaid,
        message: MessageId,
        status: ReceiptStatus,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Up to `limit` receipts with ids above `after`, in the order of ids, none
    /// expired at `now`, and whether there are more after them. `None` when
    /// the receipt subscription is not there, or has ended at `now`.
    fn receipts(
        &self,
        id: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<Page<Receipt>>, StoreError>>;

    /// Removes a receipt that its application server has, and says whether it
    /// was there. Durable like [`remove`](Store::remove): a lost removal is a
    /// receipt that comes twice.
    fn remove_receipt(
        &self,
        id: ReceiptSubscriptionId,
        receipt: ReceiptId,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Sets the version of a broadcast, or with `None` removes it, and says
    /// whether it was there before.
    ///
    /// # Errors
    /// `Full` when this is one more and over a bound.
    fn set_broadcast(
        &self,
        id: Label,
        version: Option<Label>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The broadcasts as they are now; cheap enough for every connection.
    fn broadcasts(&self) -> Arc<Broadcasts>;

    /// Who holds most: at most `most` of each kind, and never more than 1000.
    /// Looks at all there is in memory, so it is for operators alone.
    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>>;

    /// What is held now; cheap enough for every scrape of the metrics.
    fn usage(&self) -> Usage;

    /// Whether the engine takes changes now. While it does not, what it can
    /// still read is read, and messages with TTL 0 are given ids.
    ///
    /// # Errors
    /// `Unavailable` with what is wrong.
    fn health(&self) -> Result<(), StoreError>;

    /// Makes all changes so far durable; `Err` when the engine can take none.
    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The folder that the store of this configuration is in.
pub fn folder_of(config: &Config) -> PathBuf {
    config.server.data.join("store")
}

/// Opens the engine that is configured, with its files in the data folder. It
/// tells `listener` of its changes.
///
/// # Errors
/// When the folder is in use, damaged, of a newer version, or not accessible.
pub fn open(config: &Config, listener: Arc<dyn Listener>) -> Result<Arc<dyn Store>, OpenError> {
    let limits = StoreLimits::from(config);
    Ok(match config.store.engine {
        StoreEngine::Memory => Arc::new(MemoryStore::new(limits, listener)),
        StoreEngine::Sled => {
            let folder = folder_of(config);
            Arc::new(SledStore::open(&folder, &config.store, limits, listener)?)
        }
    })
}
