//! The metrics, and their text for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bugle_protocol::session::Close;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};
use tokio::runtime::Handle;

use crate::config::{Limit, Limits};
use crate::observe::exposition::Format;
use crate::observe::histogram::Latency;
use crate::observe::memory;
use crate::store::Usage;

/// The reason of a refusal or a close.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// The switch of `[compat]` that a request needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Tolerance {
    what: &'static str,
}

/// A setting by its name, such as `limits.requests`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Setting {
    setting: &'static str,
}

/// A share of a limit: the setting of the limit, and the kind of its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShareOf {
    setting: &'static str,
    share: &'static str,
}

/// A limit by its setting, or `memory`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Bound {
    bound: &'static str,
}

/// The name of a background task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TaskName {
    task: &'static str,
}

/// The code of an acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AckCode {
    code: &'static str,
}

/// The close code of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CloseCode {
    code: u32,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $name:literal,)+) => {
        /// The counters, each by its meaning.
        #[derive(Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $field: $kind,)+
            /// The reasons that `refused` has, which cannot list them.
            reasons: Mutex<BTreeSet<&'static str>>,
        }

        impl Metrics {
            /// The names, without what the text format adds.
            #[cfg(test)]
            pub const NAMES: &[&str] = &[$($name),+];

            fn registry(&self) -> Registry {
                let mut registry = Registry::with_prefix("bugle");
                $(register(&mut registry, $name, concat!($($help),+), self.$field.clone());)+
                registry
            }
        }
    };
}

metrics! {
    /// Open connections of any kind
    connections: Gauge = "connections",
    /// Requests in progress
    requests: Gauge = "requests",
    /// Requests whose body is still arriving
    bodies: Gauge = "bodies",
    /// The limit of the gauge of the same name, by setting
    limits: Family<Setting, Gauge> = "limit",
    /// 1 while 90 % of the limit of a gauge or of the memory is reached, by bound
    overloaded: Family<Bound, Gauge> = "overloaded",
    /// User agents connected by WebSocket
    user_agents: Gauge = "user_agents",
    /// Chromium user agents connected by MCS
    mcs_connections: Gauge = "mcs_connections",
    /// Open monitors (held GETs of RFC 8030)
    monitors: Gauge = "monitors",
    /// Push messages accepted
    accepted: Counter = "messages_accepted",
    /// Seconds from the head of a push request to its acceptance
    accept: Latency = "push_accept_seconds",
    /// Seconds from the hand-over of a message to the store until it is on disk
    store: Latency = "push_store_seconds",
    /// Seconds from the acceptance of a message to its hand-over to the connection of its user
    /// agent, if that was connected and was woken for it
    route: Latency = "push_route_seconds",
    /// Seconds from the hand-over of a message to that connection until the socket has taken it
    write: Latency = "push_write_seconds",
    /// Seconds from the write of a message to its acknowledgement, on the same
    /// WebSocket
    ack: Latency = "push_ack_seconds",
    /// Seconds from the start of a push request to the notification, if the user agent was
    /// connected the whole time
    delivery: Latency = "push_delivery_seconds",
    /// Push messages sent to a user agent, including those sent again
    delivered: Counter = "messages_delivered",
    /// Push messages acknowledged, by code
    acknowledged: Family<AckCode, Counter> = "messages_acknowledged",
    /// Push messages whose TTL ran out in the store
    expired: Counter = "messages_expired",
    /// Subscriptions that ended because they were unused for expiry.unused
    unused: Counter = "subscriptions_unused",
    /// Push messages with TTL 0 that were dropped because no user agent was connected
    dropped: Counter = "messages_dropped",
    /// Refused requests and registrations, by reason
    refused: Family<Reason, Counter> = "refused",
    /// Refused requests and registrations because a share of a limit was full, by the setting of
    /// the limit and the kind of holder
    full_shares: Family<ShareOf, Counter> = "shares_full",
    /// Accepted pushes and subscriptions that a strict service refuses, by switch of compat
    tolerated: Family<Tolerance, Counter> = "tolerated",
    /// VAPID signatures checked
    signatures: Counter = "vapid_signatures_checked",
    /// VAPID tokens that were found in the cache of verified tokens
    known_tokens: Counter = "vapid_tokens_known",
    /// Unknown WebSocket messages, and pings that arrived too soon
    ignored: Counter = "websocket_messages_ignored",
    /// Pauses in reading a WebSocket because its user agent exceeded limits.frame_rate
    paused: Counter = "websockets_paused",
    /// Failures that a user agent reported after its ack (nack)
    nacks: Counter = "nacks",
    /// WebSockets closed, by close code
    closed: Family<CloseCode, Counter> = "websockets_closed",
    /// Connections and streams ended because their peer took too long or sent too much, by the
    /// setting of the limit
    cut: Family<Reason, Counter> = "connections_cut",
    /// Requests and connections that show a misconfigured proxy in front, by kind
    mistakes: Family<Reason, Counter> = "proxy_mistakes",
    /// Failed requests to the store
    store_failures: Counter = "store_failures",
    /// Renewed certificates that could not be used; the old one is still in use
    refused_certificates: Counter = "certificates_refused",
    /// Stored subscriptions
    subscriptions: Gauge = "subscriptions",
    /// Stored push messages
    stored_messages: Gauge = "stored_messages",
    /// Bytes of the stored push messages
    stored_bytes: Gauge = "stored_bytes",
    /// Receipts that wait for their application server
    receipts: Gauge = "receipts",
    /// Receipt subscriptions
    receipt_subscriptions: Gauge = "receipt_subscriptions",
    /// Bytes of the store's files
    disk_bytes: Gauge = "disk_bytes",
    /// Free bytes on the disk of the store
    disk_free_bytes: Gauge = "disk_free_bytes",
    /// 1 while the store accepts no changes because a write has failed
    store_failing: Gauge = "store_failing",
    /// Times that the store was reopened after a failed write
    store_reopened: Counter = "store_reopened",
    /// Damaged records of the store that were set aside
    damaged_records: Gauge = "damaged_records",
    /// Bytes of resident memory of the process; 0 if the system does not report it
    resident_memory_bytes: Gauge = "resident_memory_bytes",
    /// Tasks of the async runtime that have not ended
    tasks: Gauge = "tasks",
    /// Times that the wall clock was set by 5 seconds or more while the service ran
    clock_steps: Counter = "clock_steps",
    /// Background tasks that ended unexpectedly, which is a bug, and were restarted, by name
    task_restarts: Family<TaskName, Counter> = "task_restarts",
}

