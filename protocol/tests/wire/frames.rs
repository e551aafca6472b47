//! The messages of the WebSocket protocol: golden frames, and that each is
//! read back as it was printed.

use std::collections::BTreeMap;

use bugle_protocol::push::Content;
use bugle_protocol::websocket::{
    Ack, AckUpdate, BroadcastSubscribe, ClientMessage, Hello, MessageError, Nack,
    NotificationHeaders, Register, ServerMessage, Unregister, UrgencyFilter,
};
use bugle_protocol::{
    ContentCoding, MessageId, PushMessage, SubscriptionId, UnixTime, Urgency, WireUaid,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

const VERSION: &str = "aOOygrE-bTK_8XfZNX49ys4OURquj_Ufxqh72ExUvb63dS-M-bS0yA";
const UAID: &str = "3f3765e29bf541d096b61222647b10e4";
const CHANNEL: &str = "acf30367-0632-4cc1-adef-fa15f40ef378";
const OTHER: &str = "0ca2aff3-7f6b-4a2e-9526-9a0634efd79e";
const KEY: &str =
    "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

const URGENCIES: [Urgency; 4] = [
    Urgency::VeryLow,
    Urgency::Low,
    Urgency::Normal,
    Urgency::High,
];

fn golden(side: &str) -> BTreeMap<String, String> {
    let all: Value = serde_json::from_str(include_str!("../vectors/frames.json")).unwrap();
    serde_json::from_value(all[side].clone()).unwrap()
}

/// Checks that each golden frame of a side has an expected message, and the
/// reverse.
fn check<T: std::fmt::Debug + PartialEq>(
    side: &str,
    expected: Vec<(&str, T)>,
    holds: impl Fn(&str, &T) -> bool,
) {
    let frames = golden(side);
    assert_eq!(frames.len(), expected.len());
    for (name, message) in expected {
        assert!(holds(&frames[name], &message), "{name}: {message:?}");
    }
}

/// The broadcast that Firefox asks for.
fn monitor() -> BTreeMap<String, String> {
    let id = "remote-settings/monitor_changes";
    BTreeMap::from([(id.to_owned(), "\"0\"".to_owned())])
}

#[test]
fn frames_of_user_agents_are_parsed() {
    let register = |channel_id: &str, key: Option<String>| {
        let channel_id = channel_id.to_owned();
        ClientMessage::Register(Register { channel_id, key })
    };
    let expected = vec![
        ("hello, first", ClientMessage::Hello(Hello::default())),
        (
            "hello, with a name",
            ClientMessage::Hello(Hello {
                uaid: UAID.parse().ok(),
                broadcasts: monitor(),
            }),
        ),
        ("register", register(CHANNEL, None)),
        (
            "register, with a key",
            register(OTHER, Some(format!("{KEY}="))),
        ),
        (
            "ack",
            ClientMessage::Ack(Ack {
                updates: vec![AckUpdate {
                    channel_id: Some(OTHER.to_owned()),
                    version: Some(VERSION.to_owned()),
                    code: Some(100),
                }],
            }),
        ),
        ("nack", ClientMessage::Nack(Nack { code: Some(301) })),
        (
            "unregister",
            ClientMessage::Unregister(Unregister {
                channel_id: CHANNEL.to_owned(),
                code: Some(200),
            }),
        ),
        (
            "broadcast_subscribe",
            ClientMessage::BroadcastSubscribe(BroadcastSubscribe {
                broadcasts: monitor(),
            }),
        ),
        (
            "urgency",
            ClientMessage::Urgency(UrgencyFilter {
                min: Some(Urgency::High),
            }),
        ),
        ("ping", ClientMessage::Ping),
    ];
    check("user_agent", expected, |frame, message| {
        ClientMessage::parse(frame).as_ref() == Ok(message)
    });
}

fn message(coding: Option<ContentCoding>, body: Option<&[u8]>) -> ServerMessage {
    let message = PushMessage {
        id: MessageId::new(7),
        channel: OTHER.parse().unwrap(),
        subscription: SubscriptionId::from_bytes([3; 16]),
        accepted_at: UnixTime::from_secs(1),
        expires_at: UnixTime::from_secs(2),
        urgency: Urgency::High,
        topic: "secret".parse().ok(),
        content: body.map(|body| Content {
            coding,
            content_type: Some("text/plain".to_owned()),
            body: body.to_vec(),
        }),
        receipt: None,
    };
    ServerMessage::notification(&message, VERSION.to_owned())
}

#[test]
fn frames_of_the_service_have_these_bytes() {
    let aesgcm = ContentCoding::Aesgcm {
        encryption: "salt=lngarbyKfMoi9Z75xYXmkg".to_owned(),
        crypto_key: format!("dh={KEY}"),
    };
    let register = |status, push_endpoint| ServerMessage::Register {
        channel_id: CHANNEL.to_owned(),
        status,
        push_endpoint,
    };
    let endpoint = format!("http://127.0.0.1:8080/push/{VERSION}");
    let expected = vec![
        (
            "hello",
            ServerMessage::hello(UAID.parse().unwrap(), BTreeMap::new()),
        ),
        (
            "hello, with a broadcast",
            ServerMessage::hello(UAID.parse().unwrap(), monitor()),
        ),
        (
            "broadcast",
            ServerMessage::Broadcast {
                broadcasts: monitor(),
            },
        ),
        ("urgency", ServerMessage::Urgency { status: 200 }),
        ("urgency, refused", ServerMessage::Urgency { status: 400 }),
        ("register", register(200, Some(endpoint))),
        ("register, refused", register(400, None)),
        (
            "notification",
            message(Some(ContentCoding::Aes128gcm), Some(&[1, 2, 3])),
        ),
        (
            "notification, aesgcm",
            message(Some(aesgcm), Some(&[1, 2, 3])),
        ),
        ("notification, without data", message(None, None)),
        (
            "unregister",
            ServerMessage::Unregister {
                channel_id: CHANNEL.to_owned(),
                status: 200,
            },
        ),
        ("pong", ServerMessage::Pong),
    ];
    check("service", expected, |frame, message| {
        frame == message.print() && ServerMessage::parse(frame).as_ref() == Ok(message)
    });
}

#[test]
fn updates_that_name_no_message_are_ignored() {
    for updates in ["7", "[]", "[{}]", "[7,{\"code\":100}]"] {
        let text = format!("{{\"messageType\":\"ack\",\"updates\":{updates}}}");
        let ack = Ack { updates: vec![] };
        assert_eq!(ClientMessage::parse(&text), Ok(ClientMessage::Ack(ack)));
    }
}

#[test]
fn invalid_messages_are_refused() {
    for (text, expected) in [
        ("", MessageError::NotAnObject),
        ("null", MessageError::NotAnObject),
        ("{}{}", MessageError::NotAnObject),
        ("[]", MessageError::NotAnObject),
        ("[\"hello\"]", MessageError::NotAnObject),
        ("[\"register\",\"\"]", MessageError::NotAnObject),
        ("{\"messageType\":7}", MessageError::NotAnObject),
        ("{\"a\":1}", MessageError::NoType),
        ("{\"messageType\":\"HELLO\"}", MessageError::UnknownType),
        (
            "{\"messageType\":\"register\"}",
            MessageError::Malformed("register"),
        ),
        (
            "{\"messageType\":\"unregister\"}",
            MessageError::Malformed("unregister"),
        ),
    ] {
        assert_eq!(ClientMessage::parse(text), Err(expected), "{text}");
    }
    assert_eq!(
        ServerMessage::parse("[\"hello\"]"),
        Err(MessageError::NotAnObject)
    );
}

fn versions() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any::<String>(), any::<String>(), 0..4)
}

