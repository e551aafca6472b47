//! All receipt subscriptions, each with its log of receipts.
//!
//! Pure: no disk, no clock, no lock. Receipts are small, so memory holds them completely; an engine
//! with a disk also writes them there, and reads them at start.

mod admission;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};

use bugle_protocol::{MessageId, ReceiptSubscriptionId, Uaid, UnixTime};

use super::holders::{Amount, Charged, Holders};
use super::largest::{HeldReceipts, Largest, Top};
use super::{Origin, Page, Receipt, ReceiptId, ReceiptStatus, StoreLimits, Usage};

/// The outcome of a message that has a receipt subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) subscription: ReceiptSubscriptionId,
    pub(super) uaid: Uaid,
    pub(super) message: MessageId,
    pub(super) status: ReceiptStatus,
}

/// A receipt in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredReceipt {
    pub(super) receipt: Receipt,
    /// From this time on it is not delivered.
    pub(super) expires_at: UnixTime,
}

/// A receipt subscription.
#[derive(Debug)]
struct Log {
    ends_at: UnixTime,
    /// In the order of ids, which only grow.
    receipts: VecDeque<StoredReceipt>,
    /// The holders that the subscription is charged to: those who created it.
    charged: Charged,
}

/// What one receipt adds to the amount of its subscription's holders.
const ONE_RECEIPT: Amount = Amount {
    items: 0,
    bytes: 0,
    receipts: 1,
};

impl Log {
    /// What the subscription adds to the amount of its holders.
    fn amount(&self) -> Amount {
        Amount {
            items: 1,
            bytes: 0,
            receipts: self.receipts.len() as u64,
        }
    }

    fn position(&self, id: ReceiptId) -> Option<usize> {
        self.receipts
            .binary_search_by_key(&id, |stored| stored.receipt.id)
            .ok()
    }
}

/// The receipts that a change adds, and those that it evicts from a full log. The logs do not
/// change before [`commit`](ReceiptLogs::commit).
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) added: Vec<(ReceiptSubscriptionId, StoredReceipt)>,
    pub(super) dropped: Vec<(ReceiptSubscriptionId, ReceiptId)>,
}

/// All receipt subscriptions.
#[derive(Debug, Default)]
pub(super) struct ReceiptLogs {
    logs: HashMap<ReceiptSubscriptionId, Log>,
    ends: BTreeSet<(UnixTime, ReceiptSubscriptionId)>,
    expiry: BTreeMap<(UnixTime, ReceiptId), ReceiptSubscriptionId>,
    /// Who created the subscriptions, with the number of their receipts.
    holders: Holders,
    last_id: u64,
}

impl ReceiptLogs {
    /// Returns the last id that was given out.
    pub(super) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// Makes all later ids greater than `id`.
    pub(super) fn go_on_after(&mut self, id: u64) {
        self.last_id = self.last_id.max(id);
    }

    /// Returns whether the subscription exists and has not ended at `now`.
    pub(super) fn is_live(&self, id: ReceiptSubscriptionId, now: UnixTime) -> bool {
        self.logs.get(&id).is_some_and(|log| now < log.ends_at)
    }

    /// Adds a subscription, or changes its end. A subscription that is charged to no holder, as
    /// after a restart, is charged to `origin` from now on.
    pub(super) fn put(
        &mut self,
        id: ReceiptSubscriptionId,
        ends_at: UnixTime,
        origin: &Origin,
        now: UnixTime,
    ) {
        let log = self.logs.entry(id).or_insert_with(|| Log {
            ends_at,
            receipts: VecDeque::new(),
            charged: Charged::default(),
        });
        if log.charged == Charged::default() {
            log.charged = self.holders.charge(origin, log.amount(), now);
        }
        self.ends.remove(&(log.ends_at, id));
        log.ends_at = ends_at;
        self.ends.insert((ends_at, id));
    }

