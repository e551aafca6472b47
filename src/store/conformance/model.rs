//! Random histories: sled must answer like the in-memory engine, even if it is closed and reopened
//! in between.

use proptest::prelude::*;

use super::pair::Pair;
use super::*;
use crate::store::ReceiptStatus;

/// One call, whose arguments come from small ranges so that they collide. `which` and `after` count
/// back from the newest message id.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Put(Subscription),
    Unsubscribe {
        ua: u8,
        ch: u8,
    },
    Append {
        uaid: Uaid,
        message: NewMessage,
    },
    Read {
        ua: u8,
        after: usize,
        filter: Filter,
        batch: Batch,
        now: UnixTime,
    },
    Remove {
        which: usize,
        why: Removal,
        now: UnixTime,
    },
    Expire {
        now: UnixTime,
        limit: usize,
    },
    RemoveReceipts {
        to: ReceiptSubscriptionId,
    },
    Settle {
        to: ReceiptSubscriptionId,
        which: usize,
        status: ReceiptStatus,
    },
    /// Removes the receipt at this position.
    TakeReceipt {
        to: ReceiptSubscriptionId,
        nth: usize,
    },
    /// A use of a user agent.
    Connected {
        ua: u8,
    },
    /// The service runs on another date, `later` days after the last one, while `connected` is
    /// connected.
    Unused {
        later: u64,
        days: u32,
        limit: usize,
        connected: Option<u8>,
    },
    Reopen,
}

pub(super) const TIGHT: StoreLimits = StoreLimits {
    subscriptions_per_user_agent: 2,
    subscriptions: 4,
    messages_per_user_agent: 6,
    bytes_per_user_agent: 20_000,
    stored_bytes: 40_000,
    receipt_subscriptions: 2,
    receipts_per_subscription: 3,
    receipts: 8,
    receipt_lifetime: Duration::from_millis(6),
    waiting_for_disk: 1,
    broadcasts: 1,
};

const URGENCIES: [Urgency; 4] = [
    Urgency::VeryLow,
    Urgency::Low,
    Urgency::Normal,
    Urgency::High,
];

const REMOVALS: [Removal; 5] = [
    Removal::Delivered,
    Removal::NotDecrypted,
    Removal::NotWanted,
    Removal::Withdrawn,
    Removal::GivenUp,
];

fn subscription() -> impl Strategy<Value = Subscription> {
    (0_u8..3, 0_u8..3, 0_u8..2).prop_map(|(ua, ch, life)| subscription_of(ua, ch, life))
}

fn now() -> impl Strategy<Value = UnixTime> {
    (0_u64..12).prop_map(at)
}

fn urgency() -> impl Strategy<Value = Urgency> {
    prop::sample::select(URGENCIES.as_slice())
}

fn receipts() -> impl Strategy<Value = ReceiptSubscriptionId> {
    (0_u8..3).prop_map(receipt_subscription)
}

/// An unknown origin, or one of two addresses; one of them with a key.
fn origin() -> impl Strategy<Value = Origin> {
    (0_u8..4).prop_map(origin_of)
}

fn receipt_target() -> impl Strategy<Value = ReceiptTarget> {
    let grant = prop_oneof![
        Just(Grant::AsItIs),
        now().prop_map(Grant::Prolong),
        now().prop_map(Grant::Make),
    ];
    (receipts(), grant).prop_map(|(id, grant)| ReceiptTarget { id, grant })
}

fn append() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0_usize..200, 5_000_usize..12_000];
    let receipt = prop::option::weighted(0.8, receipt_target());
    let parts = (subscription(), 0_u8..4, 0_u64..12, size, urgency());
    (parts, receipt, origin()).prop_map(
        |((subscription, topic, ttl, size, urgency), receipt, origin)| {
            let mut message = with_ttl(message_for(&subscription, &"x".repeat(size)), ttl);
            if topic > 0 {
                message = with_topic(message, &topic.to_string());
            }
            message.urgency = urgency;
            message.receipt = receipt;
            message.origin = origin;
            Step::Append {
                uaid: subscription.uaid,
                message,
            }
        },
    )
}

fn read() -> impl Strategy<Value = Step> {
    let filter = (urgency(), prop::option::of(0_u8..3)).prop_map(|(min_urgency, ch)| Filter {
        min_urgency,
        channel: ch.map(channel),
    });
    let batch = (0_usize..5, 0_usize..9000).prop_map(|(messages, bytes)| Batch { messages, bytes });
    (0_u8..3, 0_usize..12, filter, batch, now()).prop_map(|(ua, after, filter, batch, now)| {
        Step::Read {
            ua,
            after,
            filter,
            batch,
            now,
        }
    })
}

fn remove() -> impl Strategy<Value = Step> {
    let why = prop::sample::select(REMOVALS.as_slice());
    (0_usize..8, why, now()).prop_map(|(which, why, now)| Step::Remove { which, why, now })
}

fn settle() -> impl Strategy<Value = Step> {
    (receipts(), 0_usize..8, any::<bool>()).prop_map(|(to, which, delivered)| {
        let status = if delivered {
            ReceiptStatus::Delivered
        } else {
            ReceiptStatus::Failed
        };
        Step::Settle { to, which, status }
    })
}

fn unused() -> impl Strategy<Value = Step> {
    let connected = prop::option::weighted(0.2, 0_u8..3);
    (0_u64..3, 0_u32..3, 0_usize..8, connected).prop_map(|(later, days, limit, connected)| {
        Step::Unused {
            later,
            days,
            limit,
            connected,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => subscription().prop_map(Step::Put),
        1 => (0_u8..3, 0_u8..3).prop_map(|(ua, ch)| Step::Unsubscribe { ua, ch }),
        12 => append(),
        6 => read(),
        5 => remove(),
        1 => (now(), 0_usize..4).prop_map(|(now, limit)| Step::Expire { now, limit }),
        1 => receipts().prop_map(|to| Step::RemoveReceipts { to }),
        1 => settle(),
        1 => (receipts(), 0_usize..3).prop_map(|(to, nth)| Step::TakeReceipt { to, nth }),
        2 => (0_u8..3).prop_map(|ua| Step::Connected { ua }),
        10 => unused(),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sled_is_the_reference(steps in prop::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.run(step).await;
                pair.compare_all().await;
            }
            pair.run(Step::Reopen).await;
            pair.compare_all().await;
            pair.compare_logs().await;
        });
    }
}