fn client_message() -> impl Strategy<Value = ClientMessage> {
    let text = any::<String>;
    let code = || option::of(any::<u16>());
    let update = (option::of(text()), option::of(text()), code());
    let update = update.prop_map(|(channel_id, version, code)| AckUpdate {
        channel_id,
        version,
        code,
    });
    prop_oneof![
        (option::of(any::<[u8; 16]>()), versions()).prop_map(|(uaid, broadcasts)| {
            let uaid = uaid.map(WireUaid::from_bytes);
            ClientMessage::Hello(Hello { uaid, broadcasts })
        }),
        (text(), option::of(text()))
            .prop_map(|(channel_id, key)| ClientMessage::Register(Register { channel_id, key })),
        (text(), code()).prop_map(|(channel_id, code)| {
            ClientMessage::Unregister(Unregister { channel_id, code })
        }),
        versions().prop_map(|broadcasts| {
            ClientMessage::BroadcastSubscribe(BroadcastSubscribe { broadcasts })
        }),
        // One that names no message is left out when it is read.
        vec(
            update.prop_filter("names a message", |it| it.version.is_some()),
            0..4
        )
        .prop_map(|updates| ClientMessage::Ack(Ack { updates })),
        code().prop_map(|code| ClientMessage::Nack(Nack { code })),
        option::of(select(&URGENCIES))
            .prop_map(|min| ClientMessage::Urgency(UrgencyFilter { min })),
        Just(ClientMessage::Ping),
    ]
}

fn server_message() -> impl Strategy<Value = ServerMessage> {
    let text = any::<String>;
    let some = || option::of(any::<String>());
    let headers = (some(), some(), some()).prop_map(|(encoding, encryption, crypto_key)| {
        NotificationHeaders {
            encoding,
            encryption,
            crypto_key,
        }
    });
    let hello = (text(), any::<u16>(), any::<bool>(), versions());
    let notification = (text(), text(), some(), option::of(headers));
    prop_oneof![
        hello.prop_map(
            |(uaid, status, use_webpush, broadcasts)| ServerMessage::Hello {
                uaid,
                status,
                use_webpush,
                broadcasts,
            }
        ),
        (text(), any::<u16>(), some()).prop_map(|(channel_id, status, push_endpoint)| {
            ServerMessage::Register {
                channel_id,
                status,
                push_endpoint,
            }
        }),
        (text(), any::<u16>())
            .prop_map(|(channel_id, status)| ServerMessage::Unregister { channel_id, status }),
        notification.prop_map(|(channel_id, version, data, headers)| {
            ServerMessage::Notification {
                channel_id,
                version,
                data,
                headers,
            }
        }),
        versions().prop_map(|broadcasts| ServerMessage::Broadcast { broadcasts }),
        any::<u16>().prop_map(|status| ServerMessage::Urgency { status }),
        Just(ServerMessage::Pong),
    ]
}

proptest! {
    #[test]
    fn client_messages_are_read_back(message in client_message()) {
        prop_assert_eq!(ClientMessage::parse(&message.print()), Ok(message));
    }

    #[test]
    fn server_messages_are_read_back(message in server_message()) {
        prop_assert_eq!(ServerMessage::parse(&message.print()), Ok(message));
    }

    /// Cut off anywhere, a frame is no message: nothing half-read is acted on.
    #[test]
    fn a_truncated_message_is_refused(message in client_message(), at in any::<prop::sample::Index>()) {
        let text = message.print();
        let end = at.index(text.len());
        if let Some(part) = text.get(..end) {
            prop_assert!(ClientMessage::parse(part).is_err());
        }
    }
}
