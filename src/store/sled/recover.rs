//! Reads every record once at start: fills the index, sets damaged records aside, and removes
//! messages without a subscription.

use bugle_protocol::{MessageId, Uaid};
use sled::{IVec, Tree};

use super::broadcasts::read_all;
use super::contents::KeySum;
use super::keys::{
    DAYS_KEY, MessageKey, RECEIPT, RECEIPT_SUBSCRIPTION, SUBSCRIPTION, parse_message_key,
    parse_subscription_key, subscription_key, user_agent_key,
};
use super::record::{
    Damaged, UserAgent, decode, decode_message, decode_receipt, decode_receipt_subscription,
    decode_subscription, decode_user_agent, encode_user_agent,
};
use super::scan;
use crate::store::broadcasts::Broadcasts;
use crate::store::days::Days;
use crate::store::index::Index;
use crate::store::receipt_logs::ReceiptLogs;
use crate::store::{NewMessage, Origin, Subscription};

/// The state rebuilt from the records.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    pub(super) index: Index,
    pub(super) broadcasts: Broadcasts,
    pub(super) receipts: ReceiptLogs,
    pub(super) subscriptions: u64,
    /// `None` before the first day was counted, or when the count was damaged. The count then
    /// restarts, which ends nothing too early.
    pub(super) days: Option<Days>,
    /// The number of records that were set aside, now or earlier.
    pub(super) damaged: u64,
    /// Greater than every message id found.
    pub(super) next_id: u64,
    /// The sum of the keys before recovery.
    pub(super) seen: KeySum,
    /// The sum of the keys after it.
    pub(super) keys: KeySum,
}

/// Reads all records of `tree`, and moves the damaged ones to `damaged`.
pub(super) fn recover(tree: &Tree, damaged: &Tree) -> sled::Result<Recovered> {
    let earlier = damaged.len() as u64;
    let seen = KeySum::of(tree)?;
    let (broadcasts, bad) = read_all(tree, damaged)?;
    let mut found = Recovered {
        broadcasts,
        damaged: earlier + bad,
        seen,
        keys: if bad == 0 { seen } else { KeySum::of(tree)? },
        ..Recovered::default()
    };
    found.read_days(tree, damaged)?;
    found.read_receipts(tree, damaged)?;
    found.read_subscriptions(tree, damaged)?;
    found.read_messages(tree, damaged)?;
    Ok(found)
}

/// Moves a damaged record to a tree that nothing reads, so that an operator can examine it. The log
/// line names no user agent.
pub(super) fn set_aside(tree: &Tree, damaged: &Tree, key: &[u8], what: &str) -> sled::Result<()> {
    tracing::error!("{what} in the store is damaged; it was set aside");
    if let Some(record) = tree.get(key)? {
        damaged.insert(key, record)?;
        tree.remove(key)?;
    }
    Ok(())
}

impl Recovered {
    fn set_aside(
        &mut self,
        tree: &Tree,
        damaged: &Tree,
        key: &[u8],
        what: &str,
    ) -> sled::Result<()> {
        set_aside(tree, damaged, key, what)?;
        self.keys.remove(key);
        self.damaged += 1;
        Ok(())
    }

    fn read_days(&mut self, tree: &Tree, damaged: &Tree) -> sled::Result<()> {
        if let Some(record) = tree.get(DAYS_KEY)? {
            self.days = decode(&record).ok();
            if self.days.is_none() {
                self.set_aside(tree, damaged, DAYS_KEY, "the count of days")?;
            }
        }
        Ok(())
    }

    fn read_receipts(&mut self, tree: &Tree, damaged: &Tree) -> sled::Result<()> {
        for item in tree.scan_prefix([RECEIPT_SUBSCRIPTION]) {
            let (key, record) = item?;
            if let Ok((id, ends_at)) = decode_receipt_subscription(&key, &record) {
                let nobody = Origin::default();
                self.receipts.put(id, ends_at, &nobody, ends_at);
            } else {
                self.set_aside(tree, damaged, &key, "a receipt subscription")?;
            }
        }
        for item in tree.scan_prefix([RECEIPT]) {
            let (key, record) = item?;
            if let Ok((subscription, stored)) = decode_receipt(&key, &record) {
                if !self.receipts.insert(subscription, stored) {
                    tree.remove(&key)?;
                    self.keys.remove(&key);
                }
            } else {
                self.set_aside(tree, damaged, &key, "a receipt")?;
            }
        }
        Ok(())
    }

