//! What a reader does not take stays: by urgency (RFC 8030 §5.3) and by channel.

use super::*;

const URGENCIES: [Urgency; 4] = [
    Urgency::VeryLow,
    Urgency::Low,
    Urgency::Normal,
    Urgency::High,
];

async fn read(store: &Arc<dyn Store>, filter: Filter, batch: Batch) -> Vec<String> {
    let read = store.pending(uaid(1), None, filter, batch, NOW).await;
    bodies(&read.unwrap())
}

/// One message of every urgency for each of two channels.
async fn filled(store: &Arc<dyn Store>) {
    let channels = [subscribed(store, 1, 1).await, subscribed(store, 1, 2).await];
    for urgency in URGENCIES {
        for subscription in &channels {
            let name = subscription.channel.as_bytes()[0];
            let body = format!("{} {name}", urgency.as_str());
            let mut message = message_for(subscription, &body);
            message.urgency = urgency;
            store.append(uaid(1), message).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_less_urgent_is_held_back_and_stays() {
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
async fn a_channel_is_read_alone() {
    each(ROOMY, async |store| {
        filled(store).await;
        let mut filter = Filter {
            min_urgency: Urgency::Normal,
            channel: Some(channel(2)),
        };
        assert_eq!(read(store, filter, ALL).await, ["normal 2", "high 2"]);
        // What is held back takes nothing of the batch.
        let one = Batch {
            messages: 1,
            bytes: 0,
        };
        assert_eq!(read(store, filter, one).await, ["normal 2"]);
        // One without a subscription has nothing.
        filter.channel = Some(channel(3));
        assert_eq!(read(store, filter, ALL).await, [""; 0]);
        filter.channel = Some(channel(2));
        let new_life = subscription_of(1, 2, 1);
        store.subscribe(new_life, NOW).await.unwrap();
        assert_eq!(read(store, filter, ALL).await, [""; 0]);
    })
    .await;
}
