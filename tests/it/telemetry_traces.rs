//! Traces: the real program exports them to a collector that decodes them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::cli::{bugle, terminate};
use crate::support::app_server::Push;
use crate::support::http;
use crate::support::scene::Scene;
use crate::support::server::Server;
use crate::support::subject::needs_ours;
use crate::support::user_agent::{CHANNEL, TIMEOUT};

/// A trace started by a sender (W3C Trace Context), and one with the sampled flag unset.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const UNWANTED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// What a collector has received: the head and body of a request.
type Received = (String, ExportTraceServiceRequest);

struct Collector {
    endpoint: String,
    received: mpsc::UnboundedReceiver<Received>,
    /// By name, with the resource attributes.
    spans: BTreeMap<String, (Span, Vec<KeyValue>)>,
    head: String,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Some(request) = take(stream).await {
                    let _ = sender.send(request);
                }
            }
        });
        Self {
            endpoint,
            received,
            spans: BTreeMap::new(),
            head: String::new(),
        }
    }

    /// Waits for a span with this name.
    async fn span(&mut self, name: &str) -> Span {
        while !self.spans.contains_key(name) {
            let received = timeout(TIMEOUT, self.received.recv()).await;
            let (head, request) = received.expect("spans arrive").unwrap();
            self.head = head;
            for resource in request.resource_spans {
                let of = resource.resource.unwrap().attributes;
                let spans = resource.scope_spans.into_iter().flat_map(|it| it.spans);
                for span in spans {
                    let before = self
                        .spans
                        .insert(span.name.clone(), (span.clone(), of.clone()));
                    assert!(before.is_none(), "twice: {span:?}");
                }
            }
        }
        self.spans[name].0.clone()
    }
}

/// Reads one request and responds.
async fn take(stream: TcpStream) -> Option<Received> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        stream
            .read_line(&mut line)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        let line = line.to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    // `Connection: close` prevents further requests on a connection that ends.
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.ok()?;
    Some((head, ExportTraceServiceRequest::decode(&*body).unwrap()))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

async fn traced(collector: &Collector) -> Server {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-team=push"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ("OTEL_BSP_SCHEDULE_DELAY", "20"),
    ];
    let environment = variables.map(|(name, value)| (name, OsString::from(value)));
    Server::start_program_in(environment.into(), None, |_| ()).await
}

#[tokio::test]
async fn one_trace_spans_a_push_from_post_to_acknowledgement() {
    needs_ours!("the program");
    let mut collector = Collector::start().await;
    let mut scene = Scene::at(traced(&collector).await).await;
    let push = Push::to(&scene.server, &scene.endpoint)
        .signed(&scene.keys)
        .text("x");
    push.clone()
        .header("traceparent", UNWANTED)
        .accepted()
        .await;
    let unwanted = scene.user_agent.notification().await;
    scene.user_agent.ack(&unwanted).await;

    let parent = format!("00-{TRACE}-{PARENT}-01");
    let push = push.header("traceparent", &parent);
    let url = push.accepted().await;
    let notification = scene.user_agent.notification().await;
    scene.user_agent.ack(&notification).await;
    let ack = collector.span("ack").await;
    let accept = collector.span("accept").await;
    assert_eq!(hex(&accept.parent_span_id), PARENT);
    let mut began = accept.start_time_unix_nano;
    for stage in ["store", "route", "write", "ack"] {
        let span = collector.span(stage).await;
        assert_eq!(span.parent_span_id, accept.span_id, "{stage}");
        assert!(span.start_time_unix_nano >= began, "{stage}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        began = span.start_time_unix_nano;
    }
    assert_eq!(collector.spans.len(), 5);
    for (span, resource) in collector.spans.values() {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(text(resource, "service.name").as_deref(), Some("bugle"));
        let environment = text(resource, "deployment.environment");
        assert_eq!(environment.as_deref(), Some("test"));
    }
    assert!(
        collector.head.contains("x-team: push"),
        "{}",
        collector.head
    );
    assert!(collector.head.starts_with("post /v1/traces "));
    assert_eq!(
        text(&ack.attributes, "bugle.ack.code").as_deref(),
        Some("100")
    );
    let status = text(&accept.attributes, "http.response.status_code");
    assert_eq!(status.as_deref(), Some("201"));

    let all = format!("{:?}", collector.spans);
    let last = |url: &str| url.rsplit('/').next().unwrap().to_owned();
    for secret in [
        &last(&scene.endpoint),
        &last(&url),
        &scene.user_agent.uaid,
        &scene.key(),
        notification.version(),
        CHANNEL,
        "127.0.0.1",
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_refused_push_is_traced_with_its_reason() {
    needs_ours!("the program");
    let mut collector = Collector::start().await;
    let scene = Scene::at(traced(&collector).await).await;
    let push = Push::to(&scene.server, &scene.endpoint).text("x");
    assert_eq!(push.send().await.status, 401);
    let accept = collector.span("accept").await;
    assert_eq!(accept.parent_span_id, [] as [u8; 0]);
    let reason = text(&accept.attributes, "error.type");
    assert_eq!(reason.as_deref(), Some("unauthorized"));
}

#[tokio::test]
async fn an_unreachable_collector_stops_nothing_and_is_logged_once() {
    needs_ours!("the program");
    let folder = tempfile::tempdir().unwrap();
    // The collector's port is closed before the program starts.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let arguments = ["--listen", "127.0.0.1:0", "--admin-listen", ""];
    let mut program = bugle(folder.path(), &[&arguments[..], &["--data", "d"]].concat());
    program
        .env("BUGLE_LOG__FORMAT", "json")
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &endpoint)
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "16")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
        .env("OTEL_BSP_SCHEDULE_DELAY", "1");
    let mut child = program.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = timeout(TIMEOUT, log.next_line()).await.unwrap().unwrap();
    let listening: serde_json::Value = serde_json::from_str(&listening.unwrap()).unwrap();
    let address = listening["listen"].as_str().unwrap();
    let post = async || http::http1(address, "POST", "/push/unknown", &[], b"").await;
    for _ in 0..50 {
        assert_eq!(post().await.status, 404);
    }
    let next = async |log: &mut tokio::io::Lines<_>| {
        timeout(TIMEOUT, log.next_line()).await.unwrap().unwrap()
    };
    let reported = next(&mut log).await.unwrap();
    let dropped = "the collector takes no traces; they are dropped";
    assert!(reported.contains(dropped), "{reported}");
    for _ in 0..50 {
        assert_eq!(post().await.status, 404);
    }
    terminate(&child);
    while let Some(line) = next(&mut log).await {
        assert!(!line.contains("collector"), "twice: {line}");
    }
    let ended = timeout(TIMEOUT, child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}