    fn read_subscriptions(&mut self, tree: &Tree, damaged: &Tree) -> sled::Result<()> {
        let mut current: Option<(Uaid, u32)> = None;
        for item in tree.scan_prefix([SUBSCRIPTION]) {
            let (key, record) = item?;
            let good = decode_subscription(&key, &record).is_ok();
            if !good {
                self.set_aside(tree, damaged, &key, "a subscription")?;
            }
            let Ok((uaid, _)) = parse_subscription_key(&key) else {
                continue;
            };
            let (of, count) = current.get_or_insert((uaid, 0));
            if *of != uaid {
                check_count(tree, *of, *count)?;
                (*of, *count) = (uaid, 0);
            }
            *count += u32::from(good);
            self.subscriptions += u64::from(good);
        }
        current.map_or(Ok(()), |(uaid, count)| check_count(tree, uaid, count))
    }

    fn read_messages(&mut self, tree: &Tree, damaged: &Tree) -> sled::Result<()> {
        for parts in scan::messages(tree) {
            self.read_message(tree, damaged, &parts?)?;
        }
        Ok(())
    }

    /// Reads one message into the index; `parts` are its keys and records, in order.
    fn read_message(
        &mut self,
        tree: &Tree,
        damaged: &Tree,
        parts: &[(IVec, IVec)],
    ) -> sled::Result<()> {
        let Ok((uaid, id, mut message, count)) = read(parts) else {
            for (key, _) in parts {
                self.set_aside(tree, damaged, key, "a message")?;
            }
            return Ok(());
        };
        self.next_id = self.next_id.max(id.get().saturating_add(1));
        if let Some(subscription) = subscription_of(tree, uaid, &message)? {
            // The signer is not stored. A subscription that has a key accepts messages signed by
            // that key only.
            message.origin.key = subscription.vapid_key;
            self.index.insert(uaid, id, &message, count);
        } else {
            for (key, _) in parts {
                tree.remove(key)?;
                self.keys.remove(key);
            }
        }
        Ok(())
    }
}

/// Decodes a message from its keys and records, and returns the number of its parts.
pub(super) fn read(parts: &[(IVec, IVec)]) -> Result<(Uaid, MessageId, NewMessage, u16), Damaged> {
    let count = u16::try_from(parts.len()).map_err(|_| Damaged)?;
    let (key, _) = parts.first().ok_or(Damaged)?;
    let key: MessageKey = key.as_ref().try_into().map_err(|_| Damaged)?;
    let (uaid, id) = parse_message_key(&key)?;
    let records: Vec<&[u8]> = parts.iter().map(|(_, record)| record.as_ref()).collect();
    Ok((uaid, id, decode_message(&records.concat())?, count))
}

/// Returns the subscription of a message, if it exists.
pub(super) fn subscription_of(
    tree: &Tree,
    uaid: Uaid,
    message: &NewMessage,
) -> sled::Result<Option<Subscription>> {
    let key = subscription_key(uaid, message.channel);
    let record = tree.get(key)?;
    let subscription = record.and_then(|record| decode_subscription(&key, &record).ok());
    let found = subscription.map(|(found, _)| found);
    Ok(found.filter(|found| found.id == message.subscription))
}

