//! Random histories: sled must answer as the engine in memory does, also when
//! it is closed and opened in between.

use proptest::prelude::*;

use super::*;

/// One call, its arguments picked from small ranges so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Put {
        ua: u8,
        ch: u8,
        life: u8,
    },
    Unsubscribe {
        ua: u8,
        ch: u8,
    },
    Append {
        ua: u8,
        ch: u8,
        life: u8,
        topic: u8,
        ttl: u64,
        size: usize,
        urgency: Urgency,
    },
    Read {
        ua: u8,
        after: usize,
        filter: Filter,
        messages: usize,
        bytes: usize,
        now: u64,
    },
    Remove {
        ua: u8,
        which: usize,
    },
    Expire {
        now: u64,
        limit: usize,
    },
    Reopen,
}

const TIGHT: StoreLimits = StoreLimits {
    subscriptions_per_user_agent: 2,
    subscriptions: 4,
    messages_per_user_agent: 6,
    bytes_per_user_agent: 20_000,
    stored_bytes: 40_000,
    waiting_for_disk: 1,
    broadcasts: 1,
};

fn urgency() -> impl Strategy<Value = Urgency> {
    prop::sample::select(vec![
        Urgency::VeryLow,
        Urgency::Low,
        Urgency::Normal,
        Urgency::High,
    ])
}

fn filter() -> impl Strategy<Value = Filter> {
    (urgency(), prop::option::of(0_u8..3)).prop_map(|(min_urgency, ch)| Filter {
        min_urgency,
        channel: ch.map(channel),
    })
}

fn step() -> impl Strategy<Value = Step> {
    let (ua, ch, life) = (0_u8..3, 0_u8..3, 0_u8..2);
    let (now, which) = (0_u64..12, 0_usize..40);
    prop_oneof![
        3 => (ua.clone(), ch.clone(), life.clone()).prop_map(|(ua, ch, life)| Step::Put { ua, ch, life }),
        1 => (ua.clone(), ch.clone()).prop_map(|(ua, ch)| Step::Unsubscribe { ua, ch }),
        12 => (ua.clone(), ch, life, 0_u8..4, 0_u64..12, prop_oneof![0_usize..200, 5_000_usize..12_000], urgency())
            .prop_map(|(ua, ch, life, topic, ttl, size, urgency)| Step::Append { ua, ch, life, topic, ttl, size, urgency }),
        3 => (ua.clone(), which.clone(), filter(), 0_usize..5, 0_usize..9000, now.clone())
            .prop_map(|(ua, after, filter, messages, bytes, now)| Step::Read { ua, after, filter, messages, bytes, now }),
        3 => (ua, which).prop_map(|(ua, which)| Step::Remove { ua, which }),
        1 => (now, 0_usize..4).prop_map(|(now, limit)| Step::Expire { now, limit }),
        1 => Just(Step::Reopen),
    ]
}

/// Both stores, and which id of one is which of the other.
struct Pair {
    memory: MemoryStore,
    sled: Option<SledStore>,
    folder: tempfile::TempDir,
    ids: Vec<(MessageId, MessageId)>,
}

impl Pair {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            memory: MemoryStore::new(TIGHT),
            sled: Some(sled_in(&folder, TIGHT)),
            folder,
            ids: Vec::new(),
        }
    }

    fn sled(&self) -> &SledStore {
        self.sled.as_ref().unwrap()
    }

    /// A pair of ids that were given out, or of none.
    fn id(&self, which: usize) -> (Option<MessageId>, Option<MessageId>) {
        self.ids.get(which).copied().unzip()
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Put { ua, ch, life } => {
                let new = subscription_of(ua, ch, life);
                let expected = self.memory.put_subscription(new.clone()).await;
                assert_eq!(self.sled().put_subscription(new).await, expected);
            }
            Step::Unsubscribe { ua, ch } => {
                let expected = self.memory.remove_subscription(uaid(ua), channel(ch)).await;
                let removed = self.sled().remove_subscription(uaid(ua), channel(ch)).await;
                assert_eq!(removed, expected);
            }
            Step::Append {
                ua,
                ch,
                life,
                topic,
                ttl,
                size,
                urgency,
            } => {
                let mut message = message_for(&subscription_of(ua, ch, life), &"x".repeat(size));
                message.urgency = urgency;
                if topic > 0 {
                    message = with_topic(message, &topic.to_string());
                }
                self.append(ua, with_ttl(message, ttl)).await;
            }
            Step::Read {
                ua,
                after,
                filter,
                messages,
                bytes,
                now,
            } => {
                let (expected_after, after) = self.id(after);
                let (batch, now) = (Batch { messages, bytes }, at(now));
                let expected = self
                    .memory
                    .pending(uaid(ua), expected_after, filter, batch, now)
                    .await;
                let read = self
                    .sled()
                    .pending(uaid(ua), after, filter, batch, now)
                    .await;
                self.same(expected.unwrap(), read.unwrap());
            }
            Step::Remove { ua, which } => {
                if let (Some(expected), Some(id)) = self.id(which) {
                    let expected = self.memory.remove(uaid(ua), expected).await;
                    assert_eq!(self.sled().remove(uaid(ua), id).await, expected);
                }
            }
            Step::Expire { now, limit } => {
                let expected = self.memory.expire(at(now), limit).await;
                assert_eq!(self.sled().expire(at(now), limit).await, expected);
            }
            Step::Reopen => {
                self.sled = None;
                self.sled = Some(sled_in(&self.folder, TIGHT));
            }
        }
    }

    async fn append(&mut self, ua: u8, message: NewMessage) {
        let expected = self.memory.append(uaid(ua), message.clone()).await;
        let appended = self.sled().append(uaid(ua), message).await;
        assert_eq!(expected.as_ref().err(), appended.as_ref().err());
        if let (Ok(expected), Ok(id)) = (expected, appended) {
            assert!(self.ids.last().is_none_or(|(_, last)| *last < id));
            self.ids.push((expected, id));
        }
    }

    /// Compares all but the ids, which only have to correspond.
    fn same(&self, mut expected: Vec<PushMessage>, read: Vec<PushMessage>) {
        for message in &mut expected {
            let known = self.ids.binary_search_by_key(&message.id, |(id, _)| *id);
            message.id = self.ids[known.unwrap()].1;
        }
        assert_eq!(read, expected);
    }

    async fn compare_all(&self) {
        for ua in 0..3 {
            let expected = self
                .memory
                .pending(uaid(ua), None, Filter::NONE, ALL, NOW)
                .await
                .unwrap();
            let read = self
                .sled()
                .pending(uaid(ua), None, Filter::NONE, ALL, NOW)
                .await
                .unwrap();
            self.same(expected, read);
            let knows = self.memory.knows(uaid(ua)).await;
            assert_eq!(self.sled().knows(uaid(ua)).await, knows);
            for ch in 0..3 {
                let expected = self.memory.subscription(uaid(ua), channel(ch)).await;
                assert_eq!(
                    self.sled().subscription(uaid(ua), channel(ch)).await,
                    expected
                );
            }
        }
        let mut usage = self.sled().usage();
        usage.disk_bytes = 0;
        assert_eq!(usage, self.memory.usage());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_is_the_reference(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.run(step).await;
                pair.compare_all().await;
            }
            pair.run(Step::Reopen).await;
            pair.compare_all().await;
        });
    }
}
