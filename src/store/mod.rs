//! Storage of everything that outlives a request: the traits of a storage engine with their
//! contracts ([`Store`], [`ReceiptStore`], [`BroadcastStore`], [`Inspect`]), and [`open`], which
//! returns one [`Engine`] that implements them all.

pub mod broadcasts;
pub mod export;

mod broadcast_store;
mod days;
mod error;
mod event;
mod inspect;
mod limits;
mod memory;
mod message;
mod receipt;
mod receipt_store;
mod sled;
mod usage;

mod full;
pub(crate) mod headroom;
pub(crate) mod holders;
mod index;
mod largest;
mod log;
mod page;
mod receipt_logs;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod watched;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use bugle_protocol::{
    ChannelId, MessageId, PublicKey, PushMessage, SubscriptionId, Uaid, UnixTime,
};

pub use self::broadcast_store::BroadcastStore;
pub use self::days::{Sweep, Unused};
pub use self::error::StoreError;
pub use self::event::{Event, Listener, OnAccepted, Readers};
pub use self::full::{Full, Scope};
pub use self::holders::{Holder, Origin};
pub use self::inspect::Inspect;
pub use self::largest::{Held, HeldReceipts, Largest};
pub use self::limits::StoreLimits;
use self::memory::MemoryStore;
pub use self::message::{Batch, Filter, Grant, NewMessage, ReceiptTarget};
pub use self::page::Page;
pub use self::receipt::{Expired, Receipt, ReceiptId, ReceiptStatus, Removal};
pub use self::receipt_store::ReceiptStore;
use self::sled::SledStore;
pub use self::sled::{Found, InsertError, Offline, OpenError, fuzz_record, guarded, replace};
pub use self::usage::{Backlog, Usage};

pub use crate::config::Limit;
use crate::config::{Config, StoreEngine};

/// A cursor of a walk through messages in the order of their expiry.
pub type ExpiryCursor = (UnixTime, MessageId);

/// The boxed future that keeps the traits of an engine object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A push subscription: a channel of a user agent, in one of its lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The user agent that owns it.
    pub uaid: Uaid,
    /// The name that the user agent gave it.
    pub channel: ChannelId,
    /// The id of this life, which its endpoint contains.
    pub id: SubscriptionId,
    /// The application server key it is restricted to (RFC 8292 §4).
    pub vapid_key: Option<PublicKey>,
    /// The sealed [`Registration`](bugle_protocol::mcs::Registration) of a Chromium, by which its
    /// transport addresses it. `None` for every other user agent.
    pub registration: Option<String>,
}

