//! Tests that damage to the files of a closed store is an error, or is counted as damaged records;
//! it never causes a panic, and no loss is silent.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use bugle_protocol::{ChannelId, Content, SubscriptionId, Uaid, UnixTime, Urgency};
use proptest::prelude::*;
use tempfile::TempDir;

use super::SledStore;
use crate::store::broadcasts::Label;
use crate::store::{
    Batch, BroadcastStore, Filter, Inspect, NewMessage, Origin, Store, Subscription,
};

const NOW: UnixTime = UnixTime::from_secs(5);
const ALL: Batch = Batch {
    messages: usize::MAX,
    bytes: usize::MAX,
};
const USER_AGENTS: u8 = 6;

/// For each user agent: whether it is subscribed, and how many messages are pending.
type Records = BTreeMap<u8, (bool, usize)>;

fn message(ua: u8, n: usize) -> NewMessage {
    NewMessage {
        channel: ChannelId::from_bytes([ua; 16]),
        subscription: SubscriptionId::from_bytes([ua; 16]),
        accepted_at: NOW,
        expires_at: UnixTime::from_secs(100),
        urgency: Urgency::Normal,
        topic: None,
        content: Some(Content {
            coding: None,
            content_type: None,
            body: vec![ua; n * 700],
        }),
        receipt: None,
        origin: Origin::default(),
    }
}

/// Reads back everything that was put into a store.
async fn records(store: &SledStore) -> Option<Records> {
    let mut records = BTreeMap::new();
    for ua in 0..USER_AGENTS {
        let (uaid, channel) = (Uaid::from_bytes([ua; 16]), ChannelId::from_bytes([ua; 16]));
        let subscribed = store.subscription(uaid, channel).await.ok()?.is_some();
        let log = store.pending(uaid, None, Filter::NONE, ALL, NOW).await;
        records.insert(ua, (subscribed, log.ok()?.items.len()));
    }
    records.insert(u8::MAX, (false, store.broadcasts().len()));
    Some(records)
}

/// A closed store, and what it holds.
async fn stored() -> (TempDir, Records) {
    let folder = tempfile::tempdir().unwrap();
    // Half of the records are written before the last start and half after it, because the engine
    // reads the former by its page table and the latter by its log.
    let mut expected = Records::new();
    for half in 0..2 {
        let store = SledStore::open_default(folder.path()).unwrap();
        for ua in 0..USER_AGENTS {
            let subscription = Subscription {
                uaid: Uaid::from_bytes([ua; 16]),
                channel: ChannelId::from_bytes([ua; 16]),
                id: SubscriptionId::from_bytes([ua; 16]),
                vapid_key: None,
                registration: None,
            };
            if half == 0 {
                store.subscribe(subscription, NOW).await.unwrap();
            }
            for n in 0..12 {
                let appended = store.append(Uaid::from_bytes([ua; 16]), message(ua, n), None);
                appended.await.unwrap();
            }
        }
        let label = |text| Label::new(text).unwrap();
        let set = store.set_broadcast(label("b"), Some(label("1")));
        set.await.unwrap();
        expected = records(&store).await.unwrap();
    }
    assert_eq!(expected[&0], (true, 24));
    (folder, expected)
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip { at: usize, bit: u8 },
    Cut { at: usize },
    Zero { at: usize },
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (any::<usize>(), 0_u8..8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        1 => any::<usize>().prop_map(|at| Damage::Cut { at }),
        2 => any::<usize>().prop_map(|at| Damage::Zero { at }),
    ]
}

impl Damage {
    /// Damages a part that is in use: only zeros follow the written part.
    fn apply(self, octets: &mut Vec<u8>) {
        let used = octets.iter().rposition(|octet| *octet != 0).unwrap_or(0) + 1;
        match self {
            Self::Flip { at, bit } => octets[at % used] ^= 1 << bit,
            Self::Cut { at } => octets.truncate(at % used),
            Self::Zero { at } => {
                let at = at % used;
                let end = (at + 512).min(octets.len());
                octets[at..end].fill(0);
            }
        }
    }
}

/// Copies a folder, with one of its files damaged.
fn damaged_copy(from: &Path, which: usize, damage: Damage) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    let files = fs::read_dir(from).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    // The `db` file holds most of the data, so it gets most of the damage.
    let db = files.iter().position(|path| path.ends_with("db")).unwrap();
    let which = if which % 4 < 2 {
        db
    } else {
        which % files.len()
    };
    for (at, path) in files.iter().enumerate() {
        let mut octets = fs::read(path).unwrap();
        if at == which {
            damage.apply(&mut octets);
        }
        fs::write(to.path().join(path.file_name().unwrap()), octets).unwrap();
    }
    to
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_an_error_or_is_counted(which in any::<usize>(), damage in damage()) {
        static STORED: OnceLock<(TempDir, Records)> = OnceLock::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (folder, expected) = STORED.get_or_init(|| runtime.block_on(stored()));
        let copy = damaged_copy(folder.path(), which, damage);
        if let Ok(store) = SledStore::open_default(copy.path())
            && let Some(found) = runtime.block_on(records(&store))
        {
            let damaged = store.usage().damaged;
            assert!(found == *expected || damaged > 0, "{damage:?} of file {which}: {found:?}");
        }
    }
}
