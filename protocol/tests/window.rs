//! The window's bounds, whatever happens: what is in flight, and what one ack
//! frame has to hold.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::MessageId;
use bugle_protocol::websocket::{Ack, AckUpdate, ClientMessage};
use bugle_protocol::window::{Credit, Window, WindowSettings, ack_frame_bytes, acks_in};
use proptest::collection::vec;
use proptest::prelude::*;

fn settings() -> WindowSettings {
    WindowSettings {
        window_messages: 4,
        window_bytes: 100,
        window_patience: Duration::from_secs(2),
        unacknowledged: 10,
        ack_patience: Duration::from_secs(60),
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn open(settings: WindowSettings) -> (Window, Instant) {
    (Window::new(Arc::new(settings)), Instant::now())
}

/// A window of two messages and 1000 bytes.
fn small() -> (Window, Instant) {
    open(WindowSettings {
        window_messages: 2,
        window_bytes: 1000,
        ..settings()
    })
}

#[test]
fn ws_n_13_the_window_closes_by_count_and_by_bytes_and_opens_by_acks() {
    let (mut window, now) = small();
    let credit = |messages, bytes| Some(Credit { messages, bytes });
    window.sent(MessageId::new(1), 10, now);
    assert_eq!(window.credit(), credit(1, 990));
    window.sent(MessageId::new(2), 2000, now);
    assert_eq!(window.credit(), None);
    window.settle(&mut [MessageId::new(1)], now);
    assert_eq!(window.credit(), None, "2000 bytes are still in flight");
    window.settle(&mut [MessageId::new(2)], now);
    assert_eq!(window.credit(), credit(2, 1000));
}

#[test]
fn ws_n_18_a_user_agent_that_never_acks_receives_more_after_window_patience() {
    let (mut window, now) = small();
    let after = |secs| now + Duration::from_secs(secs);
    window.sent(MessageId::new(1), 10, now);
    assert_eq!(window.reopens_at(), None);
    window.sent(MessageId::new(2), 10, after(1));
    assert_eq!(window.reopens_at(), Some(after(3)));
    assert_eq!(window.credit_at(after(2)), None);
    assert_eq!(
        window.credit_at(after(3)).map(|credit| credit.messages),
        Some(2)
    );
}

#[test]
fn an_ack_of_another_connection_does_not_widen_the_window() {
    let (mut window, now) = small();
    window.sent(MessageId::new(1), 10, now);
    window.settle(&mut [MessageId::new(9)], now);
    assert_eq!(window.credit().map(|credit| credit.messages), Some(1));
}

#[derive(Clone, Debug)]
enum Step {
    /// Send a message of the log, if there is credit.
    Send,
    /// Send one with TTL 0, if that may be.
    Live,
    /// Acknowledge some of those that were sent, and some that were not.
    Ack(Vec<u64>),
    /// Let milliseconds pass.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Send),
        2 => Just(Step::Live),
        2 => vec(0..60_u64, 0..5).prop_map(Step::Ack),
        3 => (0..30_000_u64).prop_map(Step::Pass),
    ]
}

/// Sends one message of 30 bytes.
fn send(window: &mut Window, sent: &mut BTreeMap<u64, Instant>, now: Instant) {
    let id = u64::try_from(sent.len()).unwrap();
    window.sent(MessageId::new(id), 30, now);
    sent.insert(id, now);
}

proptest! {
    #[test]
    fn messages_sent_while_acks_are_collected_fit_one_ack_frame(steps in vec(step(), 0..200)) {
        let settings = settings();
        let (mut window, mut now) = open(settings.clone());
        let (mut sent, mut settled) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Send if window.credit_at(now).is_some() => send(&mut window, &mut sent, now),
                Step::Live if window.may_send_live(now) => send(&mut window, &mut sent, now),
                Step::Send | Step::Live => {}
                Step::Ack(ids) => {
                    let mut named: Vec<_> = ids.iter().copied().map(MessageId::new).collect();
                    let took = window.settle(&mut named, now);
                    let young = |at: &Instant| now.duration_since(*at) < settings.ack_patience;
                    let known = |id: &u64| !settled.contains_key(id) && sent.get(id).is_some_and(young);
                    let mut expected: Vec<_> = ids.into_iter().filter(known).collect();
                    expected.sort_unstable();
                    expected.dedup();
                    // One that is too old may have been given up, or not yet.
                    prop_assert!(took.len() >= expected.len());
                    settled.extend(named.iter().map(|id| (id.get(), ())));
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
            }
            let collected = sent.iter().filter(|(id, at)| {
                !settled.contains_key(id) && now.duration_since(**at) < settings.ack_patience
            });
            prop_assert!(collected.count() <= settings.unacknowledged);
        }
    }

    #[test]
    fn a_client_that_never_acks_keeps_receiving(count in 1..200_u64) {
        let settings = settings();
        let (mut window, mut now) = open(settings.clone());
        let mut sent = BTreeMap::new();
        let mut rounds = 0;
        while u64::try_from(sent.len()).unwrap() < count {
            match window.credit_at(now) {
                Some(_) => send(&mut window, &mut sent, now),
                None => now = window.reopens_at().unwrap(),
            }
            rounds += 1;
            prop_assert!(rounds < 10 * count + 10);
        }
        let total = u64::try_from(settings.unacknowledged).unwrap();
        let most = u32::try_from(count / total + 1).unwrap();
        let since = *sent.get(&0).unwrap();
        prop_assert!(now.duration_since(since) <= settings.ack_patience * most);
    }
}

/// The budget of a frame holds for what user agents send, with the white space
/// that common JSON printers put in.
#[test]
fn acks_in_is_what_one_frame_can_hold() {
    let update = AckUpdate {
        channel_id: Some("acf30367-0632-4cc1-adef-fa15f40ef378".into()),
        version: Some("v".repeat(54)),
        code: Some(100),
    };
    for frame_bytes in [4096, 64 << 10, 192 << 10] {
        let fit = acks_in(frame_bytes);
        assert!(ack_frame_bytes(fit) <= frame_bytes && ack_frame_bytes(fit + 1) > frame_bytes);
        let updates = vec![update.clone(); fit];
        let compact = ClientMessage::Ack(Ack { updates }).print();
        let spaced = compact.replace(':', ": ").replace(',', ", ");
        assert!(spaced.len() <= frame_bytes, "{} bytes", spaced.len());
    }
    assert_eq!(acks_in(192 << 10), 1228);
}

/// One pass over the window answers a frame of any size.
#[test]
fn acks_in_any_order_settle_every_message() {
    let (mut window, now) = open(WindowSettings {
        window_messages: 2000,
        window_bytes: 1 << 20,
        unacknowledged: 2000,
        ..settings()
    });
    for id in 0..1228 {
        window.sent(MessageId::new(id), 10, now);
    }
    let mut ids: Vec<_> = (0..2000).rev().map(MessageId::new).collect();
    ids.extend_from_within(..);
    let took = window.settle(&mut ids, now + Duration::from_secs(30));
    assert_eq!(took, vec![Duration::from_secs(30); 1228]);
    let credit = window.credit().unwrap();
    assert_eq!((credit.messages, credit.bytes), (2000, 1 << 20));
}
