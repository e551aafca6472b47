//! Tests of the HTTP/2 clients against a scripted service.

#![expect(clippy::unwrap_used, reason = "a panic is the failure of a test")]

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use super::*;

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// The service's end of a connection.
struct Service {
    origin: String,
    connection: Connection<TcpStream, Bytes>,
}

impl Service {
    async fn next(&mut self) -> Asked {
        self.connection.accept().await.unwrap().unwrap()
    }

    /// Serves until the client disconnects.
    async fn finish(mut self) {
        while let Some(Ok(_)) = self.connection.accept().await {}
    }
}

/// Runs a client against a scripted service.
async fn play<T>(
    client: impl AsyncFnOnce(String) -> T,
    script: impl AsyncFnOnce(&mut Service),
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let service = async {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = h2::server::handshake(stream).await.unwrap();
        let origin = origin.clone();
        let mut service = Service { origin, connection };
        script(&mut service).await;
        service.finish().await;
    };
    tokio::join!(client(origin.clone()), service).0
}

fn answer(mut respond: SendResponse<Bytes>, status: u16) {
    let response = Response::builder().status(status).body(()).unwrap();
    respond.send_response(response, true).unwrap();
}

/// Pushes a response to a GET for `url`.
fn push(held: &mut SendResponse<Bytes>, url: &str, reply: Response<&'static str>) {
    let promised = Request::get(url).body(()).unwrap();
    let mut pushed = held.push_request(promised).unwrap();
    let (head, body) = reply.into_parts();
    let head = Response::from_parts(head, ());
    let mut stream = pushed.send_response(head, body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(body.into(), true).unwrap();
    }
}

fn reply(status: u16, body: &'static str) -> Response<&'static str> {
    let reply = Response::builder().status(status);
    reply
        .header("content-encoding", "aesgcm")
        .body(body)
        .unwrap()
}

fn subscription(origin: &str) -> Subscription {
    Subscription {
        url: format!("{origin}/subscription/a"),
        push: format!("{origin}/push/a"),
        set: Some(format!("{origin}/set/a")),
    }
}

async fn agent(origin: &str) -> HttpUserAgent {
    let dialer = Dialer::new(None).unwrap();
    HttpUserAgent::connect(&dialer, origin).await.unwrap()
}

#[tokio::test]
async fn subscribe_returns_urls_of_its_origin_only() {
    let client = async |origin: String| {
        let key = new_key_pair().public_key();
        let agent = agent(&origin).await;
        let first = agent.subscribe(Some(&key), Some("/set/a")).await.unwrap();
        assert_eq!(first, subscription(&origin));
        let refused = agent.subscribe(None, None).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { status: 429, .. }));
        let elsewhere = agent.subscribe(None, None).await.unwrap_err().to_string();
        assert!(
            elsewhere.contains("https://b/push is no URL of"),
            "{elsewhere}"
        );
    };
    let script = async |service: &mut Service| {
        let links = "</push/a>; rel=\"urn:ietf:params:push\", \
                     </set/a>; rel=\"urn:ietf:params:push:set\"";
        for (status, link) in [
            (201, links),
            (429, links),
            (201, "<https://b/push>; rel=\"urn:ietf:params:push\""),
        ] {
            let (request, mut respond) = service.next().await;
            assert_eq!(
                (request.method(), request.uri().path()),
                (&Method::POST, "/subscribe")
            );
            let answer = Response::builder().status(status).header("link", link);
            let answer = answer
                .header("location", "/subscription/a")
                .body(())
                .unwrap();
            respond.send_response(answer, true).unwrap();
        }
    };
    play(client, script).await;
}

#[tokio::test]
async fn monitor_repeats_its_get_until_the_subscription_is_gone() {
    let client = async |origin: String| {
        let mut agent = agent(&origin).await;
        agent.monitor(&subscription(&origin), Some(bugle_protocol::Urgency::High));
        let first = agent.receive().await.unwrap();
        assert_eq!(first.version, format!("{origin}/message/1"));
        assert_eq!(
            (first.encoding(), first.data.as_deref()),
            (Some("aesgcm"), Some("SGk"))
        );
        agent.acknowledge(&first).await.unwrap();
        let second = agent.receive().await.unwrap();
        assert_eq!(second.data, None);
        let refused = agent.acknowledge(&second).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused { status: 503, .. }));
        let gone = agent.receive().await.unwrap_err();
        assert!(matches!(gone, ClientError::Gone), "{gone}");
    };
    let script = async |service: &mut Service| {
        let origin = service.origin.clone();
        for (message, body, ended, status) in [("1", "Hi", 204, 200), ("2", "", 503, 404)] {
            let (request, mut held) = service.next().await;
            assert_eq!(request.uri().to_string(), format!("{origin}/set/a"));
            assert_eq!(request.headers()["urgency"], "high");
            let url = format!("{origin}/message/{message}");
            push(&mut held, &url, reply(200, body));
            let (request, respond) = service.next().await;
            assert_eq!(
                (request.method(), request.uri().to_string()),
                (&Method::DELETE, url)
            );
            answer(respond, ended);
            // The response ends in a later frame than its head, as one with a body does.
            let response = Response::builder().status(status).body(()).unwrap();
            let mut end = held.send_response(response, false).unwrap();
            end.send_data("{}".into(), true).unwrap();
        }
    };
    play(client, script).await;
}

#[tokio::test]
async fn pushes_for_other_origins_are_rejected() {
    let client = async |origin: String| {
        let mut agent = agent(&origin).await;
        agent.monitor(&subscription(&origin), None);
        let error = agent.receive().await.unwrap_err().to_string();
        assert!(
            error.contains("https://elsewhere/m is no URL of"),
            "{error}"
        );
    };
    let script = async |service: &mut Service| {
        let (_, mut held) = service.next().await;
        push(&mut held, "https://elsewhere/m", reply(200, ""));
        answer(held, 200);
    };
    play(client, script).await;
}

#[tokio::test]
async fn receipts_report_delivered_and_failed_messages() {
    let client = async |origin: String| {
        let dialer = Dialer::new(None).unwrap();
        let url = format!("{origin}/receipts/a");
        let mut receipts = Receipts::open(&dialer, &url).await.unwrap();
        let first = receipts.receive().await.unwrap();
        assert_eq!(
            (first.message.clone(), first.is_delivered()),
            (format!("{origin}/m/1"), true)
        );
        assert!(!receipts.receive().await.unwrap().is_delivered());
        let error = receipts.receive().await.unwrap_err().to_string();
        assert!(error.contains("a receipt with status 200"), "{error}");
    };
    let script = async |service: &mut Service| {
        let (_, mut held) = service.next().await;
        for (message, status) in [("1", 204), ("2", 410), ("3", 200)] {
            let url = format!("{}/m/{message}", service.origin);
            push(&mut held, &url, reply(status, ""));
        }
        answer(held, 200);
    };
    play(client, script).await;
}

#[tokio::test]
async fn a_peer_without_http2_gives_an_http2_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let service = async {
        use tokio::io::AsyncWriteExt;
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
    };
    let client = async {
        let error = agent(&origin)
            .await
            .subscribe(None, None)
            .await
            .unwrap_err();
        assert!(matches!(error, ClientError::Http2(_)), "{error}");
    };
    tokio::join!(service, client);
}
