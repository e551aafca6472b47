//! OpenTelemetry traces: one per push, from its POST to its acknowledgement, with a span for each
//! stage. Off unless the environment names a collector; then a push costs one check of an `Option`.
//!
//! The trace of a message is kept in memory, and holds neither capabilities nor keys.
//! docs/decisions/0007-traces.md describes the effect of a restart.

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

/// Maximum number of messages traced at one time. Beyond it, the cache evicts messages, and the
/// rest of their traces is not recorded.
const FOLLOWED: usize = 16_384;

/// Maximum length of `tracestate` that is passed on; up to 512 must be (W3C Trace Context
/// §3.3.1.5).
const LONGEST_STATE: usize = 512;

/// How long the collector may take for the last spans at shutdown.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Exports the traces of a service; clones share it. By [`Default`] it is off.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Sent>>);

struct Sent {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    followed: Cache<MessageId, Followed>,
}

/// A traced message.
#[derive(Clone)]
struct Followed {
    parent: Parent,
    accepted: Instant,
    written: Option<Instant>,
}

/// The parent span of a trace, and the times from which span times are computed with the monotonic
/// clock.
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

/// The trace of a push that is being accepted.
pub struct Accept {
    sent: Arc<Sent>,
    span: SdkSpan,
    parent: Parent,
}

impl Traces {
    /// Reads the variables `OTEL_*`. Traces are off if they name no collector, or if they ask for
    /// something unsupported, which is logged. Call it within the runtime that exports the spans.
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

    /// Starts the trace of a push, continuing the sender's if it sent one (W3C Trace Context).
    /// Returns `None` if it is not sampled.
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

    /// Records that a message was handed to its connection at `handed`, and written to its socket
    /// by `written`.
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

    /// Records the acknowledgement of a message, with its code if it came over a WebSocket.
    pub fn acknowledged(&self, id: MessageId, code: Option<u16>) {
        let Some(sent) = &self.0 else { return };
        let Some((_, followed)) = sent.followed.remove(&id) else {
            return;
        };
        // A message that was never sent has been withdrawn by its sender.
        if let Some(since) = followed.written {
            let code = code.map(|code| KeyValue::new("bugle.ack.code", i64::from(code)));
            sent.span(&followed.parent, "ack", (since, Instant::now()), code);
        }
    }

    /// Ends the trace of a message that is removed without an acknowledgement.
    pub fn forget(&self, id: MessageId) {
        if let Some(sent) = &self.0 {
            sent.followed.remove(&id);
        }
    }

    /// Exports the last spans, if the collector takes them in time.
    pub async fn end(self) {
        let Some(sent) = self.0 else { return };
        let ended = move || sent.provider.shutdown_with_timeout(LAST_EXPORT);
        // Spans that fail to arrive are lost, like all that are not exported in time.
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

    /// Records a completed stage.
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
    /// Records that the store had the message from `handed` to `stored`.
    pub fn stored(&self, handed: Instant, stored: Instant) {
        self.sent.span(&self.parent, "store", (handed, stored), []);
    }

    /// Returns a callback for the moment when the message is accepted, before its connection is
    /// woken: it adds the later stages to the trace.
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

    /// Ends the span of the push with the response's status, and the label of a refusal.
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

/// The header fields of a request, for the propagator.
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
