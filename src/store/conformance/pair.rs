//! Two stores that receive the same calls, and must give the same answers.

use super::model::{Step, TIGHT};
use super::*;
use crate::store::{Page, Receipt, Sweep};

/// A message, with the ids that both stores gave it.
#[derive(Clone, Copy)]
struct Known {
    uaid: Uaid,
    in_memory: MessageId,
    in_sled: MessageId,
}

/// Both stores, and the messages that they accepted.
pub(super) struct Pair {
    memory: MemoryStore,
    sled: Option<Opened>,
    known: Vec<Known>,
    /// In days after [`NOW`].
    date: u64,
}

impl Pair {
    pub(super) fn new() -> Self {
        Self {
            memory: MemoryStore::new(TIGHT, Arc::<EventRecorder>::default()),
            sled: Some(open_sled(TIGHT)),
            known: Vec::new(),
            date: 0,
        }
    }

    fn stores(&self) -> (&MemoryStore, &dyn Engine) {
        (&self.memory, &*self.sled.as_ref().unwrap().store)
    }

    /// Counts back from the newest message.
    fn known(&self, which: usize) -> Option<Known> {
        self.known.iter().rev().nth(which).copied()
    }

    pub(super) async fn run(&mut self, step: Step) {
        let (memory, sled) = self.stores();
        match step {
            Step::Append { uaid, message } => self.append(uaid, message).await,
            Step::Reopen => self.reopen(),
            Step::Put(new) => assert_eq!(
                sled.subscribe(new.clone(), NOW).await,
                memory.subscribe(new, NOW).await
            ),
            Step::Unsubscribe { ua, ch } => assert_eq!(
                sled.unsubscribe(uaid(ua), channel(ch), None, Readers::Close, NOW)
                    .await,
                memory
                    .unsubscribe(uaid(ua), channel(ch), None, Readers::Close, NOW)
                    .await
            ),
            Step::Read {
                ua,
                after,
                filter,
                batch,
                now,
            } => {
                let after = self
                    .known(after)
                    .map(|known| (known.in_memory, known.in_sled));
                let (expected_after, after) = after.unzip();
                let expected = memory.pending(uaid(ua), expected_after, filter, batch, now);
                let read = sled.pending(uaid(ua), after, filter, batch, now).await;
                let expected = expected.await.unwrap();
                expected.items.iter().for_each(|it| memory.give_out(it.id));
                let read = read.unwrap();
                read.items.iter().for_each(|it| sled.give_out(it.id));
                assert_eq!(read, self.translated_page(expected));
            }
            Step::Remove { which, why, now } => {
                if let Some(known) = self.known(which) {
                    // A user agent may acknowledge twice in one frame.
                    let of = |id| [(id, why), (id, Removal::Delivered)];
                    let expected = of(known.in_memory);
                    let expected = memory.remove(known.uaid, &expected, now).await;
                    let removed = sled.remove(known.uaid, &of(known.in_sled), now).await;
                    assert_eq!(removed, expected);
                }
            }
            Step::Expire { now, limit } => assert_eq!(
                sled.expire(now, limit).await,
                memory.expire(now, limit).await
            ),
            Step::Connected { ua } => {
                assert_eq!(sled.connect(uaid(ua)).await, memory.connect(uaid(ua)).await)
            }
            Step::Unused {
                later,
                days,
                limit,
                connected,
            } => {
                self.date += later;
                let (memory, sled) = self.stores();
                let sweep = Sweep {
                    now: at(self.date * 24 * 3600 * 1000),
                    unused_days: Some(days),
                    limit,
                    is_connected: &|ua, _| connected.is_some_and(|there| ua == uaid(there)),
                };
                let ended = sled.end_unused(sweep).await;
                assert_eq!(ended, memory.end_unused(sweep).await);
                // Until the change is durable, sled does not report that they ended.
                if ended.unwrap().user_agents > 0 {
                    sled.flush().await.unwrap();
                }
            }
            receipts => self.run_receipts(receipts).await,
        }
    }

    async fn run_receipts(&self, step: Step) {
        let (memory, sled) = self.stores();
        match step {
            Step::RemoveReceipts { to } => assert_eq!(
                sled.remove_receipt_subscription(to, NOW).await,
                memory.remove_receipt_subscription(to, NOW).await
            ),
            Step::Settle { to, which, status } => {
                if let Some(known) = self.known(which) {
                    let expected = memory.settle(to, known.uaid, known.in_memory, status, NOW);
                    let settled = sled.settle(to, known.uaid, known.in_sled, status, NOW);
                    assert_eq!(settled.await, expected.await);
                }
            }
            Step::TakeReceipt { to, nth } => {
                let expected = receipts_in(memory, to, NOW).await.unwrap_or_default();
                let receipts = receipts_in(sled, to, NOW).await.unwrap_or_default();
                if let (Some(expected), Some(receipt)) = (expected.get(nth), receipts.get(nth)) {
                    let expected = memory.remove_receipt(to, expected.id).await;
                    assert_eq!(sled.remove_receipt(to, receipt.id).await, expected);
                }
            }
            other => panic!("not about receipts: {other:?}"),
        }
    }

