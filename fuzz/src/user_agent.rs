//! What user agents send.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::mcs::frame::Frame;
use bugle_protocol::mcs::session::{Command as McsCommand, Session as McsSession};
use bugle_protocol::mcs::{Device, Names, Registration};
use bugle_protocol::session::{Command, Session, SessionSettings, Timeout};
use bugle_protocol::websocket::{ClientMessage, ServerMessage};
use bugle_protocol::window::{Window, WindowSettings};
use bugle_protocol::{
    ChannelId, KeyPair, MessageId, PushMessage, SubscriptionId, UnixTime, Urgency,
};

/// A text frame to a message of either side. A message is printed and read
/// back the same.
pub fn websocket(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(message) = ClientMessage::parse(text) {
        assert_eq!(
            ClientMessage::parse(&message.print()).as_ref(),
            Ok(&message)
        );
    }
    if let Ok(message) = ServerMessage::parse(text) {
        assert_eq!(
            ServerMessage::parse(&message.print()).as_ref(),
            Ok(&message)
        );
    }
}

/// How many messages one ack frame may answer.
const TOTAL: usize = 20;

/// A connection, from a script: each line is a text frame, or `+N` to let N
/// seconds pass, or `=N` to send as many messages as there is credit for, up to
/// N, or `-N` to settle the message N.
///
/// Only `hello` opens it, what is in flight keeps its bounds, and a time that
/// has come always brings something to do, once.
#[expect(
    clippy::disallowed_methods,
    reason = "where time starts does not matter"
)]
pub fn session(data: &[u8]) {
    let settings = SessionSettings {
        hello_timeout: Duration::from_secs(30),
        ping_interval: Duration::from_secs(300),
        pong_timeout: Duration::from_secs(10),
        min_ping_interval: Duration::from_secs(5),
        frame_rate: 10,
        frame_burst: 100,
        hello_bytes: 4096,
    };
    let mut now = Instant::now();
    let mut session = Session::new(Arc::new(settings), now);
    let mut window = Window::new(Arc::new(WindowSettings {
        window_messages: 8,
        window_bytes: 4096,
        window_patience: Duration::from_secs(2),
        unacknowledged: TOTAL,
        ack_patience: Duration::from_secs(60),
    }));
    let (mut open, mut next, mut settled) = (false, 0, 0);
    let mut sent = VecDeque::new();
    for line in String::from_utf8_lossy(data).lines() {
        let number = line.get(1..).and_then(|number| number.parse::<u16>().ok());
        match (line.as_bytes().first(), number) {
            (Some(b'+'), Some(secs)) => {
                now += Duration::from_secs(secs.into());
                if !pass(&mut session, now) {
                    return;
                }
            }
            (Some(b'='), Some(count)) => {
                let most = usize::from(count);
                let credit = window.credit_at(now).filter(|_| open);
                for _ in 0..credit.map_or(0, |credit| credit.messages.min(most)) {
                    window.sent(MessageId::new(next), most, now);
                    sent.push_back(now);
                    next += 1;
                }
                // What is sent while acknowledgements are collected fits a frame.
                sent.retain(|at| now.duration_since(*at) < Duration::from_secs(60));
                assert!(sent.len() <= TOTAL + settled);
            }
            (Some(b'-'), Some(id)) => {
                settled += window.settle(&mut [MessageId::new(id.into())], now).len();
            }
            _ if session.read(line.len(), now).is_err() => {
                assert!(!open, "after hello the rate is the only bound");
                return;
            }
            _ => match session.receive(line, now) {
                Ok(Command::Connect { .. }) => {
                    assert!(!open, "a second hello was taken");
                    open = true;
                }
                Ok(command) => assert!(open, "{command:?} before hello"),
                Err(close) => {
                    // RFC 6455 §5.5: a control frame holds 125 octets, two of them the code.
                    assert!(close.to_string().len() <= 123);
                    return;
                }
            },
        }
        assert!(
            window
                .credit()
                .is_none_or(|credit| credit.messages <= 8 && credit.bytes <= 4096)
        );
    }
}

/// Does what is due until `now`; `false` when the connection is to be closed.
fn pass(session: &mut Session, now: Instant) -> bool {
    for _ in 0..4 {
        if session.next_timeout() > now {
            return true;
        }
        match session.on_timeout(now) {
            Some(Timeout::Close(_)) => return false,
            Some(Timeout::Ping) => {}
            None => panic!("the time has come and there is nothing to do"),
        }
    }
    panic!("the time comes again and again");
}

/// The bytes of a Chromium's connection after its version, whose login is always accepted. One
/// message is sent after each frame.
///
/// A frame lies within its bytes, only a login opens the session, and each message is confirmed
/// once, in order, and never before it was sent.
#[expect(
    clippy::disallowed_methods,
    reason = "where time starts does not matter"
)]
pub fn mcs(data: &[u8]) {
    const MOST: usize = 4096;
    let settings = SessionSettings {
        hello_timeout: Duration::from_secs(30),
        ping_interval: Duration::from_secs(300),
        pong_timeout: Duration::from_secs(10),
        min_ping_interval: Duration::ZERO,
        frame_rate: 0,
        frame_burst: 1,
        hello_bytes: 4096,
    };
    let (now, wall) = (Instant::now(), UnixTime::from_secs(1_800_000_000));
    let mut session = McsSession::new(Arc::new(settings), now);
    let (mut open, mut sent, mut confirmed) = (false, 0, 0);
    let mut rest = data;
    while let Ok(Some(Frame { tag, message })) = Frame::first(rest, MOST) {
        assert!(message.len() <= MOST);
        let (frame, after) = rest.split_at(message.end);
        rest = after;
        match session.receive(tag, &frame[message], now) {
            Ok(McsCommand::Login(_)) => {
                assert!(!open, "a second login was taken");
                open = true;
                session.accept(wall);
            }
            Ok(command) => {
                assert!(open, "{command:?} before the login");
                if let McsCommand::Confirmed { messages, .. } = command {
                    for message in messages {
                        assert_eq!(message.get(), confirmed);
                        confirmed += 1;
                    }
                }
                assert!(confirmed <= sent);
            }
            Err(_) => return,
        }
        if deliver(&mut session, sent, wall) {
            sent += 1;
        }
    }
}

/// Sends a message. Returns `false` if too many are in flight.
fn deliver(session: &mut McsSession, id: u64, now: UnixTime) -> bool {
    let device = Device::from_random([1; 8]);
    let names = Names::new("app".to_owned(), "wp:https://a.example/#1".to_owned());
    let key = KeyPair::from_bytes(&[5; 32]).map(|pair| pair.public_key());
    let (Some(device), Some(names), Ok(key)) = (device, names, key) else {
        panic!("a registration that cannot be");
    };
    let registration = Registration::new(device, [0; 8], &key, names);
    let message = PushMessage {
        id: MessageId::new(id),
        channel: ChannelId::from_bytes([1; 16]),
        subscription: SubscriptionId::from_bytes([2; 16]),
        accepted_at: now,
        expires_at: now,
        urgency: Urgency::Normal,
        topic: None,
        content: None,
        receipt: None,
    };
    let frame = session.deliver(&message, (&registration, &key), id.to_string(), now);
    frame.is_ok()
}
