//! Admission of a new message. [`Headroom`] divides each bound among its holders: the bounds of a user
//! agent among its subscriptions, and the bound of the whole store among user agents, senders and
//! addresses.

use bugle_protocol::{MessageId, Uaid};

use super::Index;
use crate::store::headroom::Headroom;
use crate::store::holders::Holder;
use crate::store::log::{Entry, Log};
use crate::store::{Backlog, Full, Limit, NewMessage, Scope, StoreLimits};

impl Index {
    /// Admits a message, and returns the message that it replaces, if there is one.
    ///
    /// # Errors
    /// The bound that the change would exceed, the replaced message not counted, or the bound of
    /// which a holder already has its share.
    pub(in crate::store) fn admit(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        limits: &StoreLimits,
    ) -> Result<Option<MessageId>, Full> {
        let replaced = self.replaced_by(message);
        if message.is_stored() {
            let old = replaced.and_then(|id| self.get(uaid, id));
            admit_to_log(self.logs.get(&uaid), message, old, limits)?;
            self.admit_to_all(uaid, message, old, limits)?;
        }
        Ok(replaced)
    }

    fn admit_to_all(
        &self,
        uaid: Uaid,
        message: &NewMessage,
        old: Option<&Entry>,
        limits: &StoreLimits,
    ) -> Result<(), Full> {
        let freed = old.map_or(0, |old| u64::from(old.size));
        let full = |scope| Full {
            limit: Limit::StoredBytes,
            scope,
            until: self.expiry.first_key_value().map(|((at, _), _)| *at),
        };
        let size = message.size() as u64;
        let headroom = Headroom::after(limits.stored_bytes, self.bytes, size, freed);
        let headroom = headroom.ok_or_else(|| full(Scope::All))?;
        if headroom.admits_all() {
            return Ok(());
        }
        if !headroom.admits(self.backlog(uaid).bytes - freed) {
            return Err(full(Scope::UserAgent));
        }
        for holder in message.origin.holders() {
            let freed = if self.is_of(old, holder) { freed } else { 0 };
            if !headroom.admits(self.holders.held(holder).bytes - freed) {
                return Err(full(holder.into()));
            }
        }
        Ok(())
    }

    fn is_of(&self, message: Option<&Entry>, holder: Holder) -> bool {
        message.is_some_and(|message| self.holders.is_charged(message.charged, holder))
    }

    /// Returns the receipts that stored messages will leave, given that a new message replaces
    /// `replaced`.
    pub(in crate::store) fn awaited_with(
        &self,
        replaced: Option<MessageId>,
    ) -> AwaitedReceipts<'_> {
        AwaitedReceipts {
            index: self,
            freed: u64::from(replaced.is_some_and(|id| self.is_awaited(id))),
        }
    }
}

/// The receipts that stored messages will leave.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct AwaitedReceipts<'i> {
    index: &'i Index,
    freed: u64,
}

impl AwaitedReceipts<'_> {
    /// Returns their number.
    pub(in crate::store) fn all(self) -> u64 {
        self.index.awaited.len() as u64
    }

    /// Returns how many of them the new message removes by replacing another one.
    pub(in crate::store) fn freed(self) -> u64 {
        self.freed
    }

    /// Returns how many of them are charged to a holder.
    pub(in crate::store) fn of(self, holder: Holder) -> u64 {
        self.index.holders.held(holder).receipts
    }
}

fn admit_to_log(
    log: Option<&Log>,
    message: &NewMessage,
    old: Option<&Entry>,
    limits: &StoreLimits,
) -> Result<(), Full> {
    let held = log.map_or(Backlog::default(), Log::backlog);
    let (less, freed) = old.map_or((0, 0), |old| (1, u64::from(old.size)));
    let messages = Headroom::after(
        u64::from(limits.messages_per_user_agent),
        held.messages,
        1,
        less,
    );
    let size = message.size() as u64;
    let bytes = Headroom::after(limits.bytes_per_user_agent, held.bytes, size, freed);
    let full = |limit, scope| Full {
        limit,
        scope,
        until: log.and_then(Log::next_expiry),
    };
    let (limit, other) = (Limit::MessagesPerUserAgent, Limit::BytesPerUserAgent);
    let messages = messages.ok_or_else(|| full(limit, Scope::UserAgent))?;
    let bytes = bytes.ok_or_else(|| full(other, Scope::UserAgent))?;
    if messages.admits_all() && bytes.admits_all() {
        return Ok(());
    }
    let own = log.map_or(Backlog::default(), |log| {
        log.of_subscription(message.subscription)
    });
    if !messages.admits(own.messages - less) {
        return Err(full(limit, Scope::Subscription));
    }
    if !bytes.admits(own.bytes - freed) {
        return Err(full(other, Scope::Subscription));
    }
    Ok(())
}