impl Metrics {
    /// All metrics at zero, with the configured limits.
    pub fn new(limits: &Limits) -> Self {
        let metrics = Self::default();
        for (limit, most) in [
            (Limit::Connections, limits.connections as u64),
            (Limit::UserAgents, limits.user_agents as u64),
            (Limit::Requests, limits.requests as u64),
            (Limit::Bodies, limits.bodies as u64),
            (Limit::Subscriptions, limits.subscriptions),
            (Limit::StoredBytes, limits.stored_bytes),
            (Limit::Receipts, limits.receipts),
            (Limit::ReceiptSubscriptions, limits.receipt_subscriptions),
        ] {
            let bound = metrics.limits.get_or_create_owned(&Setting {
                setting: limit.setting(),
            });
            set(&bound, most);
        }
        metrics
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: &'static str) {
        let before = self.refused.get_or_create(&Reason { reason }).inc();
        if before == 0 {
            self.reasons().insert(reason);
        }
    }

    /// Counts a refusal because a share of the limit `setting` is full; `share` is the kind of its
    /// holder.
    pub fn full_share(&self, setting: &'static str, share: &'static str) {
        let share = ShareOf { setting, share };
        self.full_shares.get_or_create(&share).inc();
    }

    /// The number of refusals, by reason.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        let counted = |reason| self.refused.get_or_create(&Reason { reason }).get();
        let reasons = self.reasons();
        reasons.iter().map(|it| (*it, counted(*it))).collect()
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        // No code can panic while it holds this lock.
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of acknowledgements with any code.
    pub fn acknowledgements(&self) -> u64 {
        let codes = ["100", "101", "102"].map(|code| AckCode { code });
        let counted = |code| self.acknowledged.get(code).map_or(0, |count| count.get());
        codes.iter().map(counted).sum()
    }

    /// Counts a connection or stream that was closed because its peer exceeded `limit`.
    pub fn cut(&self, limit: Limit) {
        let reason = Reason {
            reason: limit.setting(),
        };
        self.cut.get_or_create(&reason).inc();
    }

