//! Tests of the clients against a scripted service.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use std::collections::BTreeMap;

use bugle_protocol::websocket::{ClientMessage, ServerMessage};
use bugle_protocol::{Tolerances, Ttl, UnixTime, Urgency, WireUaid, vapid};
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_async};
use url::Url;

use super::*;

const UAID: &str = "00112233445566778899aabbccddeeff";

/// A user agent and the service's end of its connection.
async fn connected() -> (UserAgent, WebSocketStream<DuplexStream>) {
    let (here, there) = duplex(1 << 16);
    let url = Url::parse("ws://push.example.org/").unwrap();
    let (agent, service) = tokio::join!(
        UserAgent::on_stream(Box::new(here), &url),
        accept_async(there)
    );
    (agent.unwrap(), service.unwrap())
}

async fn send(service: &mut WebSocketStream<DuplexStream>, text: &str) {
    service.send(Message::text(text)).await.unwrap();
}

async fn received(service: &mut WebSocketStream<DuplexStream>) -> serde_json::Value {
    let message = service.next().await.unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn a_user_agent_registers_receives_and_acknowledges() {
    let (mut agent, mut service) = connected().await;
    let channel = new_channel_id();
    let script = async {
        assert_eq!(received(&mut service).await["messageType"], "hello");
        send(
            &mut service,
            &ServerMessage::hello(UAID.parse().unwrap(), BTreeMap::new()).print(),
        )
        .await;
        assert_eq!(
            received(&mut service).await["channelID"],
            channel.to_string()
        );
        // Messages before the response are neither lost nor taken for the response.
        send(
            &mut service,
            r#"{"messageType":"broadcast","broadcasts":{}}"#,
        )
        .await;
        send(
            &mut service,
            r#"{"messageType":"notification","channelID":"c","version":"early"}"#,
        )
        .await;
        let answer = ServerMessage::Register {
            channel_id: channel.to_string(),
            status: 200,
            push_endpoint: Some("http://push.example.org/push/a".to_owned()),
        };
        send(&mut service, &answer.print()).await;
        let ack = received(&mut service).await;
        let update = serde_json::json!({ "channelID": "c", "version": "early", "code": 100 });
        assert_eq!(ack["updates"], serde_json::json!([update]));
        assert_eq!(received(&mut service).await, serde_json::json!({}));
        send(&mut service, "{}").await;
        let code = 1001.into();
        let reason = "bye".into();
        service
            .close(Some(CloseFrame { code, reason }))
            .await
            .unwrap();
    };
    let life = async {
        assert_eq!(agent.hello(None).await.unwrap().to_string(), UAID);
        let endpoint = agent.register(channel, None).await.unwrap();
        assert_eq!(endpoint, "http://push.example.org/push/a");
        let push = agent.receive().await.unwrap();
        assert_eq!((push.version.as_str(), push.encoding()), ("early", None));
        agent.acknowledge(&push, 100).await.unwrap();
        agent.ping().await.unwrap();
        let error = agent.receive().await.unwrap_err().to_string();
        assert_eq!(error, "the service closed the connection (code 1001: bye)");
    };
    tokio::join!(script, life);
}

#[tokio::test]
async fn a_refused_registration_returns_its_status() {
    let (mut agent, mut service) = connected().await;
    let channel = new_channel_id();
    let answer = ServerMessage::Register {
        channel_id: channel.to_string(),
        status: 429,
        push_endpoint: None,
    };
    send(&mut service, &answer.print()).await;
    let error = agent.register(channel, None).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Refused { status: 429, .. }),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_response_times_out() {
    let (mut agent, _service) = connected().await;
    let error = agent.ping().await.unwrap_err().to_string();
    assert_eq!(error, "no answer to ping within 20 s");
}

#[tokio::test]
async fn early_notifications_are_bounded() {
    let (mut agent, mut service) = connected().await;
    let flood = async {
        loop {
            let push = r#"{"messageType":"notification","channelID":"c","version":"v"}"#;
            if service.send(Message::text(push)).await.is_err() {
                return;
            }
        }
    };
    let asked = async {
        let error = agent.ping().await.unwrap_err().to_string();
        assert!(
            error.contains("1024 notifications before an answer"),
            "{error}"
        );
        drop(agent);
    };
    tokio::join!(flood, asked);
}

fn subscription(keys: &UserAgentKeys) -> PushSubscription {
    PushSubscription {
        endpoint: "https://push.example.org:8443/push/abc?d=e#f".to_owned(),
        keys: keys.subscription_keys(),
    }
}

fn push(text: Option<&str>) -> Push {
    Push {
        text: text.map(|text| text.as_bytes().to_vec()),
        ttl: Ttl::from_secs(60),
        urgency: Some(Urgency::High),
        topic: Some("news".parse().unwrap()),
        receipt: Some(ReceiptRequest::At("https://push.example.org/r".to_owned())),
    }
}

#[tokio::test]
async fn a_push_request_is_encrypted_and_signed() {
    let keys = new_user_agent_keys();
    let server = ApplicationServer {
        vapid: Some(new_key_pair()),
        subject: Some("mailto:a@example.org".to_owned()),
    };
    let now = UnixTime::from_secs(1_700_000_000);
    let request = server
        .request(&subscription(&keys), &push(Some("Hello")), now)
        .unwrap();
    assert_eq!(request.uri(), "/push/abc?d=e");
    let headers = request.headers();
    for (name, value) in [
        ("host", "push.example.org:8443"),
        ("ttl", "60"),
        ("urgency", "high"),
        ("topic", "news"),
        ("prefer", "respond-async"),
        (
            "link",
            "<https://push.example.org/r>; rel=\"urn:ietf:params:push:receipt\"",
        ),
        ("content-encoding", "aes128gcm"),
    ] {
        assert_eq!(headers[name], value);
    }
    const NONE: Tolerances = Tolerances::NONE;
    let credentials = vapid::Credentials::parse(headers, &NONE).unwrap().unwrap();
    let audience = vapid::Audience::new("https", "push.example.org", Some(8443));
    let verified = credentials
        .verify(&audience, &NONE, Duration::ZERO, now)
        .unwrap();
    assert_eq!(verified.key, server.vapid.as_ref().unwrap().public_key());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let coding = bugle_protocol::ContentCoding::Aes128gcm;
    assert_eq!(keys.decrypt(&coding, &body).unwrap(), b"Hello");
}

#[test]
fn a_push_without_text_has_neither_body_nor_coding() {
    let keys = new_user_agent_keys();
    let server = ApplicationServer::default();
    let request = server.request(&subscription(&keys), &push(None), UnixTime::from_secs(0));
    let headers = request.unwrap().into_parts().0.headers;
    for name in ["content-encoding", "content-type", "authorization"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_long_text_and_an_unusable_endpoint_are_rejected() {
    let keys = new_user_agent_keys();
    let (mut to, server) = (subscription(&keys), ApplicationServer::default());
    let long = push(Some(&"x".repeat(3994)));
    let now = UnixTime::from_secs(0);
    let error = server.request(&to, &long, now).unwrap_err();
    assert!(matches!(error, ClientError::Encrypt(_)), "{error}");
    for endpoint in ["", "/push/a", "ftp://a/b", "unifiedpush"] {
        to.endpoint = endpoint.to_owned();
        let error = server
            .request(&to, &push(None), now)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("cannot use the URL"), "{error}");
    }
}

#[test]
fn decrypt_rejects_other_keys_and_unknown_codings() {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;
    let keys = new_user_agent_keys();
    let body = keys
        .subscription_keys()
        .encrypt(b"Hi", &new_key_pair(), [7; 16])
        .unwrap();
    let mut push = Notification {
        channel: String::new(),
        version: String::new(),
        data: Some(URL_SAFE.encode(body)),
        headers: Default::default(),
    };
    assert_eq!(push.decrypt(&keys), Err(OpenError::NotEncrypted));
    push.headers.encoding = Some("gzip".to_owned());
    assert_eq!(push.decrypt(&keys), Err(OpenError::UnknownCoding));
    push.headers.encoding = Some("aes128gcm".to_owned());
    assert_eq!(push.decrypt(&keys), Ok(Some(b"Hi".to_vec())));
    assert!(matches!(
        push.decrypt(&new_user_agent_keys()),
        Err(OpenError::Decrypt(_))
    ));
    push.data = Some("+/".to_owned());
    assert_eq!(push.decrypt(&keys), Err(OpenError::Encoding));
    push.data = None;
    assert_eq!(push.decrypt(&keys), Ok(None));
}

#[tokio::test]
async fn one_connection_sends_two_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/push/a", listener.local_addr().unwrap());
    let service = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(stream.read_u8().await.unwrap());
            }
            assert!(seen.starts_with(b"POST /push/a HTTP/1.1\r\n"));
            stream
                .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
        }
    };
    let client = async {
        let dialer = Dialer::new(None).unwrap();
        let mut connection = HttpConnection::open(&dialer, &url).await.unwrap();
        let to = PushSubscription {
            endpoint: url.clone(),
            ..subscription(&new_user_agent_keys())
        };
        for _ in 0..2 {
            let request =
                ApplicationServer::default().request(&to, &push(None), UnixTime::from_secs(0));
            let answer = connection.send(request.unwrap()).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.body().as_ref()),
                (201, &b"ok"[..])
            );
        }
    };
    tokio::join!(service, client);
}

