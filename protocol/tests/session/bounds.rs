//! The session's bounds, whatever happens: how much is read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::session::{Close, Session, SessionSettings};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{HELLO, settings};

#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn open(settings: SessionSettings) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(Arc::new(settings), now);
    session.receive(HELLO, now).unwrap();
    (session, now)
}

proptest! {
    #[test]
    fn reading_pauses_when_the_bucket_is_empty(reads in vec((0..5000_u32, 0..2000_u64), 1..100)) {
        let settings = settings();
        let (mut session, start) = open(settings.clone());
        let (mut now, mut tokens, mut last) = (start, 1.0, 0.0);
        for (bytes, millis) in reads {
            now += Duration::from_millis(millis);
            // A client that waits where it has to.
            now = session.paused_until(now).unwrap_or(now);
            session.read(usize::try_from(bytes).unwrap(), now).unwrap();
            session.frame_received(now).unwrap();
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
        session.frame_received(now).unwrap();
        assert_eq!(session.paused_until(now), None);
    }
    session.frame_received(now).unwrap();
    let until = session.paused_until(now).unwrap();
    assert!(until > now && until < now + Duration::from_secs(1));
    assert_eq!(session.paused_until(until), None);
    // Without a rate there is no pause.
    let (mut session, now) = open(SessionSettings {
        frame_rate: 0,
        ..settings()
    });
    for _ in 0..1000 {
        session.frame_received(now).unwrap();
        session.read(100_000, now).unwrap();
    }
    assert_eq!(session.paused_until(now), None);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
fn frames_before_hello_are_bounded() {
    let now = Instant::now();
    let session = || Session::new(Arc::new(settings()), now);
    let mut loud = session();
    for _ in 0..16 {
        assert_eq!(loud.frame_received(now), Ok(()));
    }
    assert_eq!(loud.frame_received(now), Err(Close::HelloExpected));
    let mut long = session();
    assert_eq!(long.read(1000, now), Ok(()));
    assert_eq!(long.read(1, now), Err(Close::TooBig));
    let mut polite = session();
    assert_eq!(polite.read(1000, now), Ok(()));
    polite.receive(HELLO, now).unwrap();
    for _ in 0..100 {
        assert_eq!(polite.frame_received(now), Ok(()));
        assert_eq!(polite.read(1000, now), Ok(()));
    }
}