    /// Returns up to `limit` subscriptions after `after`, in the order of their ends.
    pub(super) fn subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> Vec<(UnixTime, ReceiptSubscriptionId)> {
        let from = after.map_or(Unbounded, Excluded);
        let behind = self.ends.range((from, Unbounded));
        behind.take(limit).copied().collect()
    }

    /// Removes a subscription with its receipts, and returns whether it existed.
    pub(super) fn remove(&mut self, id: ReceiptSubscriptionId) -> bool {
        let Some(log) = self.logs.remove(&id) else {
            return false;
        };
        self.ends.remove(&(log.ends_at, id));
        self.holders.discharge(log.charged, log.amount());
        for stored in log.receipts {
            self.expiry.remove(&(stored.expires_at, stored.receipt.id));
        }
        true
    }

    /// Returns the ids of all receipts of a subscription; `None` when it does not exist.
    pub(super) fn ids(&self, id: ReceiptSubscriptionId) -> Option<Vec<ReceiptId>> {
        let log = self.logs.get(&id)?;
        Some(
            log.receipts
                .iter()
                .map(|stored| stored.receipt.id)
                .collect(),
        )
    }

    /// Plans the receipts that `settled` leaves, in its order. A receipt whose subscription no
    /// longer exists is left out.
    pub(super) fn plan(
        &self,
        settled: impl IntoIterator<Item = Settled>,
        now: UnixTime,
        limits: &StoreLimits,
    ) -> Plan {
        let mut by_log: BTreeMap<_, Vec<Settled>> = BTreeMap::new();
        for settled in settled {
            if self.logs.contains_key(&settled.subscription) {
                by_log
                    .entry(settled.subscription)
                    .or_default()
                    .push(settled);
            }
        }
        let capacity = limits.receipts_per_subscription as usize;
        let expires_at = now + limits.receipt_lifetime;
        let mut plan = Plan::default();
        let mut last_id = self.last_id;
        for (subscription, settled) in by_log {
            let log = self.logs.get(&subscription).map(|log| &log.receipts);
            let newest = &settled[settled.len().saturating_sub(capacity)..];
            let over = (log.map_or(0, VecDeque::len) + newest.len()).saturating_sub(capacity);
            let oldest = log.into_iter().flatten().take(over);
            plan.dropped
                .extend(oldest.map(|stored| (subscription, stored.receipt.id)));
            plan.added.extend(newest.iter().map(|settled| {
                last_id += 1;
                let receipt = Receipt {
                    id: ReceiptId::new(last_id),
                    uaid: settled.uaid,
                    message: settled.message,
                    status: settled.status,
                };
                (
                    subscription,
                    StoredReceipt {
                        receipt,
                        expires_at,
                    },
                )
            }));
        }
        plan
    }

    /// Applies a plan, and returns the subscriptions that have a new receipt.
    pub(super) fn commit(&mut self, plan: Plan) -> Vec<ReceiptSubscriptionId> {
        for (subscription, id) in plan.dropped {
            self.remove_receipt(subscription, id);
        }
        let mut wake = Vec::new();
        for (subscription, stored) in plan.added {
            self.insert(subscription, stored);
            if wake.last() != Some(&subscription) {
                wake.push(subscription);
            }
        }
        wake
    }

    /// Adds a receipt, whose id must be greater than all ids in its log. Returns whether its
    /// subscription exists.
    pub(super) fn insert(
        &mut self,
        subscription: ReceiptSubscriptionId,
        stored: StoredReceipt,
    ) -> bool {
        let Some(log) = self.logs.get_mut(&subscription) else {
            return false;
        };
        self.last_id = self.last_id.max(stored.receipt.id.get());
        self.expiry
            .insert((stored.expires_at, stored.receipt.id), subscription);
        log.receipts.push_back(stored);
        self.holders.charge_again(log.charged, ONE_RECEIPT);
        true
    }

