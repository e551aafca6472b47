//! Unused user agents end, as a whole and not early.

use super::reopen::reopened;
use super::*;
use crate::store::days::RECORD_INTERVAL_DAYS;
use crate::store::{Sweep, Unused};

const DAY: u64 = 24 * 3600 * 1000;

/// After how many days without use a user agent ends in these tests.
const UNUSED_DAYS: u32 = 30;

fn nobody(_: Uaid, _: &[ChannelId]) -> bool {
    false
}

/// The sweep on a date, counted from [`NOW`].
fn on(date: u64) -> Sweep<'static> {
    Sweep {
        now: at(date * DAY),
        unused_days: Some(UNUSED_DAYS),
        limit: 1000,
        is_connected: &nobody,
    }
}

async fn end(store: &Arc<dyn Engine>, sweep: Sweep<'_>) -> Unused {
    store.end_unused(sweep).await.unwrap()
}

/// Runs the service on these dates, and returns on which of them user agents ended.
async fn run(
    store: &Arc<dyn Engine>,
    events: &EventRecorder,
    dates: impl Iterator<Item = u64>,
) -> Vec<(u64, Uaid)> {
    let mut all = Vec::new();
    events.take();
    for date in dates {
        let unused = end(store, on(date)).await;
        let ended = ended_in(&events.take());
        assert_eq!(unused.subscriptions, ended.len());
        all.extend(ended.into_iter().map(|uaid| (date, uaid)));
    }
    all
}

/// Returns the user agent of each subscription that ended.
fn ended_in(events: &[Event]) -> Vec<Uaid> {
    let ended = events.iter().filter_map(|event| match event {
        Event::Ended { uaid, .. } => Some(*uaid),
        _ => None,
    });
    ended.collect()
}

/// Returns when a use on that date no longer counts.
fn forgotten(date: u64) -> u64 {
    date + u64::from(UNUSED_DAYS + RECORD_INTERVAL_DAYS)
}

