//! Whether the bounds let a new message in. Each is shared by the rule of
//! [`Room`]: the bounds of a user agent by its subscriptions, the bound of all
//! by user agents, senders and addresses.

use bugle_protocol::{MessageId, Uaid};

use super::Index;
use crate::store::holders::Holder;
use crate::store::log::{Entry, Log};
use crate::store::room::Room;
use crate::store::{Backlog, Full, Limit, NewMessage, StoreLimits, Whose};

impl Index {
    /// Which message the new one replaces, if the bounds let it in.
    ///
    /// # Errors
    /// The bound that it would cross, the replaced message counted out, or the
    /// bound of which somebody holds as much as they may.
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
        let full = |whose| Full {
            limit: Limit::StoredBytes,
            whose,
            until: self.expiry.first_key_value().map(|((at, _), _)| *at),
        };
        let size = message.size() as u64;
        let room = Room::after(limits.stored_bytes, self.bytes, size, freed);
        let room = room.ok_or_else(|| full(Whose::All))?;
        if room.is_for_all() {
            return Ok(());
        }
        if !room.is_for(self.backlog(uaid).bytes - freed) {
            return Err(full(Whose::UserAgent));
        }
        for holder in message.origin.holders() {
            let freed = if self.is_of(old, holder) { freed } else { 0 };
            if !room.is_for(self.holders.held(holder).bytes - freed) {
                return Err(full(holder.into()));
            }
        }
        Ok(())
    }

    fn is_of(&self, message: Option<&Entry>, holder: Holder) -> bool {
        message.is_some_and(|message| self.holders.is_charged(message.charged, holder))
    }

    /// The receipts that stored messages will leave, one of which gives way to
    /// a new message.
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
    /// Their number.
    pub(in crate::store) fn all(self) -> u64 {
        self.index.awaited.len() as u64
    }

    /// How many of them the new message takes away: one that it replaces.
    pub(in crate::store) fn freed(self) -> u64 {
        self.freed
    }

    /// How many of them are left by the messages of a holder.
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
    let messages = Room::after(
        u64::from(limits.messages_per_user_agent),
        held.messages,
        1,
        less,
    );
    let size = message.size() as u64;
    let bytes = Room::after(limits.bytes_per_user_agent, held.bytes, size, freed);
    let full = |limit, whose| Full {
        limit,
        whose,
        until: log.and_then(Log::next_expiry),
    };
    let (limit, other) = (Limit::MessagesPerUserAgent, Limit::BytesPerUserAgent);
    let messages = messages.ok_or_else(|| full(limit, Whose::UserAgent))?;
    let bytes = bytes.ok_or_else(|| full(other, Whose::UserAgent))?;
    if messages.is_for_all() && bytes.is_for_all() {
        return Ok(());
    }
    let own = log.map_or(Backlog::default(), |log| {
        log.of_subscription(message.subscription)
    });
    if !messages.is_for(own.messages - less) {
        return Err(full(limit, Whose::Subscription));
    }
    if !bytes.is_for(own.bytes - freed) {
        return Err(full(other, Whose::Subscription));
    }
    Ok(())
}