    /// Sets whether a limit is nearly reached.
    pub fn overload(&self, bound: &'static str, is_near: bool) {
        let gauge = self.overloaded.get_or_create(&Bound { bound });
        gauge.set(i64::from(is_near));
    }

    /// Counts the restart of a background task.
    pub fn restart(&self, task: &'static str) {
        self.task_restarts.get_or_create(&TaskName { task }).inc();
    }

    /// Counts a sign of a misconfigured proxy.
    pub fn mistake(&self, kind: &'static str) {
        self.mistakes.get_or_create(&Reason { reason: kind }).inc();
    }

    /// Counts an accepted message that needed a switch of `[compat]`.
    pub fn tolerate(&self, switch: &'static str) {
        let what = Tolerance { what: switch };
        self.tolerated.get_or_create(&what).inc();
    }

    /// Counts a closed WebSocket.
    pub fn close(&self, close: &Close) {
        match close {
            Close::HelloTimeout => self.cut(Limit::HelloTimeout),
            Close::PongTimeout => self.cut(Limit::PongTimeout),
            Close::TooBig => self.cut(Limit::FrameBytes),
            _ => {}
        }
        self.closed
            .get_or_create(&CloseCode {
                code: close.code().into(),
            })
            .inc();
    }

    /// Counts an acknowledgement; an unknown code is 100 (WS-N-8).
    pub fn acknowledge(&self, code: u16) {
        let code = match code {
            101 => "101",
            102 => "102",
            _ => "100",
        };
        self.acknowledged.get_or_create(&AckCode { code }).inc();
    }

    /// All metrics as text in this format.
    pub fn text(&self, usage: Usage, format: Format) -> String {
        set(&self.subscriptions, usage.subscriptions);
        set(&self.stored_messages, usage.messages);
        set(&self.stored_bytes, usage.live_bytes);
        set(&self.receipts, usage.receipts);
        set(&self.receipt_subscriptions, usage.receipt_subscriptions);
        set(&self.disk_bytes, usage.disk_bytes);
        set(&self.damaged_records, usage.damaged);
        set(&self.resident_memory_bytes, memory::resident().unwrap_or(0));
        set(&self.tasks, tasks().unwrap_or(0));
        set(&self.disk_free_bytes, usage.free_bytes);
        set(&self.store_failing, usage.failing.into());
        // The store counts these itself, and only upwards.
        self.store_reopened
            .inner()
            .store(usage.reopened, Ordering::Relaxed);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = format.write(&mut text, &self.registry());
        text
    }
}

/// Describes a metric family even while it has no samples, so that each name exists from the start.
#[derive(Debug)]
struct Described<M>(M);

impl<M: EncodeMetric> EncodeMetric for Described<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric_type()
    }
}

/// Registers a metric, with a unit if its name ends with one.
fn register(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    let (help, metric) = (help.trim(), Described(metric));
    for unit in [Unit::Seconds, Unit::Bytes] {
        let base = name.strip_suffix(unit.as_str());
        if let Some(base) = base.and_then(|base| base.strip_suffix('_')) {
            return registry.register_with_unit(base, help, unit, metric);
        }
    }
    registry.register(name, help, metric);
}

fn set(gauge: &Gauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// The tasks of the current runtime, if there is one.
fn tasks() -> Option<u64> {
    let runtime = Handle::try_current().ok()?;
    u64::try_from(runtime.metrics().num_alive_tasks()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_have_not_ended_are_counted() {
        let unfinished_tasks = || {
            let text = Metrics::default().text(Usage::default(), Format::OpenMetrics);
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("bugle_tasks "));
            line.map(str::to_owned)
        };
        assert_eq!(unfinished_tasks().as_deref(), Some("0"));
        let waiting = tokio::spawn(std::future::pending::<()>());
        assert_eq!(unfinished_tasks().as_deref(), Some("1"));
        waiting.abort();
    }
    #[test]
    fn the_metrics_named_in_operations_md_exist() {
        let page = include_str!("../../docs/operations.md");
        for name in page
            .split('`')
            .filter_map(|code| code.strip_prefix("bugle_"))
        {
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(Metrics::NAMES.contains(&name), "bugle_{name}");
        }
    }
}