#[tokio::test]
async fn an_unused_user_agent_ends_with_all_it_has() {
    each_with_events(ROOMY, async |store, events| {
        assert_eq!(end(store, on(0)).await, Unused::default());
        let (kept, unused) = (subscribed(store, 1, 1).await, subscribed(store, 2, 1).await);
        subscribed(store, 2, 2).await;
        receipts_of(store, 1).await;
        let mut waiting = awaited(message_for(&unused, "x"), 1);
        waiting.expires_at = at(DAY * 1000);
        store.append(uaid(2), waiting, None).await.unwrap();
        let ended = run(store, events, 1..forgotten(0)).await;
        assert_eq!(ended, []);
        assert_eq!(store.connect(uaid(1)).await, Ok(true));
        let ended = end(store, on(forgotten(0))).await;
        assert_eq!((ended.user_agents, ended.subscriptions), (1, 2));
        let closed = |ch, is_last| Event::Ended {
            uaid: uaid(2),
            channel: channel(ch),
            is_last,
        };
        let receipts = Event::Receipts(receipt_subscription(1));
        assert_eq!(events.take(), [closed(1, false), closed(2, true), receipts]);
        // Until the change is durable, sled does not report that they ended.
        store.flush().await.unwrap();
        assert_eq!(store.subscription(uaid(2), channel(1)).await, Ok(None));
        assert_eq!(store.connect(uaid(2)).await, Ok(false));
        assert_eq!(store.subscriptions(uaid(2)).await, Ok(Vec::new()));
        let usage = store.usage();
        assert_eq!((usage.subscriptions, usage.messages), (1, 0));
        let late = store.append(uaid(2), message_for(&unused, "x"), None).await;
        assert!(late.is_err());
        store
            .append(uaid(1), message_for(&kept, "x"), None)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_message_for_one_subscription_keeps_the_whole_user_agent() {
    each_with_events(ROOMY, async |store, events| {
        end(store, on(0)).await;
        let (one, _) = (subscribed(store, 1, 1).await, subscribed(store, 1, 2).await);
        subscribed(store, 2, 1).await;
        run(store, events, 1..20).await;
        let unstored = with_ttl(message_for(&one, "x"), 0);
        store.append(uaid(1), unstored, None).await.unwrap();
        let ended = run(store, events, 20..200).await;
        let one = (forgotten(0), uaid(2));
        let both = (forgotten(19), uaid(1));
        assert_eq!(ended, [one, both, both]);
    })
    .await;
}

#[tokio::test]
async fn a_connected_user_agent_stays_and_is_recorded_as_used() {
    each_with_events(ROOMY, async |store, events| {
        end(store, on(0)).await;
        for ua in 1..=2 {
            subscribed(store, ua, 1).await;
        }
        let is_connected =
            |ua: Uaid, channels: &[ChannelId]| ua == uaid(1) || channels.contains(&channel(1));
        for date in 1..200 {
            let sweep = Sweep {
                is_connected: &is_connected,
                ..on(date)
            };
            assert_eq!(end(store, sweep).await, Unused::default());
        }
        // One was connected as a whole on each day. Of the other, only a read of one channel at the
        // time of its end is known.
        let ended = run(store, events, 200..400).await;
        assert_eq!(ended[0], (200, uaid(2)));
        let last = forgotten(199) - u64::from(RECORD_INTERVAL_DAYS);
        assert!(ended[1].0 >= last && ended[1].1 == uaid(1), "{ended:?}");
        assert_eq!(ended.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn days_without_the_service_and_jumps_of_the_clock_do_not_count() {
    each_with_events(ROOMY, async |store, events| {
        end(store, on(0)).await;
        subscribed(store, 1, 1).await;
        let dates = [1000, 1000, 2, 3000, 2, 4000].into_iter();
        assert_eq!(run(store, events, dates).await, []);
    })
    .await;
}

#[tokio::test]
async fn nothing_ends_when_unused_days_is_off() {
    each(ROOMY, async |store| {
        subscribed(store, 1, 1).await;
        for date in 0..100 {
            let sweep = Sweep {
                unused_days: None,
                ..on(date)
            };
            assert_eq!(end(store, sweep).await, Unused::default());
        }
        assert!(store.connect(uaid(1)).await.unwrap());
    })
    .await;
}

#[tokio::test]
async fn a_step_takes_no_more_than_its_limit_and_the_next_goes_on() {
    each_with_events(ROOMY, async |store, events| {
        end(store, on(0)).await;
        for ua in 1..=20 {
            subscribed(store, ua, 1).await;
        }
        run(store, events, 1..forgotten(0)).await;
        let step = Sweep {
            limit: 6,
            ..on(forgotten(0))
        };
        let mut steps = Vec::new();
        for _ in 0..8 {
            steps.push(end(store, step).await.subscriptions);
        }
        // A user agent that ends counts as examined and as ended.
        assert_eq!(steps, [3, 3, 3, 3, 3, 3, 2, 0]);
        assert_eq!(store.usage().subscriptions, 0);
    })
    .await;
}

#[tokio::test]
async fn recorded_uses_survive_a_restart() {
    let engine = open_sled(ROOMY);
    end(&engine.store, on(0)).await;
    for ua in 1..=3 {
        subscribed(&engine.store, ua, 1).await;
    }
    run(&engine.store, &engine.events, 1..20).await;
    engine.store.connect(uaid(1)).await.unwrap();
    let message = message_for(&subscription_of(2, 1, 0), "x");
    engine.store.append(uaid(2), message, None).await.unwrap();
    let mut engine = reopened(engine);
    let mut ended = Vec::new();
    for date in (20..100).step_by(10) {
        ended.extend(run(&engine.store, &engine.events, date..date + 10).await);
        engine = reopened(engine);
    }
    let later = forgotten(19);
    let expected = [(forgotten(0), uaid(3)), (later, uaid(1)), (later, uaid(2))];
    assert_eq!(ended, expected);
}
