//! Implements [`Inspect`]: what operators read and remove.

use std::ops::Bound::{Excluded, Included};

use bugle_protocol::{ChannelId, PublicKey, ReceiptSubscriptionId, Uaid, UnixTime};

use super::SledStore;
use super::keys::{SUBSCRIPTION, message_key, subscription_key};
use super::record::{decode_message, decode_subscription, read_message};
use super::removal::REMOVAL_BATCH;
use crate::store::index::{Index, Oldest};
use crate::store::{
    Backlog, BoxFuture, ExpiryCursor, Holder, Inspect, Largest, StoreError, Subscription, Usage,
};

impl Inspect for SledStore {
    fn usage(&self) -> Usage {
        self.keeper.usage()
    }

    fn backlog(&self, uaid: Uaid) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { Ok(self.database()?.state()?.index.backlog(uaid)) })
    }

    fn largest(&self, most: usize) -> BoxFuture<'_, Result<Largest, StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let (logs, receipts) = {
                let state = database.state()?;
                let receipts = state.receipts.largest(most, &database.limits);
                (state.index.largest(most), receipts)
            };
            // Read without the lock: these are up to two thousand records.
            logs.read(receipts, |Oldest { uaid, id, parts }| {
                let key = message_key(uaid, id);
                let record = database.reading(|tree| read_message(tree, key, parts))?;
                let message = record.and_then(|record| decode_message(&record).ok());
                Ok(message.map(|it| (it.channel, it.accepted_at)))
            })
        })
    }

    fn all_subscriptions(
        &self,
        after: Option<(Uaid, ChannelId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Subscription>, StoreError>> {
        Box::pin(async move {
            let from = after.map_or(Included(vec![SUBSCRIPTION]), |(uaid, channel)| {
                Excluded(subscription_key(uaid, channel).to_vec())
            });
            let range = (from, Excluded(vec![SUBSCRIPTION + 1]));
            self.database()?.scan(|tree| {
                let good = tree.range(range).filter_map(|item| match item {
                    Ok((key, record)) => decode_subscription(&key, &record).ok().map(Ok),
                    Err(error) => Some(Err(error)),
                });
                let found = good.take(limit);
                found.map(|it| it.map(|(found, _)| found)).collect()
            })
        })
    }

    fn all_receipt_subscriptions(
        &self,
        after: Option<(UnixTime, ReceiptSubscriptionId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(UnixTime, ReceiptSubscriptionId)>, StoreError>> {
        Box::pin(async move {
            Ok(self
                .database()?
                .state()?
                .receipts
                .subscriptions(after, limit))
        })
    }

    fn remove_signed(
        &self,
        key: PublicKey,
        after: Option<ExpiryCursor>,
        now: UnixTime,
    ) -> BoxFuture<'_, Result<(usize, Option<ExpiryCursor>), StoreError>> {
        Box::pin(async move {
            let database = self.database()?;
            let find = |index: &Index| index.charged_to(Holder::Key(key), after, REMOVAL_BATCH);
            let (keys, last) = {
                let state = database.state()?;
                let (signed, last) = find(&state.index);
                (state.keys_of(&signed), last)
            };
            if keys == 0 {
                return Ok((0, last));
            }
            let bytes = database.committer.byte_permit(keys, 0).await?;
            let removed = database.remove_now(bytes, |index| find(index).0, now)?;
            Ok((removed, last))
        })
    }
}