/// Corrects the stored count of a user agent's subscriptions.
fn check_count(tree: &Tree, uaid: Uaid, count: u32) -> sled::Result<()> {
    let key = user_agent_key(uaid);
    let stored = tree.get(key)?;
    let stored = stored.and_then(|record| decode_user_agent(&record).ok());
    if stored.map_or(0, |stored| stored.subscriptions) == count {
        return Ok(());
    }
    let mended = UserAgent {
        subscriptions: count,
        connected: stored.and_then(|stored| stored.connected),
    };
    if count == 0 {
        tree.remove(key)?;
    } else if let Ok(record) = encode_user_agent(&mended) {
        tree.insert(key, record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use bugle_protocol::{ChannelId, ReceiptSubscriptionId, SubscriptionId, UnixTime, Urgency};

    use super::*;
    use crate::store::receipt_logs::StoredReceipt;
    use crate::store::sled::changes::Changes;
    use crate::store::sled::keys::{message_key, part_keys, receipt_key, receipt_subscription_key};
    use crate::store::sled::record::{encode, encode_message, encode_receipt, encode_subscription};
    use crate::store::{Receipt, ReceiptId, ReceiptStatus};

    const UAID: Uaid = Uaid::from_bytes([1; 16]);

    fn trees() -> (Tree, Tree) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        (
            db.open_tree("tree").unwrap(),
            db.open_tree("damaged").unwrap(),
        )
    }

    fn subscribe(tree: &Tree, channel: ChannelId) {
        let subscription = Subscription {
            uaid: UAID,
            channel,
            id: SubscriptionId::from_bytes(*channel.as_bytes()),
            vapid_key: None,
            registration: None,
        };
        let record = encode_subscription(&subscription, None).unwrap();
        tree.insert(subscription_key(UAID, channel), record)
            .unwrap();
    }

    fn store(tree: &Tree, id: u64, channel: ChannelId, body: usize) {
        let message = NewMessage {
            channel,
            subscription: SubscriptionId::from_bytes(*channel.as_bytes()),
            accepted_at: UnixTime::from_millis(0),
            expires_at: UnixTime::from_millis(1000),
            urgency: Urgency::Normal,
            topic: None,
            content: Some(bugle_protocol::Content {
                coding: None,
                content_type: None,
                body: vec![7; body],
            }),
            receipt: None,
            origin: Origin::default(),
        };
        let mut changes = Changes::default();
        let record = encode_message(&message).unwrap();
        changes
            .insert_message(message_key(UAID, MessageId::new(id)), &record)
            .unwrap();
        changes.apply(tree).unwrap();
    }

    fn count(tree: &Tree) -> Option<u32> {
        let record = tree.get(user_agent_key(UAID)).unwrap()?;
        let record = decode_user_agent(&record).ok();
        record.map(|user_agent| user_agent.subscriptions)
    }

    #[test]
    fn damaged_messages_are_set_aside_and_the_others_kept() {
        let (tree, damaged) = trees();
        let channel = ChannelId::from_bytes([2; 16]);
        subscribe(&tree, channel);
        for id in 1..=4 {
            store(&tree, id, channel, 12_000);
        }
        // One wrong byte, a missing part, a missing first part.
        let keys = |id| -> Vec<_> { part_keys(message_key(UAID, MessageId::new(id)), 3).collect() };
        let mut wrong = tree.get(&keys(1)[1]).unwrap().unwrap().to_vec();
        wrong[100] ^= 1;
        tree.insert(&keys(1)[1], wrong).unwrap();
        tree.remove(&keys(2)[2]).unwrap();
        tree.remove(&keys(3)[0]).unwrap();

        let found = recover(&tree, &damaged).unwrap();
        assert_eq!(found.index.usage().messages, 1);
        assert!(found.index.get(UAID, MessageId::new(4)).is_some());
        assert_eq!((found.damaged, damaged.len()), (7, 7));
        assert_eq!(found.next_id, 5);
        let again = recover(&tree, &damaged).unwrap();
        assert_eq!((again.index.usage().messages, again.damaged), (1, 7));
    }

    #[test]
    fn damaged_receipts_are_set_aside_and_lost_ones_removed() {
        let (tree, damaged) = trees();
        let ids = [1, 2, 3].map(|n| ReceiptSubscriptionId::from_bytes([n; 16]));
        let ends_at = encode(&UnixTime::from_secs(9)).unwrap();
        for id in &ids[..2] {
            let key = receipt_subscription_key(*id);
            tree.insert(key, ends_at.clone()).unwrap();
        }
        let stored = |id| StoredReceipt {
            receipt: Receipt {
                id: ReceiptId::new(id),
                uaid: UAID,
                message: MessageId::new(4),
                status: ReceiptStatus::Failed,
            },
            expires_at: UnixTime::from_secs(8),
        };
        let receipts = [(ids[0], 1), (ids[0], 7), (ids[1], 5), (ids[2], 6)];
        for (subscription, id) in receipts {
            let record = encode_receipt(&stored(id)).unwrap();
            let key = receipt_key(subscription, ReceiptId::new(id));
            tree.insert(key, record).unwrap();
        }
        let first = receipt_key(ids[0], ReceiptId::new(1));
        tree.insert(first, b"nothing").unwrap();
        tree.insert(receipt_subscription_key(ids[1]), b"nothing")
            .unwrap();

        let found = recover(&tree, &damaged).unwrap();
        let read = |id| found.receipts.after(id, None, 9, UnixTime::from_secs(0));
        assert_eq!(read(ids[0]).unwrap().items, [stored(7).receipt]);
        assert_eq!((read(ids[1]), read(ids[2])), (None, None));
        assert_eq!((found.damaged, damaged.len(), tree.len()), (2, 2, 2));
    }

    #[test]
    fn a_damaged_subscription_is_set_aside_and_its_messages_are_removed() {
        let (tree, damaged) = trees();
        let (good, bad) = (
            ChannelId::from_bytes([2; 16]),
            ChannelId::from_bytes([3; 16]),
        );
        for channel in [good, bad] {
            subscribe(&tree, channel);
        }
        store(&tree, 1, good, 10);
        store(&tree, 2, bad, 10);
        tree.insert(subscription_key(UAID, bad), b"nothing")
            .unwrap();

        let found = recover(&tree, &damaged).unwrap();
        assert_eq!((found.subscriptions, found.damaged), (1, 1));
        assert_eq!(found.index.usage().messages, 1);
        assert_eq!(count(&tree), Some(1));

        tree.insert(subscription_key(UAID, good), b"nothing")
            .unwrap();
        let found = recover(&tree, &damaged).unwrap();
        assert_eq!((found.subscriptions, found.damaged), (0, 2));
        assert_eq!((count(&tree), found.index.usage().messages), (None, 0));
        assert_eq!(tree.len(), 0);
    }
}
