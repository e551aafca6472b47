//! Filters by urgency (RFC 8030 §5.3) and by channel: messages that do not pass stay in the log.

use super::*;

const URGENCIES: [Urgency; 4] = [
    Urgency::VeryLow,
    Urgency::Low,
    Urgency::Normal,
    Urgency::High,
];

async fn read(store: &Arc<dyn Engine>, filter: Filter, batch: Batch) -> Vec<String> {
    let read = store.pending(uaid(1), None, filter, batch, NOW).await;
    bodies(&read.unwrap().items)
}

/// Reads one message, and returns it and whether there are more.
async fn first(store: &Arc<dyn Engine>, filter: Filter, now: UnixTime) -> (Vec<String>, bool) {
    let one = Batch {
        messages: 1,
        bytes: 0,
    };
    let read = store.pending(uaid(1), None, filter, one, now).await;
    let read = read.unwrap();
    (bodies(&read.items), read.more)
}

/// Stores one message of every urgency for each of two channels.
async fn filled(store: &Arc<dyn Engine>) {
    let channels = [subscribed(store, 1, 1).await, subscribed(store, 1, 2).await];
    for urgency in URGENCIES {
        for subscription in &channels {
            let name = subscription.channel.as_bytes()[0];
            let body = format!("{} {name}", urgency.as_str());
            let mut message = message_for(subscription, &body);
            message.urgency = urgency;
            store.append(uaid(1), message, None).await.unwrap();
        }
    }
}

#[tokio::test]
async fn messages_below_the_minimum_urgency_stay_in_the_log() {
    each(ROOMY, async |store| {
        filled(store).await;
        for (skipped, min_urgency) in URGENCIES.into_iter().enumerate() {
            let filter = Filter {
                min_urgency,
                ..Filter::NONE
            };
            let expected = URGENCIES[skipped..]
                .iter()
                .flat_map(|urgency| [1, 2].map(|ch| format!("{} {ch}", urgency.as_str())));
            assert_eq!(read(store, filter, ALL).await, expected.collect::<Vec<_>>());
        }
        assert_eq!(store.usage().messages, 8);
        assert_eq!(read(store, Filter::NONE, ALL).await.len(), 8);
    })
    .await;
}

#[tokio::test]
async fn a_page_says_whether_more_messages_pass_the_filter() {
    each(ROOMY, async |store| {
        let subscription = subscribed(store, 1, 1).await;
        let other = subscribed(store, 1, 2).await;
        let high = Filter {
            min_urgency: Urgency::High,
            channel: Some(channel(1)),
        };
        let push = async |to: &Subscription, urgency: Urgency, millis| {
            let mut message = with_ttl(message_for(to, urgency.as_str()), millis);
            message.urgency = urgency;
            store.append(uaid(1), message, None).await.unwrap()
        };
        assert_eq!(first(store, high, NOW).await, (vec![], false));
        push(&subscription, Urgency::High, 9).await;
        push(&subscription, Urgency::Normal, 9).await;
        push(&other, Urgency::High, 9).await;
        // Messages of lower urgency or of another channel do not count as more.
        let one = vec!["high".to_owned()];
        assert_eq!(first(store, high, NOW).await, (one.clone(), false));
        assert_eq!(first(store, Filter::NONE, NOW).await, (one.clone(), true));
        let brief = push(&subscription, Urgency::High, 5).await;
        assert_eq!(first(store, high, NOW).await, (one.clone(), true));
        assert_eq!(first(store, high, at(5)).await, (one.clone(), false));
        assert!(acked(store, 1, brief).await);
        assert_eq!(first(store, high, NOW).await, (one, false));
        assert_eq!(first(store, high, at(9)).await, (vec![], false));
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_read_alone() {
    each(ROOMY, async |store| {
        filled(store).await;
        let mut filter = Filter {
            min_urgency: Urgency::Normal,
            channel: Some(channel(2)),
        };
        assert_eq!(read(store, filter, ALL).await, ["normal 2", "high 2"]);
        // Messages that do not pass take no room in the batch.
        let one = Batch {
            messages: 1,
            bytes: 0,
        };
        assert_eq!(read(store, filter, one).await, ["normal 2"]);
        // A channel without a subscription has no messages.
        filter.channel = Some(channel(3));
        assert_eq!(read(store, filter, ALL).await, [""; 0]);
        filter.channel = Some(channel(2));
        let new_life = subscription_of(1, 2, 1);
        store.subscribe(new_life, NOW).await.unwrap();
        assert_eq!(read(store, filter, ALL).await, [""; 0]);
    })
    .await;
}