/// The part of a storage engine that the path of a message needs: subscriptions, and the logs of
/// user agents.
///
/// An [`Engine`] implements this beside its smaller traits. The suite in
/// `conformance.rs` tests each promise that is made here, on every engine.
///
/// # Logs
/// The log of a user agent holds the messages of all its subscriptions in the
/// order of their ids. Once [`pending`](Store::pending) has returned an id, no
/// smaller id of that log that passes the same filter appears later. A record
/// that is damaged is set aside, without a receipt.
///
/// # Receipts
/// A message that has a receipt subscription leaves its receipt there in the same step in which it
/// leaves the store, and as durably. [`Removal`] defines which receipt that is. Whether a message
/// was given out is remembered only while the engine is open.
///
/// # Durability
/// Every change is atomic, and visible to every later call as soon as its future
/// is ready. A change that is answered `Ok` survives a crash of the process and
/// the loss of power, unless its contract says that it is *durable with the next
/// one*: the next change that promises more, or [`flush`](Store::flush), makes it
/// durable too.
///
/// # Cancellation
/// Every future may be dropped at any time. A change that has begun then still completes, and the
/// listener is notified of it; no other caller is affected.
///
/// # Events
/// An engine is opened with a [`Listener`] and calls it for each change, once the change is as
/// durable as its contract says and before its caller is answered.
///
/// # Errors
/// Every call may fail with `Unavailable`, which says what is wrong. A change that fails with it
/// may or may not have been made; a read changes nothing.
pub trait Store: Send + Sync + 'static {
    /// Returns whether a user agent has a subscription. If so, it also records that the user agent
    /// connected today.
    ///
    /// The note is durable with the next change. It is omitted, without an error, while the engine
    /// refuses changes.
    fn connect(&self, uaid: Uaid) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Subscribes a channel, and returns the subscription that it has from now
    /// on.
    ///
    /// A subscription with the same key stays as it is, in its life. One with
    /// another key is replaced by `new`, and its messages are [given
    /// up](Removal::GivenUp) in the same step. All concurrent calls with one key
    /// return the same life.
    ///
    /// # Errors
    /// `Full` when a bound allows no further subscription.
    fn subscribe(
        &self,
        new: Subscription,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Subscription, StoreError>>;

    /// Returns the subscription of a channel, in whatever life it is.
    ///
    /// # Errors
    /// `Unavailable` also while the last change of the subscription is not yet durable, so that no
    /// caller learns of a subscription, or of its end, that a crash could undo.
    fn subscription(
        &self,
        uaid: Uaid,
        channel: ChannelId,
    ) -> BoxFuture<'_, Result<Option<Subscription>, StoreError>>;

    /// Returns all subscriptions of a user agent, in no particular order.
    fn subscriptions(&self, uaid: Uaid) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>>;

    /// Removes the subscription of a channel, and returns whether it existed. Its messages are
    /// [given up](Removal::GivenUp) in the same step.
    ///
    /// If `life` is given, only that life is removed. `readers` decides whether connections that
    /// read the channel are closed.
    fn unsubscribe(
        &self,
        uaid: Uaid,
        channel: ChannelId,
        life: Option<SubscriptionId>,
        readers: Readers,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Counts the days of service, and ends user agents that are unused, each
    /// with all its subscriptions.
    ///
    /// A user agent is unused when it was neither [connected](Store::connect) nor the target of an
    /// accepted [`append`](Store::append) on so many days of service. A use is recorded at most
    /// once a week, so some end up to a week later. Connections that read what has ended are closed
    /// ([`Readers::Close`]). The change is durable with the next one.
    fn end_unused<'a>(&'a self, sweep: Sweep<'a>) -> BoxFuture<'a, Result<Unused, StoreError>>;

    /// Gives a message an id, and stores it unless its TTL is 0. The id is
    /// greater than every id before it, also across restarts.
    ///
    /// A stored message of the same subscription and topic is removed in the same step, without a
    /// receipt (RFC 8030 §5.4). If the TTL of the new one is 0, that removal is durable with the
    /// next change, and the caller creates the receipt of the new one by [`ReceiptStore::settle`].
    ///
    /// If the message asks for it ([`Grant`]), the same step creates or extends its receipt
    /// subscription, which is charged to the origin of the message unless it is already charged.
    /// That is durable when this returns, even if the TTL is 0. A refused message creates none.
    ///
    /// `accepted` is called with the id before the [listener](Listener), so before any reader is
    /// woken. It is also called when the future was dropped and the message is stored, and never
    /// when the message is refused.
    ///
    /// # Errors
    /// `NoSubscription` when the channel's subscription has ended or is in another life.
    /// `NoReceiptSubscription` when the receipt subscription has ended and is not to be created.
    /// `Full` when a bound would be exceeded, the replaced message not counted, or when a holder
    /// would hold more of it than is left free. The holders of a user agent's bounds are its
    /// subscriptions; the holders of the bounds of the store are the user agent, the key and the
    /// network of the message's origin.
    fn append(
        &self,
        uaid: Uaid,
        message: NewMessage,
        accepted: Option<OnAccepted>,
    ) -> BoxFuture<'_, Result<MessageId, StoreError>>;

    /// Returns the messages of a log with ids above `after` that pass the
    /// filter, in the order of ids, none of them expired at `now`; as many as
    /// fit into the batch and at least one.
    ///
    /// The page also says whether more such messages follow the last one. It never misses one that
    /// does, so a reader only reads on then, or when it is woken. None may be left when it reads
    /// on. A read changes nothing, and alone does not count as [given out](Store::give_out).
    fn pending(
        &self,
        uaid: Uaid,
        after: Option<MessageId>,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Page<PushMessage>, StoreError>>;

    /// Records that a message is handed to a connection of its user agent, which decides two of its
    /// receipts ([`Removal`]).
    ///
    /// The note is kept in memory only. A message that leaves no receipt needs none.
    fn give_out(&self, id: MessageId);

    /// Returns one message of a log, unless it has expired at `now`.
    fn message(
        &self,
        uaid: Uaid,
        id: MessageId,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<Option<PushMessage>, StoreError>>;

    /// Removes those of the messages that are in this log, and returns their
    /// number.
    ///
    /// Each is removed once, for the first reason given, in one step with its receipt. The removal
    /// is durable with the next change: if it is lost, the message is delivered a second time,
    /// which the protocol allows, and leaves a second receipt. When the future is dropped, only the
    /// first of many messages may have been removed.
    fn remove<'s>(
        &'s self,
        uaid: Uaid,
        messages: &'s [(MessageId, Removal)],
        now: UnixTime,
    ) -> BoxFuture<'s, Result<usize, StoreError>>;

    /// Removes what has expired at `now`: first messages, then receipts, then
    /// receipt subscriptions with their receipts, each by the oldest expiry.
    ///
    /// It stops after about `limit` of them in all. The removal is durable with
    /// the next change.
    fn expire(&self, now: UnixTime, limit: usize) -> BoxFuture<'_, Result<Expired, StoreError>>;

    /// Checks whether the engine accepts changes now, without using the disk.
    ///
    /// While it refuses changes, it still reads what it can, and gives ids to messages with TTL 0.
    ///
    /// # Errors
    /// `Unavailable` while the engine refuses changes.
    fn health(&self) -> Result<(), StoreError>;

    /// Makes all changes so far durable.
    fn flush(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// A storage engine: one object that keeps all that the service stores.
///
/// Whatever implements the four traits is an `Engine`. Nothing outside this folder names an engine,
/// so a further one is a folder here, an arm in [`open`], and a line in the suite of
/// `conformance.rs`.
pub trait Engine: Store + ReceiptStore + BroadcastStore + Inspect {}

impl<T: Store + ReceiptStore + BroadcastStore + Inspect> Engine for T {}

/// Returns the folder of the store of this configuration.
pub fn folder_of(config: &Config) -> PathBuf {
    config.server.data.join("store")
}

/// Opens the configured engine, with its files in the data folder. The engine notifies `listener`
/// of its changes.
///
/// # Errors
/// Fails when the folder is in use, damaged, of a newer version, or not accessible.
pub fn open(config: &Config, listener: Arc<dyn Listener>) -> Result<Arc<dyn Engine>, OpenError> {
    let limits = StoreLimits::from(config);
    Ok(match config.store.engine {
        StoreEngine::Memory => Arc::new(MemoryStore::new(limits, listener)),
        StoreEngine::Sled => {
            let folder = folder_of(config);
            Arc::new(SledStore::open(&folder, &config.store, limits, listener)?)
        }
    })
}
