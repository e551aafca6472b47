//! The session's bounds, whatever happens: what is in flight, what one ack
//! frame has to hold, how much is read, and that its time-outs come to an end.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::MessageId;
use bugle_protocol::session::{Close, Session, SessionSettings, Timeout, ack_frame_bytes, acks_in};
use bugle_protocol::websocket::{Ack, AckUpdate, ClientMessage};
use proptest::collection::vec;
use proptest::prelude::*;

const HELLO: &str = r#"{"messageType":"hello","use_webpush":true}"#;

fn settings() -> SessionSettings {
    SessionSettings {
        hello_timeout: Duration::from_secs(5),
        ping_interval: Duration::from_secs(300),
        pong_timeout: Duration::from_secs(10),
        min_ping_interval: Duration::from_secs(10),
        window_messages: 4,
        window_bytes: 100,
        window_patience: Duration::from_secs(2),
        unacknowledged: 10,
        ack_patience: Duration::from_secs(60),
        frame_rate: 10,
        frame_burst: 20,
        hello_bytes: 1000,
    }
}

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn open(settings: SessionSettings) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings), now);
    session.receive(HELLO, now).unwrap();
    (session, now)
}

#[derive(Clone, Debug)]
enum Step {
    /// Send a message of the log, if there is room.
    Send,
    /// Send one with TTL 0, if that may be.
    Live,
    /// Acknowledge some of those that were sent, and some that were not.
    Ack(Vec<u64>),
    /// Let milliseconds pass, and answer each Ping.
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

/// Does what is due. Whatever that is, a later time is next.
fn pass(session: &mut Session, now: Instant) {
    for _ in 0..20 {
        if session.next_timeout() > now {
            return;
        }
        match session.on_timeout(now) {
            Some(Timeout::Ping) => session.heard(now).unwrap(),
            Some(Timeout::Room) => {}
            other => panic!("{other:?} is due"),
        }
    }
    panic!("the time comes again and again");
}

/// Sends one message of 30 bytes.
fn send(session: &mut Session, sent: &mut BTreeMap<u64, Instant>, now: Instant) {
    let id = u64::try_from(sent.len()).unwrap();
    session.sent(MessageId::new(id), 30, now);
    sent.insert(id, now);
}

proptest! {
    #[test]
    fn what_is_sent_while_acks_are_collected_fits_one_frame(steps in vec(step(), 0..200)) {
        let settings = settings();
        let (mut session, mut now) = open(settings.clone());
        let (mut sent, mut settled) = (BTreeMap::new(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Send if session.room().is_some() => send(&mut session, &mut sent, now),
                Step::Live if session.may_send_live(now) => send(&mut session, &mut sent, now),
                Step::Send | Step::Live => {}
                Step::Ack(ids) => {
                    let mut named: Vec<_> = ids.iter().copied().map(MessageId::new).collect();
                    let took = session.settle(&mut named, now);
                    let young = |at: &Instant| now.duration_since(*at) < settings.ack_patience;
                    let known = |id: &u64| !settled.contains_key(id) && sent.get(id).is_some_and(young);
                    let mut expected: Vec<_> = ids.into_iter().filter(known).collect();
                    expected.sort_unstable();
                    expected.dedup();
                    // One that is too old may have been given up, or not yet.
                    prop_assert!(took.len() >= expected.len());
                    settled.extend(named.iter().map(|id| (id.get(), ())));
                }
                Step::Pass(millis) => {
                    now += Duration::from_millis(millis);
                    pass(&mut session, now);
                }
            }
            let collected = sent.iter().filter(|(id, at)| {
                !settled.contains_key(id) && now.duration_since(**at) < settings.ack_patience
            });
            prop_assert!(collected.count() <= settings.unacknowledged);
        }
    }

    #[test]
    fn a_client_that_never_acks_gets_its_share_for_ever(count in 1..200_u64) {
        let settings = settings();
        let (mut session, mut now) = open(settings.clone());
        let mut sent = BTreeMap::new();
        let mut rounds = 0;
        while u64::try_from(sent.len()).unwrap() < count {
            match session.room() {
                Some(_) => send(&mut session, &mut sent, now),
                None => {
                    now = session.next_timeout();
                    pass(&mut session, now);
                }
            }
            rounds += 1;
            prop_assert!(rounds < 10 * count + 10);
        }
        let total = u64::try_from(settings.unacknowledged).unwrap();
        let most = u32::try_from(count / total + 1).unwrap();
        let since = *sent.get(&0).unwrap();
        prop_assert!(now.duration_since(since) <= settings.ack_patience * most);
    }

    #[test]
    fn no_more_is_read_than_the_bucket_gives(reads in vec((0..5000_u32, 0..2000_u64), 1..100)) {
        let settings = settings();
        let (mut session, start) = open(settings.clone());
        let (mut now, mut tokens, mut last) = (start, 1.0, 0.0);
        for (bytes, millis) in reads {
            now += Duration::from_millis(millis);
            // A client that waits where it has to.
            now = session.paused_until(now).unwrap_or(now);
            session.read(usize::try_from(bytes).unwrap(), now).unwrap();
            session.heard(now).unwrap();
            last = 1.0 + f64::from(bytes) / 1024.0;
            tokens += last;
        }
        let filled = now.duration_since(start).as_secs_f64() * f64::from(settings.frame_rate);
        // The last read may be a debt.
        prop_assert!(tokens <= f64::from(settings.frame_burst) + filled + last + 0.1);
    }
}

#[test]
fn the_bucket_empties_and_fills() {
    let (mut session, now) = open(settings());
    for _ in 1..20 {
        session.heard(now).unwrap();
        assert_eq!(session.paused_until(now), None);
    }
    session.heard(now).unwrap();
    let until = session.paused_until(now).unwrap();
    assert!(until > now && until < now + Duration::from_secs(1));
    assert_eq!(session.paused_until(until), None);
    // Without a rate there is no pause.
    let (mut session, now) = open(SessionSettings {
        frame_rate: 0,
        ..settings()
    });
    for _ in 0..1000 {
        session.heard(now).unwrap();
        session.read(100_000, now).unwrap();
    }
    assert_eq!(session.paused_until(now), None);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn little_is_taken_before_hello() {
    let now = Instant::now();
    let session = || Session::new(Arc::new(settings()), now);
    let mut loud = session();
    for _ in 0..16 {
        assert_eq!(loud.heard(now), Ok(()));
    }
    assert_eq!(loud.heard(now), Err(Close::HelloExpected));
    let mut long = session();
    assert_eq!(long.read(1000, now), Ok(()));
    assert_eq!(long.read(1, now), Err(Close::TooBig));
    let mut polite = session();
    assert_eq!(polite.read(1000, now), Ok(()));
    polite.receive(HELLO, now).unwrap();
    for _ in 0..100 {
        assert_eq!(polite.heard(now), Ok(()));
        assert_eq!(polite.read(1000, now), Ok(()));
    }
}

/// The budget of a frame holds for what user agents send, with the white space
/// that common JSON printers put in.
#[test]
fn as_many_acks_fit_a_frame_as_are_counted_on() {
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
fn a_frame_of_acks_in_any_order_settles_all() {
    let (mut session, now) = open(SessionSettings {
        window_messages: 2000,
        window_bytes: 1 << 20,
        unacknowledged: 2000,
        ..settings()
    });
    for id in 0..1228 {
        session.sent(MessageId::new(id), 10, now);
    }
    let mut ids: Vec<_> = (0..2000).rev().map(MessageId::new).collect();
    ids.extend_from_within(..);
    let took = session.settle(&mut ids, now + Duration::from_secs(30));
    assert_eq!(took, vec![Duration::from_secs(30); 1228]);
    let room = session.room().unwrap();
    assert_eq!((room.messages, room.bytes), (2000, 1 << 20));
}
