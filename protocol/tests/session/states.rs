//! The session's state machine: what is allowed when, and the clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::Urgency;
use bugle_protocol::id::IdError;
use bugle_protocol::session::{Close, Command, RegisterError, Session, Timeout};
use bugle_protocol::websocket::{MessageError, ServerMessage};

use super::{HELLO, settings};

const CHANNEL: &str = "acf30367-0632-4cc1-adef-fa15f40ef378";

/// A session before hello, and the time it began.
fn awaiting_hello() -> (Session, Instant) {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    (Session::new(Arc::new(settings()), now), now)
}

fn open() -> (Session, Instant) {
    let (mut session, now) = awaiting_hello();
    assert_eq!(
        session.receive(HELLO, now),
        Ok(Command::Connect {
            uaid: None,
            broadcasts: BTreeMap::new(),
        })
    );
    (session, now)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn ws_h_2_anything_else_than_hello_first_closes() {
    for text in [
        "{}",
        r#"{"messageType":"register","channelID":"x"}"#,
        r#"{"messageType":"urgency","min":"high"}"#,
        r#"{"messageType":"broadcast_subscribe","broadcasts":{}}"#,
    ] {
        let (mut session, now) = awaiting_hello();
        assert_eq!(
            session.receive(text, now),
            Err(Close::HelloExpected),
            "{text}"
        );
    }
    let (mut session, now) = awaiting_hello();
    let unknown = session.receive(r#"{"messageType":"urgencies"}"#, now);
    assert_eq!(unknown, Err(Close::Message(MessageError::UnknownType)));
}

#[test]
fn ws_h_3_a_second_hello_closes() {
    let (mut session, now) = open();
    assert_eq!(session.receive(HELLO, now), Err(Close::SecondHello));
}

#[test]
fn ws_h_9_ws_h_16_what_is_no_uaid_counts_as_none() {
    let issued = "3f3765e29bf541d096b61222647b10e4";
    for (uaid, expected) in [
        ("null", None),
        ("\"\"", None),
        ("\"nope\"", None),
        ("7", None),
        ("[]", None),
        (&*format!("\"{issued}\""), Some(issued.parse().unwrap())),
    ] {
        let (mut session, now) = awaiting_hello();
        let text = format!(r#"{{"messageType":"hello","uaid":{uaid},"channelIDs":[],"x":1}}"#);
        assert_eq!(
            session.receive(&text, now),
            Ok(Command::Connect {
                uaid: expected,
                broadcasts: BTreeMap::new(),
            }),
            "{uaid}"
        );
    }
}

#[test]
fn ws_t_5_what_is_no_message_closes_and_what_is_unknown_does_not() {
    for text in [
        "",
        "bad-data",
        "[]",
        "7",
        "null",
        r#"{"messageType":7}"#,
        r#"{"a":1}"#,
        "{} {}",
    ] {
        let (mut session, now) = open();
        assert!(
            matches!(session.receive(text, now), Err(Close::Message(_))),
            "{text}"
        );
    }
    let (mut session, now) = open();
    assert_eq!(
        session.receive(r#"{"messageType":"urgencies"}"#, now),
        Ok(Command::Ignored)
    );
}

#[test]
fn ws_b_1_broadcasts_are_asked_for_in_hello_and_later() {
    let wanted = BTreeMap::from([("a/b".to_owned(), "\"0\"".to_owned())]);
    for (broadcasts, read) in [
        (r#"{"a/b":"\"0\""}"#, wanted.clone()),
        ("{}", BTreeMap::new()),
        ("null", BTreeMap::new()),
        (r#"{"a":7}"#, BTreeMap::new()),
        (r#"["a"]"#, BTreeMap::new()),
    ] {
        let (mut session, now) = awaiting_hello();
        let text = format!(r#"{{"messageType":"hello","broadcasts":{broadcasts}}}"#);
        let command = Command::Connect {
            uaid: None,
            broadcasts: read,
        };
        assert_eq!(session.receive(&text, now), Ok(command), "{broadcasts}");
    }
    let (mut session, now) = open();
    let later = r#"{"messageType":"broadcast_subscribe","broadcasts":{"a/b":"\"0\""}}"#;
    assert_eq!(
        session.receive(later, now),
        Ok(Command::FollowBroadcasts(wanted))
    );
}

#[test]
fn a_19_the_urgency_is_one_of_four_words_else_status_400() {
    let (mut session, now) = open();
    for (min, read) in [
        (r#""very-low""#, Some(Urgency::VeryLow)),
        (r#""low""#, Some(Urgency::Low)),
        (r#""normal""#, Some(Urgency::Normal)),
        (r#""HIGH""#, Some(Urgency::High)),
        (r#""urgent""#, None),
        (r#""""#, None),
        ("null", None),
        ("3", None),
        (r#"["high"]"#, None),
    ] {
        let text = format!(r#"{{"messageType":"urgency","min":{min}}}"#);
        let refusal = Command::Reply(ServerMessage::Urgency { status: 400 });
        let expected = read.map_or(refusal, |min| Command::Filter { min });
        assert_eq!(session.receive(&text, now), Ok(expected), "{min}");
    }
    let without = session.receive(r#"{"messageType":"urgency"}"#, now);
    let refusal = ServerMessage::Urgency { status: 400 };
    assert_eq!(without, Ok(Command::Reply(refusal)));
}

#[test]
fn ws_r_2_a_bad_channel_is_answered_where_it_can_be_repeated() {
    let (mut session, now) = open();
    let text = r#"{"messageType":"register","channelID":"NOT-A-UUID"}"#;
    let refusal = Command::RefuseSubscription {
        channel_id: "NOT-A-UUID".into(),
        why: RegisterError::ChannelId(IdError::ChannelId),
    };
    assert_eq!(session.receive(text, now), Ok(refusal));
    let long = format!(
        r#"{{"messageType":"register","channelID":"{}"}}"#,
        "x".repeat(65)
    );
    assert_eq!(session.receive(&long, now), Err(Close::ChannelId));
}

#[test]
fn ws_r_8_the_key_is_read_with_and_without_padding_and_checked() {
    // The key of RFC 8292 §2.4.
    let key =
        "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";
    let register = |key: &str| {
        let (mut session, now) = open();
        let text = format!(r#"{{"messageType":"register","channelID":"{CHANNEL}","key":{key}}}"#);
        session.receive(&text, now).unwrap()
    };
    for form in [format!("\"{key}\""), format!("\"{key}=\"")] {
        let Command::Subscribe {
            channel,
            key: Some(read),
        } = register(&form)
        else {
            panic!()
        };
        assert_eq!(
            (channel.to_string().as_str(), read.to_base64url().as_str()),
            (CHANNEL, key)
        );
    }
    assert!(matches!(
        register("null"),
        Command::Subscribe { key: None, .. }
    ));
    for bad in [
        "\"\"",
        "\"BA1H\"",
        &format!("\"{}A\"", &key[..86]),
        &format!("\"{key}AA\""),
    ] {
        let refused = register(bad);
        let Command::RefuseSubscription { why, .. } = refused else {
            panic!("{bad} was taken");
        };
        assert!(matches!(why, RegisterError::Key(_)), "{bad}: {why}");
    }
}

#[test]
fn ws_n_8_acks_without_a_code_or_with_strange_fields_are_read() {
    let (mut session, now) = open();
    let text = r#"{"messageType":"ack","updates":[{"channelID":"c","version":"v","code":100},
        {"version":"w"},{"version":7,"code":"x"},{},7,["v"]]}"#;
    let Ok(Command::Acknowledge(updates)) = session.receive(text, now) else {
        panic!()
    };
    let read: Vec<_> = updates
        .iter()
        .map(|u| (u.version.as_deref(), u.code))
        .collect();
    assert_eq!(read, [(Some("v"), Some(100)), (Some("w"), None)]);
}

#[test]
fn ws_n_8_ws_b_1_a_list_that_cannot_be_read_is_an_empty_one() {
    for list in ["null", "7", r#""x""#, "{}", "[7]", r#"[{"version":null}]"#] {
        let (mut session, now) = open();
        let text = format!(r#"{{"messageType":"ack","updates":{list}}}"#);
        let read = session.receive(&text, now);
        assert_eq!(read, Ok(Command::Acknowledge(Vec::new())), "{list}");
    }
    for map in ["null", "7", r#""x""#, r#"["a"]"#, r#"{"a":7}"#] {
        let (mut session, now) = open();
        let text = format!(r#"{{"messageType":"broadcast_subscribe","broadcasts":{map}}}"#);
        let read = session.receive(&text, now);
        assert_eq!(
            read,
            Ok(Command::FollowBroadcasts(BTreeMap::new())),
            "{map}"
        );
    }
    let (mut session, now) = open();
    let read = session.receive(r#"{"messageType":"broadcast_subscribe"}"#, now);
    assert_eq!(read, Ok(Command::FollowBroadcasts(BTreeMap::new())));
    let read = session.receive(r#"{"messageType":"ack"}"#, now);
    assert_eq!(read, Ok(Command::Acknowledge(Vec::new())));
}

#[test]
fn ws_p_1_pings_are_answered_and_ws_p_2_not_too_often() {
    let (mut session, now) = open();
    let pong = Ok(Command::Reply(ServerMessage::Pong));
    assert_eq!(session.receive("{}", now), pong);
    assert_eq!(session.receive("{}", now + secs(9)), Ok(Command::Ignored));
    assert_eq!(
        session.receive(r#"{"messageType":"ping"}"#, now + secs(10)),
        pong
    );
}

#[test]
fn ws_t_7_hello_must_come_in_time_and_control_frames_buy_none() {
    let (mut session, now) = awaiting_hello();
    assert_eq!(session.frame_received(now + secs(4)), Ok(()));
    assert_eq!(session.next_timeout(), now + secs(5));
    assert_eq!(session.on_timeout(now + secs(4)), None);
    assert_eq!(
        session.on_timeout(now + secs(5)),
        Some(Timeout::Close(Close::HelloTimeout))
    );
}

#[test]
fn ws_t_8_a_silent_peer_is_pinged_then_closed() {
    let (mut session, now) = open();
    assert_eq!(session.on_timeout(now + secs(299)), None);
    assert_eq!(session.on_timeout(now + secs(300)), Some(Timeout::Ping));
    assert_eq!(session.next_timeout(), now + secs(310));
    assert_eq!(session.on_timeout(now + secs(309)), None);
    assert_eq!(session.frame_received(now + secs(309)), Ok(()));
    assert_eq!(session.on_timeout(now + secs(310)), None);
    assert_eq!(session.on_timeout(now + secs(609)), Some(Timeout::Ping));
    assert_eq!(
        session.on_timeout(now + secs(619)),
        Some(Timeout::Close(Close::PongTimeout))
    );
}