#[tokio::test]
async fn a_failed_connection_names_the_host() {
    let dialer = Dialer::new(None).unwrap();
    let unused = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = Url::parse(&format!("ws://{unused}/")).unwrap();
    let error = dialer.dial(&url).await.err().unwrap().to_string();
    assert!(
        error.starts_with(&format!("cannot connect to {unused}: ")),
        "{error}"
    );
    let error = dialer
        .dial(&Url::parse("ftp://a/").unwrap())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, ClientError::Url { .. }), "{error}");
}

#[test]
fn a_file_without_certificates_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    for path in [empty, "/does/not/exist".into()] {
        let error = Dialer::new(Some(&path)).err().unwrap().to_string();
        let file = path.display();
        let start = format!("cannot read certificates in PEM from {file}: ");
        assert!(error.starts_with(&start), "{error}");
    }
}

#[test]
fn a_push_subscription_parses_the_json_of_browsers() {
    let keys = new_user_agent_keys();
    let mut json = serde_json::to_value(subscription(&keys)).unwrap();
    json["expirationTime"] = serde_json::Value::Null;
    assert_eq!(
        serde_json::from_value::<PushSubscription>(json).unwrap(),
        subscription(&keys)
    );
    let uaid: WireUaid = UAID.parse().unwrap();
    let hello = ClientMessage::Hello(bugle_protocol::websocket::Hello {
        uaid: Some(uaid),
        broadcasts: BTreeMap::new(),
    });
    assert!(hello.print().contains(UAID));
}
