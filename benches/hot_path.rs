//! Benchmarks the pure parts of one push separately, so that a regression can be located: `cargo
//! bench`.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a bench")]
#![allow(missing_docs, reason = "the macros make public functions")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bugle::bench::Metrics;
use bugle::bench::Verifier;
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::push::PushHeaders;
use bugle_protocol::session::{Session, SessionSettings};
use bugle_protocol::vapid::{Audience, Unread, VapidError};
use bugle_protocol::websocket::ServerMessage;
use bugle_protocol::{
    ChannelId, Content, ContentCoding, KeyPair, Keyring, MessageId, MessageUrl, PushEndpoint,
    PushMessage, SubscriptionId, Tolerances, Uaid, UnixTime, Urgency,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const ORIGIN: &str = "https://push.example.org";
const UAID: Uaid = Uaid::from_bytes([1; 16]);
const CHANNEL: ChannelId = ChannelId::from_bytes([2; 16]);
const SUBSCRIPTION: SubscriptionId = SubscriptionId::from_bytes([3; 16]);

/// The encrypted body of a push of 97 bytes: 200 bytes.
fn body() -> Vec<u8> {
    let user_agent = UserAgentKeys::from_random(&[5; 32], [6; 16]).unwrap();
    let ephemeral = KeyPair::from_bytes(&[7; 32]).unwrap();
    let keys = user_agent.subscription_keys();
    let body = keys.encrypt(&[b'x'; 97], &ephemeral, [8; 16]).unwrap();
    assert_eq!(body.len(), 200);
    body
}

/// The header fields of a push as senders write them, with a token that expires in `lifetime`
/// seconds.
fn headers(lifetime: u64) -> HeaderMap {
    let sender = KeyPair::from_bytes(&[9; 32]).unwrap();
    let ends = NOW + Duration::from_secs(lifetime);
    let token = sender.authorization(ORIGIN, ends, Some("mailto:ops@example.org"));
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("push.example.org"));
    headers.insert("ttl", HeaderValue::from_static("3600"));
    headers.insert("urgency", HeaderValue::from_static("high"));
    headers.insert("content-encoding", HeaderValue::from_static("aes128gcm"));
    headers.insert("content-length", HeaderValue::from_static("200"));
    headers.insert("authorization", token.parse().unwrap());
    headers
}

fn parse_a_push(criterion: &mut Criterion) {
    let (headers, body) = (headers(3600), body());
    criterion.bench_function("parse a POST", |bencher| {
        bencher.iter_batched(
            || body.clone(),
            |body| {
                let push = PushHeaders::parse(&headers, &Tolerances::NONE).unwrap();
                push.content(body, None, &Tolerances::NONE).unwrap()
            },
            BatchSize::SmallInput,
        );
    });
}

fn tokens(criterion: &mut Criterion) {
    let keyring = Keyring::new(&[[4; 32]]).unwrap();
    let endpoint = PushEndpoint {
        uaid: UAID,
        channel: CHANNEL,
        subscription: SUBSCRIPTION,
    };
    let token = endpoint.seal(&keyring);
    criterion.bench_function("open an endpoint token", |bencher| {
        bencher.iter(|| PushEndpoint::open(&keyring, black_box(&token)).unwrap());
    });
    let message = MessageUrl {
        uaid: UAID,
        id: MessageId::new(7),
    };
    criterion.bench_function("seal a message token", |bencher| {
        bencher.iter(|| black_box(&message).seal(&keyring));
    });
}

fn verify(criterion: &mut Criterion) {
    let audience = || Audience::new("https", "push.example.org", None);
    let minute = Duration::from_secs(60);
    let verifier = |capacity| Verifier::new(audience(), Tolerances::NONE, minute, capacity);
    let (metrics, headers) = (Metrics::default(), headers(3600));
    let admit = || Ok::<_, VapidError>(());
    criterion.bench_function("verify a token, cold", |bencher| {
        bencher.iter_batched(
            || verifier(16),
            |verifier| {
                verifier
                    .verify(Unread::new(&headers), NOW, &metrics, admit)
                    .unwrap()
            },
            BatchSize::SmallInput,
        );
    });
    let verifier = verifier(1024);
    criterion.bench_function("verify a token, warm", |bencher| {
        bencher.iter(|| {
            verifier
                .verify(Unread::new(black_box(&headers)), NOW, &metrics, admit)
                .unwrap()
        });
    });
}

fn websocket(criterion: &mut Criterion) {
    let message = PushMessage {
        id: MessageId::new(7),
        channel: CHANNEL,
        subscription: SUBSCRIPTION,
        accepted_at: NOW,
        expires_at: NOW + Duration::from_secs(3600),
        urgency: Urgency::Normal,
        topic: None,
        content: Some(Content {
            coding: Some(ContentCoding::Aes128gcm),
            content_type: None,
            body: body(),
        }),
        receipt: None,
    };
    let version = "v".repeat(54);
    criterion.bench_function("encode a notification", |bencher| {
        bencher.iter(|| ServerMessage::notification(black_box(&message), version.clone()).print());
    });
    let ack = format!(
        r#"{{"messageType":"ack","updates":[{{"channelID":"{CHANNEL}","version":"{version}","code":100}}]}}"#
    );
    let mut session = session();
    session
        .receive(r#"{"messageType":"hello"}"#, Instant::now().into_std())
        .unwrap();
    let now = Instant::now().into_std();
    criterion.bench_function("read an ack", |bencher| {
        bencher.iter(|| session.receive(black_box(&ack), now).unwrap());
    });
}

fn session() -> Session {
    let minute = Duration::from_secs(60);
    let settings = SessionSettings {
        hello_timeout: minute,
        ping_interval: minute,
        pong_timeout: minute,
        min_ping_interval: minute,
        frame_rate: 1000,
        frame_burst: 5000,
        hello_bytes: 1 << 18,
    };
    Session::new(Arc::new(settings), Instant::now().into_std())
}

criterion_group!(hot_path, parse_a_push, tokens, verify, websocket);
criterion_main!(hot_path);