    /// Removes a receipt, and returns whether it existed.
    pub(super) fn remove_receipt(
        &mut self,
        subscription: ReceiptSubscriptionId,
        id: ReceiptId,
    ) -> bool {
        let Some(log) = self.logs.get_mut(&subscription) else {
            return false;
        };
        let stored = log.position(id).and_then(|at| log.receipts.remove(at));
        let Some(stored) = stored else {
            return false;
        };
        if log.receipts.len() * 4 < log.receipts.capacity() {
            log.receipts.shrink_to(log.receipts.len() * 2);
        }
        self.holders.discharge(log.charged, ONE_RECEIPT);
        self.expiry.remove(&(stored.expires_at, id)).is_some()
    }

    /// Returns whether a receipt exists.
    pub(super) fn holds(&self, subscription: ReceiptSubscriptionId, id: ReceiptId) -> bool {
        let log = self.logs.get(&subscription);
        log.is_some_and(|log| log.position(id).is_some())
    }

    /// Returns up to `limit` receipts of a log above `after` that have not expired at `now`, and
    /// whether there are more. `None` when their subscription does not exist or has ended.
    pub(super) fn after(
        &self,
        subscription: ReceiptSubscriptionId,
        after: Option<ReceiptId>,
        limit: usize,
        now: UnixTime,
    ) -> Option<Page<Receipt>> {
        let live = self.logs.get(&subscription);
        let log = live.filter(|log| now < log.ends_at)?;
        let behind = |stored: &StoredReceipt| after.is_some_and(|after| stored.receipt.id <= after);
        let start = log.receipts.partition_point(behind);
        let behind = log.receipts.range(start..);
        let mut live = behind.filter(|stored| now < stored.expires_at);
        Some(Page {
            items: live
                .by_ref()
                .take(limit)
                .map(|stored| stored.receipt)
                .collect(),
            more: live.next().is_some(),
        })
    }

    /// Returns up to `limit` receipts that have expired at `now`, the oldest expiry first.
    pub(super) fn expired(
        &self,
        now: UnixTime,
        limit: usize,
    ) -> Vec<(ReceiptSubscriptionId, ReceiptId)> {
        let end = (now, ReceiptId::new(u64::MAX));
        let expired = self.expiry.range(..=end).take(limit);
        expired.map(|((_, id), log)| (*log, *id)).collect()
    }

    /// Returns the subscription that ended first, if one has ended at `now`.
    pub(super) fn ended(&self, now: UnixTime) -> Option<ReceiptSubscriptionId> {
        let (ends_at, id) = self.ends.first()?;
        (*ends_at <= now).then_some(*id)
    }

    /// Forgets all origins, as after a restart.
    #[cfg(test)]
    pub(super) fn forget_origins(&mut self) {
        self.holders = Holders::default();
        for log in self.logs.values_mut() {
            log.charged = Charged::default();
        }
    }

    /// Returns the largest holders of receipts; the other lists are empty. Visits every log once.
    pub(super) fn largest(&self, most: usize, limits: &StoreLimits) -> Largest {
        let mut subscriptions = Top::new(most);
        for (id, log) in &self.logs {
            if let Some(oldest) = log.receipts.front() {
                let held = HeldReceipts {
                    holder: *id,
                    subscriptions: 1,
                    receipts: log.receipts.len() as u64,
                    since: oldest.expires_at.before(limits.receipt_lifetime),
                };
                subscriptions.add(held.receipts, held);
            }
        }
        let mut holders = Top::new(most);
        for (holder, amount, since) in self.holders.iter() {
            let held = HeldReceipts {
                holder: *holder,
                subscriptions: amount.items,
                receipts: amount.receipts,
                since,
            };
            holders.add(held.subscriptions + held.receipts, held);
        }
        Largest {
            receipt_subscriptions: subscriptions.into_sorted().collect(),
            receipt_holders: holders.into_sorted().collect(),
            ..Largest::default()
        }
    }

    /// Returns the totals of receipts; all other fields are 0.
    pub(super) fn usage(&self) -> Usage {
        Usage {
            receipts: self.expiry.len() as u64,
            receipt_subscriptions: self.logs.len() as u64,
            ..Usage::default()
        }
    }
}
