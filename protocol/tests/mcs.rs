//! The push protocol of Chromium: frames, credentials, registrations and the session.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bugle_protocol::mcs::frame::{Frame, FrameError, Tag, VERSION};
use bugle_protocol::mcs::message::{
    Close as CloseMessage, DataMessage, Extension, Heartbeat, Iq, LoginRequest, LoginResponse,
};
use bugle_protocol::mcs::session::{Command, Session, Timeout};
use bugle_protocol::mcs::{Close, Device, Names, Registration};
use bugle_protocol::session::SessionSettings;
use bugle_protocol::{
    ChannelId, Content, ContentCoding, KeyPair, Keyring, MessageId, PublicKey, PushEndpoint,
    PushMessage, SubscriptionId, UnixTime, Urgency,
};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

const SUBTYPE: &str = "wp:https://site.example/#3F2504E0-4F89-41D3-9A0C-0305E82C3301-V2";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn settings() -> SessionSettings {
    SessionSettings {
        hello_timeout: secs(5),
        ping_interval: secs(300),
        pong_timeout: secs(10),
        min_ping_interval: secs(10),
        frame_rate: 10,
        frame_burst: 20,
        hello_bytes: 1000,
    }
}

fn keyring(octet: u8) -> Keyring {
    Keyring::new(&[[octet; 32]]).unwrap()
}

fn device() -> Device {
    Device::from_random([7; 8]).unwrap()
}

fn key() -> PublicKey {
    KeyPair::from_bytes(&[5; 32]).unwrap().public_key()
}

fn names() -> Names {
    Names::new("org.chromium.linux".to_owned(), SUBTYPE.to_owned()).unwrap()
}

fn registration() -> Registration {
    Registration::new(device(), [1; 8], &key(), names())
}

fn message(id: u64, content: Option<Content>) -> PushMessage {
    PushMessage {
        id: MessageId::new(id),
        channel: ChannelId::from_bytes([1; 16]),
        subscription: SubscriptionId::from_bytes([2; 16]),
        accepted_at: NOW,
        expires_at: NOW + secs(60),
        urgency: Urgency::Normal,
        topic: None,
        content,
        receipt: None,
    }
}

fn awaiting_login() -> (Session, Instant) {
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    let now = Instant::now();
    (Session::new(Arc::new(settings()), now), now)
}

fn login(device: &str, token: &str) -> Vec<u8> {
    let login = LoginRequest {
        user: Some(device.to_owned()),
        auth_token: Some(token.to_owned()),
        received_persistent_id: vec!["a".to_owned()],
    };
    login.encode_to_vec()
}

fn open() -> (Session, Instant) {
    let (mut session, now) = awaiting_login();
    let received = session.receive(Tag::LoginRequest as u8, &login("1", "2"), now);
    let Ok(Command::Login(login)) = received else {
        panic!("{received:?}");
    };
    assert_eq!((login.device, login.security_token), (1, 2));
    assert_eq!(login.received, ["a"]);
    session.accept(NOW);
    (session, now)
}

fn confirm(session: &mut Session, up_to: i32, now: Instant) -> Result<Command, Close> {
    let iq = Iq {
        r#type: Some(1),
        id: None,
        extension: Some(Extension {
            id: Some(13),
            data: None,
        }),
        last_stream_id_received: Some(up_to),
    };
    session.receive(Tag::Iq as u8, &iq.encode_to_vec(), now)
}

fn push(session: &mut Session, id: u64) -> DataMessage {
    let name = format!("message {id}");
    let frame = session.deliver(&message(id, None), (&registration(), &key()), name, NOW);
    sent(&frame.unwrap())
}

fn sent<M: Message + Default>(bytes: &[u8]) -> M {
    let frame = Frame::first(bytes, usize::MAX).unwrap().unwrap();
    assert_eq!(frame.message.end, bytes.len());
    M::decode(&bytes[frame.message]).unwrap()
}

fn confirmed(ids: &[u64]) -> Result<Command, Close> {
    let messages = ids.iter().map(|id| MessageId::new(*id)).collect();
    Ok(Command::Confirmed {
        messages,
        is_heartbeat: false,
    })
}

#[test]
fn a_frame_has_the_bytes_that_were_seen_on_the_wire() {
    let ping = Heartbeat {
        last_stream_id_received: Some(3),
    };
    assert_eq!(Frame::print(Tag::HeartbeatPing, &ping), [0, 2, 0x10, 3]);
    assert_eq!(Frame::print(Tag::Close, &CloseMessage {}), [4, 0]);
    let (mut session, now) = awaiting_login();
    let received = session.receive(2, &login("1", "2"), now);
    assert!(matches!(received, Ok(Command::Login(_))));
    assert_eq!(session.accept(NOW)[..2], [VERSION, 3]);
}

