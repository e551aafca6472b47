//! Traces of OpenTelemetry: one from the POST of a push to its acknowledgement,
//! with a span for each stage. Off unless the environment names a collector;
//! then a push costs one look at an `Option`.
//!
//! What follows a message stays in memory, and holds neither capability nor
//! key. docs/decisions/0007-traces.md says what a restart does to a trace.

mod collector;
mod environment;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bugle_protocol::{MessageId, UnixTime};
use http::{HeaderMap, StatusCode};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, Span as SdkSpan};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use self::collector::Collector;
use self::environment::{Environment, NotSent};

/// How many messages are followed at one time. Of those that have to go for
/// newer ones, the rest is not traced.
const FOLLOWED: usize = 16_384;

/// A longer `tracestate` is not passed on; a shorter one must be (W3C Trace
/// Context §3.3.1.5).
const LONGEST_STATE: usize = 512;

/// At the end, how long the collector may take for the last spans.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// The traces of a service; clones are one. By [`Default`] they are off.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sent>>);

struct Sent {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    followed: Cache<MessageId, Followed>,
}

/// A message whose push is traced.
#[derive(Clone)]
struct Followed {
    parent: Parent,
    accepted: Instant,
    written: Option<Instant>,
}

/// What the spans of a trace hang from, and how it tells the time: by the
/// monotonic clock, since the beginning.
#[derive(Clone)]
struct Parent {
    context: Context,
    began: Instant,
    began_at: SystemTime,
}

impl Parent {
    fn time(&self, at: Instant) -> SystemTime {
        self.began_at + at.saturating_duration_since(self.began)
    }
}

/// A push that is being accepted, in a trace.
pub struct Accept {
    sent: Arc<Sent>,
    span: SdkSpan,
    parent: Parent,
}

impl Traces {
    /// As the variables `OTEL_*` say: off where they name no collector, and
    /// where they ask for what is not there, which the log then says. Call it
    /// within the runtime that the spans are to be sent in.
    pub fn from_environment() -> Self {
        let sent = Environment::of_process().and_then(|wanted| match wanted {
            Some(environment) => Sent::to(environment).map(Some),
            None => Ok(None),
        });
        match sent {
            Ok(sent) => Self(sent.map(Arc::new)),
            Err(reason) => {
                tracing::warn!(%reason, "no traces are sent");
                Self(None)
            }
        }
    }

    /// A push begins, which its sender may have begun to trace (W3C Trace
    /// Context). `None` when it is not to be traced.
    pub fn accept(
        &self,
        headers: &HeaderMap,
        began: Instant,
        now: impl FnOnce() -> UnixTime,
    ) -> Option<Box<Accept>> {
        let sent = self.0.as_ref()?;
        let of_sender =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Fields(headers));
        let began_at = SystemTime::from(now());
        let builder = sent.tracer.span_builder("accept");
        let span = builder
            .with_kind(SpanKind::Server)
            .with_start_time(began_at)
            .with_attributes([
                KeyValue::new("http.request.method", "POST"),
                KeyValue::new("http.route", "/push/{token}"),
            ])
            .start_with_context(&sent.tracer, &of_sender);
        let context = span.span_context().clone();
        context.is_sampled().then(|| {
            Box::new(Accept {
                sent: Arc::clone(sent),
                span,
                parent: Parent {
                    context: Context::new().with_remote_span_context(context),
                    began,
                    began_at,
                },
            })
        })
    }

    /// A message was handed to its connection at `handed`, and written to its
    /// socket by `written`.
    pub fn delivered(&self, id: MessageId, handed: Instant, written: Instant) {
        let Some(sent) = &self.0 else { return };
        let Some(mut followed) = sent.followed.get(&id) else {
            return;
        };
        let parent = &followed.parent;
        sent.span(parent, "route", (followed.accepted, handed), []);
        sent.span(parent, "write", (handed, written), []);
        followed.written = Some(written);
        sent.followed.insert(id, followed);
    }

    /// Its user agent has acknowledged a message, with a code where it was by
    /// the WebSocket.
    pub fn acknowledged(&self, id: MessageId, code: Option<u16>) {
        let Some(sent) = &self.0 else { return };
        let Some((_, followed)) = sent.followed.remove(&id) else {
            return;
        };
        // One that was not sent has been withdrawn by its sender.
        if let Some(since) = followed.written {
            let code = code.map(|code| KeyValue::new("bugle.ack.code", i64::from(code)));
            sent.span(&followed.parent, "ack", (since, Instant::now()), code);
        }
    }

    /// A message goes without an acknowledgement.
    pub fn forget(&self, id: MessageId) {
        if let Some(sent) = &self.0 {
            sent.followed.remove(&id);
        }
    }

    /// Sends the last spans, as far as the collector takes them now.
    pub async fn end(self) {
        let Some(sent) = self.0 else { return };
        let ended = move || sent.provider.shutdown_with_timeout(LAST_EXPORT);
        // What does not get there is lost, as all that is not sent in time.
        let _ = tokio::task::spawn_blocking(ended).await;
    }
}

impl Sent {
    fn to(environment: Environment) -> Result<Self, NotSent> {
        let collector = Collector::new(environment.ca.as_deref())?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .build()
            .map_err(|error| NotSent::Exporter(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(environment::resource())
            .build();
        Ok(Self {
            tracer: provider.tracer("bugle"),
            provider,
            followed: Cache::new(FOLLOWED),
        })
    }

    /// A stage that is over.
    fn span(
        &self,
        parent: &Parent,
        name: &'static str,
        (from, to): (Instant, Instant),
        attributes: impl IntoIterator<Item = KeyValue>,
    ) {
        let builder = self.tracer.span_builder(name);
        let mut span = builder
            .with_kind(SpanKind::Internal)
            .with_start_time(parent.time(from))
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &parent.context);
        span.end_with_timestamp(parent.time(to));
    }
}

impl Accept {
    /// The store had the message from `handed` to `stored`.
    pub fn stored(&self, handed: Instant, stored: Instant) {
        self.sent.span(&self.parent, "store", (handed, stored), []);
    }

    /// What is to be called when the message is accepted, and before its
    /// connection is woken: what becomes of it belongs to the trace.
    pub fn follower(&self) -> impl FnOnce(MessageId, Instant) + Send + use<> {
        let (sent, parent) = (Arc::clone(&self.sent), self.parent.clone());
        move |id, accepted| {
            let followed = Followed {
                parent,
                accepted,
                written: None,
            };
            sent.followed.insert(id, followed);
        }
    }

    /// The push is answered; a refusal has a label.
    pub fn end(mut self, status: StatusCode, refusal: Option<&'static str>) {
        let code = i64::from(status.as_u16());
        self.span
            .set_attribute(KeyValue::new("http.response.status_code", code));
        if let Some(label) = refusal {
            self.span.set_attribute(KeyValue::new("error.type", label));
        }
        if status.is_server_error() {
            self.span.set_status(Status::error(""));
        }
        let now = self.parent.time(Instant::now());
        self.span.end_with_timestamp(now);
    }
}

/// The header fields of a request.
struct Fields<'h>(&'h HeaderMap);

impl Extractor for Fields<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.to_str().ok()?;
        (name != "tracestate" || value.len() <= LONGEST_STATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}