    fn reopen(&mut self) {
        let Opened { store, folder, .. } = self.sled.take().unwrap();
        drop(store);
        self.sled = Some(sled_in(folder.unwrap(), TIGHT));
        self.memory.forget();
    }

    async fn append(&mut self, uaid: Uaid, message: NewMessage) {
        let (memory, sled) = self.stores();
        let expected = memory.append(uaid, message.clone(), None).await;
        let appended = sled.append(uaid, message, None).await;
        assert_eq!(expected.as_ref().err(), appended.as_ref().err());
        if let (Ok(in_memory), Ok(in_sled)) = (expected, appended) {
            let newer = |last: &Known| last.in_sled < in_sled;
            assert!(self.known.last().is_none_or(newer));
            self.known.push(Known {
                uaid,
                in_memory,
                in_sled,
            });
        }
    }

    /// Returns the id in sled of a message of the other store.
    fn translate(&self, id: MessageId) -> MessageId {
        let known = self
            .known
            .binary_search_by_key(&id, |known| known.in_memory);
        self.known[known.unwrap()].in_sled
    }

    fn translated(&self, message: PushMessage) -> PushMessage {
        PushMessage {
            id: self.translate(message.id),
            ..message
        }
    }

    fn translated_page(&self, page: Page<PushMessage>) -> Page<PushMessage> {
        let messages = page.items.into_iter();
        Page {
            items: messages.map(|message| self.translated(message)).collect(),
            more: page.more,
        }
    }

    /// Compares everything that can be read without giving messages out.
    pub(super) async fn compare_all(&self) {
        let (memory, sled) = self.stores();
        for ua in (0..3).map(uaid) {
            assert_eq!(sled.subscriptions(ua).await, memory.subscriptions(ua).await);
            for ch in (0..3).map(channel) {
                let expected = memory.subscription(ua, ch).await;
                assert_eq!(sled.subscription(ua, ch).await, expected);
            }
            for known in &self.known {
                let expected = memory.message(ua, known.in_memory, NOW).await.unwrap();
                let message = sled.message(ua, known.in_sled, NOW).await.unwrap();
                assert_eq!(message, expected.map(|it| self.translated(it)));
            }
        }
        for to in (0..3).map(receipt_subscription) {
            for now in [NOW, at(8)] {
                let expected = receipts_in(memory, to, now).await;
                let receipts = receipts_in(sled, to, now).await;
                assert_eq!(receipts.is_some(), expected.is_some());
                let expected = expected.into_iter().flatten();
                let expected = expected.map(|r| (r.uaid, self.translate(r.message), r.status));
                let receipts = receipts.into_iter().flatten();
                let receipts = receipts.map(|r| (r.uaid, r.message, r.status));
                assert!(receipts.eq(expected));
            }
        }
        let expected = largest(memory).await;
        assert_eq!(largest(sled).await, expected);
        let mut usage = sled.usage();
        (usage.disk_bytes, usage.free_bytes) = (0, 0);
        assert_eq!(usage, memory.usage());
    }

    /// Compares the logs of all user agents.
    pub(super) async fn compare_logs(&self) {
        let (memory, sled) = self.stores();
        for ua in (0..3).map(uaid) {
            let expected = memory.pending(ua, None, Filter::NONE, ALL, NOW).await;
            let read = sled.pending(ua, None, Filter::NONE, ALL, NOW).await;
            assert_eq!(read.unwrap(), self.translated_page(expected.unwrap()));
        }
    }
}

/// Returns all holders of a store, in an order that is the same for equal holders.
async fn largest(store: &dyn Engine) -> [Vec<String>; 6] {
    fn sorted(list: &[impl std::fmt::Debug]) -> Vec<String> {
        let mut list: Vec<_> = list.iter().map(|held| format!("{held:?}")).collect();
        list.sort();
        list
    }
    let largest = store.largest(100).await.unwrap();
    [
        sorted(&largest.user_agents),
        sorted(&largest.subscriptions),
        sorted(&largest.senders),
        sorted(&largest.addresses),
        sorted(&largest.receipt_subscriptions),
        sorted(&largest.receipt_holders),
    ]
}

/// Returns all receipts of an existing receipt subscription.
async fn receipts_in(
    store: &dyn Engine,
    to: ReceiptSubscriptionId,
    now: UnixTime,
) -> Option<Vec<Receipt>> {
    let all = store.receipts(to, None, usize::MAX, now).await.unwrap()?;
    assert!(!all.more);
    let all = all.items;
    if let [first, rest @ ..] = all.as_slice() {
        let after = store.receipts(to, Some(first.id), usize::MAX, now).await;
        assert_eq!(after.unwrap().unwrap().items, rest);
    }
    Some(all)
}