#[test]
fn a_length_is_bounded_before_its_message_arrives() {
    for (bytes, found) in [
        (&[8, 0xff, 0x07][..], Err(FrameError::TooLong(1000))),
        (&[8, 0xff, 0xff, 0xff, 0xff, 0xff], Err(FrameError::Length)),
        (
            &[8, 0xff, 0xff, 0xff, 0xff, 0x0f],
            Err(FrameError::TooLong(1000)),
        ),
        (&[8, 0xff, 0xff, 0xff, 0xff], Ok(None)),
        (&[8, 0xe8, 0x07], Ok(None)),
        (&[8], Ok(None)),
        (&[], Ok(None)),
    ] {
        assert_eq!(Frame::first(bytes, 1000), found, "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn frames_are_found_however_they_are_cut(
        bodies in vec(vec(any::<u8>(), 0..300), 0..8),
        cut in 1..40_usize,
    ) {
        let mut wire = Vec::new();
        for body in &bodies {
            let data = DataMessage { raw_data: Some(body.clone()), ..DataMessage::default() };
            wire.extend(Frame::print(Tag::DataMessage, &data));
        }
        let (mut buffer, mut found) = (Vec::new(), Vec::new());
        for part in wire.chunks(cut) {
            buffer.extend_from_slice(part);
            while let Some(Frame { tag, message }) = Frame::first(&buffer, 1000).unwrap() {
                prop_assert_eq!(tag, Tag::DataMessage as u8);
                let data = DataMessage::decode(&buffer[message.clone()]).unwrap();
                found.extend(data.raw_data);
                buffer.drain(..message.end);
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(Some(frame)) = Frame::first(&bytes, 500) {
            prop_assert!(frame.message.end <= bytes.len() && frame.message.len() <= 500);
        }
        let (mut session, now) = open();
        // Whatever happens, no message is confirmed that was not sent.
        if let Ok(Command::Confirmed { messages, .. }) = session.receive(bytes.first().copied().unwrap_or(0), &bytes, now) {
            prop_assert!(messages.is_empty());
        }
    }

    /// Each message is confirmed once, in order, and none that was not sent.
    #[test]
    fn every_message_is_confirmed_once(steps in vec((0..6_i32, any::<bool>()), 0..60)) {
        let (mut session, mut now) = open();
        let (mut next, mut told) = (0, Vec::new());
        for (step, is_push) in steps {
            now += secs(1);
            if is_push {
                push(&mut session, next);
                next += 1;
                continue;
            }
            // The login response is frame 1.
            let up_to = i32::try_from(told.len()).unwrap() + 1 + step;
            match confirm(&mut session, up_to, now) {
                Ok(Command::Confirmed { messages, .. }) => told.extend(messages),
                Ok(_) => prop_assert_eq!(step, 0),
                Err(close) => {
                    prop_assert_eq!(close, Close::StreamId);
                    prop_assert!(up_to > i32::try_from(next).unwrap() + 1);
                    return Ok(());
                }
            }
        }
        let all: Vec<_> = (0..next).map(MessageId::new).collect();
        prop_assert_eq!(&all[..told.len()], told);
    }

    #[test]
    fn a_registration_is_read_from_its_token(
        app in "[a-z.]{1,64}",
        subtype in "[ -~]{1,320}",
        random in any::<[u8; 8]>(),
    ) {
        let device = Device::from_random(random);
        prop_assume!(device.is_some());
        let names = Names::new(app, subtype).unwrap();
        let registration = Registration::new(device.unwrap(), random, &key(), names);
        let token = registration.seal(&keyring(9));
        prop_assert!(token.len() <= 602);
        let read = Registration::open(&keyring(9), &token).unwrap();
        prop_assert_eq!(read.key().unwrap(), key());
        prop_assert_eq!(&read, &registration);
        prop_assert_eq!(read.endpoint(), registration.endpoint());
        prop_assert!(PushEndpoint::open(&keyring(9), &token).is_err());
        prop_assert!(Registration::open(&keyring(8), &token).is_err());
    }
}

#[test]
fn names_have_a_length() {
    let new = |app: usize, subtype: usize| Names::new("a".repeat(app), "s".repeat(subtype));
    assert!(new(1, 1).is_some() && new(64, 320).is_some());
    for (app, subtype) in [(0, 1), (1, 0), (65, 1), (1, 321)] {
        assert!(new(app, subtype).is_none());
    }
}

#[test]
fn a_registration_keeps_its_subscription_in_every_store() {
    let of_another = Registration::new(device(), [2; 8], &key(), names());
    assert_ne!(registration(), of_another);
    assert_eq!(registration().endpoint(), of_another.endpoint());
    let other_key = KeyPair::from_bytes(&[6; 32]).unwrap().public_key();
    let other = Registration::new(device(), [1; 8], &other_key, names()).endpoint();
    assert_eq!(other.channel, registration().endpoint().channel);
    assert_ne!(other.subscription, registration().endpoint().subscription);
    // The two names do not run together.
    let moved = |app: &str, subtype: &str| {
        Names::new(app.to_owned(), subtype.to_owned())
            .unwrap()
            .channel()
    };
    assert_ne!(moved("ab", "c"), moved("a", "bc"));
}

#[test]
fn credentials_are_those_of_a_key_of_the_ring() {
    let ring = keyring(9);
    let (id, token) = (device().id(), device().security_token(&ring));
    assert!(id != 0 && token != 0 && i64::try_from(id).is_ok());
    assert_eq!(Device::authenticate(&ring, id, token), Some(device()));
    for (id, token) in [
        (id, token + 1),
        (id + 1, token),
        (id, 0),
        (0, 0),
        (0, token),
    ] {
        assert_eq!(Device::authenticate(&ring, id, token), None);
    }
    let rotated = Keyring::new(&[[8; 32], [9; 32]]).unwrap();
    assert_eq!(Device::authenticate(&rotated, id, token), Some(device()));
    assert_ne!(device().security_token(&rotated), token);
    assert_eq!(Device::authenticate(&keyring(8), id, token), None);
    assert_eq!(Device::from_random([0; 8]), None);
}

#[test]
fn only_a_login_opens_a_session_and_only_once() {
    for tag in [0, 1, 3, 4, 7, 8, 10, 99] {
        let (mut session, now) = awaiting_login();
        assert_eq!(session.receive(tag, &[], now), Err(Close::LoginExpected));
    }
    for (device, token) in [
        ("", ""),
        ("x", "1"),
        ("1", "-1"),
        ("99999999999999999999", "1"),
    ] {
        let (mut session, now) = awaiting_login();
        let received = session.receive(2, &login(device, token), now);
        assert_eq!(received, Err(Close::UnknownDevice), "{device} {token}");
    }
    let (mut session, now) = open();
    let again = session.receive(2, &login("1", "2"), now);
    assert_eq!(again, Err(Close::SecondLogin));
}

#[test]
fn a_malformed_message_closes() {
    for tag in [0, 1, 7, 8] {
        let (mut session, now) = open();
        assert_eq!(session.receive(tag, &[0xff], now), Err(Close::Message));
    }
    let (mut session, now) = awaiting_login();
    assert_eq!(session.receive(2, &[0xff], now), Err(Close::Message));
}

#[test]
fn unknown_types_are_ignored_and_counted_as_frames() {
    let (mut session, now) = open();
    for tag in [3, 5, 6, 9, 10, 11, 99, 255] {
        assert_eq!(session.receive(tag, &[0xff], now), Ok(Command::Ignored));
    }
    session.settle();
    let ack: Heartbeat = sent(&session.heartbeat_ack());
    assert_eq!(ack.last_stream_id_received, Some(1 + 8));
}

#[test]
fn a_stream_id_that_lies_closes() {
    let (mut session, now) = open();
    push(&mut session, 1);
    for up_to in [3, i32::MAX, -1] {
        let (mut session, now) = (open().0, now);
        push(&mut session, 1);
        assert_eq!(confirm(&mut session, up_to, now), Err(Close::StreamId));
    }
    assert_eq!(confirm(&mut session, 2, now), confirmed(&[1]));
    assert_eq!(confirm(&mut session, 1, now), Err(Close::StreamId));
}

#[test]
fn what_is_confirmed_is_told_to_the_client_only_when_it_is_settled() {
    let (mut session, now) = open();
    push(&mut session, 1);
    assert_eq!(confirm(&mut session, 2, now), confirmed(&[1]));
    assert!(session.is_unsettled());
    assert_eq!(push(&mut session, 2).last_stream_id_received, Some(1));
    session.settle();
    assert!(!session.is_unsettled());
    assert_eq!(push(&mut session, 3).last_stream_id_received, Some(2));
}

#[test]
fn a_message_has_the_names_of_its_registration() {
    let (mut session, _) = open();
    let aesgcm = ContentCoding::Aesgcm {
        encryption: "salt=a".to_owned(),
        crypto_key: "dh=b".to_owned(),
    };
    let mut fields = |coding: Option<ContentCoding>| {
        let content = coding.map(|coding| Content {
            coding: Some(coding),
            content_type: None,
            body: vec![1, 2, 3],
        });
        let to = (&registration(), &key());
        let frame = session.deliver(&message(1, content), to, "p".to_owned(), NOW + secs(20));
        let data: DataMessage = sent(&frame.unwrap());
        assert_eq!(data.from, Some(key().to_base64url()));
        assert_eq!(data.category.as_deref(), Some("org.chromium.linux"));
        assert_eq!((data.ttl, data.immediate_ack), (Some(40), Some(true)));
        assert_eq!(data.persistent_id.as_deref(), Some("p"));
        let fields = data
            .app_data
            .into_iter()
            .map(|field| (field.key, field.value));
        (fields.collect::<Vec<_>>(), data.raw_data)
    };
    let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(fields(None), (vec![field("subtype", SUBTYPE)], None));
    let (encoded, body) = fields(Some(ContentCoding::Aes128gcm));
    let coding = field("content-encoding", "aes128gcm");
    assert_eq!(encoded, [field("subtype", SUBTYPE), coding]);
    assert_eq!(body, Some(vec![1, 2, 3]));
    let (encoded, _) = fields(Some(aesgcm));
    let parameters = [field("encryption", "salt=a"), field("crypto-key", "dh=b")];
    assert_eq!(encoded[2..], parameters);
}

#[test]
fn a_login_that_is_refused_says_why() {
    let (mut session, _) = awaiting_login();
    let refusal = session.refuse();
    assert_eq!(refusal[0], VERSION);
    let response: LoginResponse = sent(&refusal[1..]);
    assert_eq!(response.error.and_then(|error| error.code), Some(401));
    assert_eq!(response.heartbeat_config, None);
}

#[test]
fn a_client_that_is_silent_is_asked_and_then_closed() {
    let (mut session, now) = open();
    assert_eq!(session.next_timeout(), now + secs(310));
    assert_eq!(session.on_timeout(now + secs(309)), None);
    assert_eq!(session.on_timeout(now + secs(310)), Some(Timeout::Ping));
    assert_eq!(session.next_timeout(), now + secs(320));
    let end = Timeout::Close(Close::HeartbeatTimeout);
    assert_eq!(session.on_timeout(now + secs(320)), Some(end));

    let (mut session, now) = open();
    assert_eq!(session.on_timeout(now + secs(310)), Some(Timeout::Ping));
    let heard = now + secs(315);
    let beat = session.receive(0, &[], heard);
    let messages = Vec::new();
    let is_heartbeat = true;
    assert_eq!(
        beat,
        Ok(Command::Confirmed {
            messages,
            is_heartbeat
        })
    );
    assert_eq!(session.next_timeout(), heard + secs(310));

    let (mut session, now) = awaiting_login();
    let end = Timeout::Close(Close::LoginTimeout);
    assert_eq!(session.on_timeout(now + secs(5)), Some(end));
}

#[test]
fn bytes_before_the_login_and_messages_in_flight_are_bounded() {
    let (mut session, now) = awaiting_login();
    assert_eq!(session.read(1000, now), Ok(()));
    let too_many = Err(Close::Frame(FrameError::TooLong(1000)));
    assert_eq!(session.read(1, now), too_many);

    let (mut session, _) = open();
    for id in 0..4096 {
        push(&mut session, id);
    }
    let one_more = session.deliver(
        &message(5000, None),
        (&registration(), &key()),
        String::new(),
        NOW,
    );
    assert_eq!(one_more, Err(Close::Unconfirmed));
}

#[test]
fn reading_pauses_at_the_rate_of_all_user_agents() {
    let (mut session, now) = open();
    for _ in 0..20 {
        assert_eq!(session.receive(99, &[], now), Ok(Command::Ignored));
    }
    assert!(session.paused_until(now).is_some_and(|until| until > now));
    assert!(session.pause_begins(now) && !session.pause_begins(now));
    assert_eq!(session.paused_until(now + secs(2)), None);
}
