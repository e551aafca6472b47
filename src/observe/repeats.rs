//! Limits repeated log lines: each call site may write a fixed number per minute, so neither a
//! failing disk nor a hostile peer fills the disk with logs.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::{MissedTickBehavior, interval_at};
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter};

use super::log::ABOUT_THE_LOG;

/// The period of a count.
const PERIOD: Duration = Duration::from_secs(60);

/// Maximum length of the quoted message, in characters.
const MAX_LENGTH: usize = 100;

/// The number of lines per call site in this period.
#[derive(Debug)]
pub(super) struct Repeats {
    /// 0 means no limit.
    limit: u32,
    /// At most one entry per call site in the program.
    sites: DashMap<Identifier, CallSite>,
}

#[derive(Debug)]
struct CallSite {
    lines: u64,
    metadata: &'static Metadata<'static>,
    /// The message of the first suppressed line.
    message: String,
}

impl Repeats {
    /// Allows `limit` lines per minute and call site; 0 means no limit.
    pub(super) fn new(limit: u32) -> Self {
        let sites = DashMap::new();
        Self { limit, sites }
    }

    fn lets_pass(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if self.limit == 0 || ABOUT_THE_LOG.contains(&metadata.target()) {
            return true;
        }
        let first = || CallSite {
            lines: 0,
            metadata,
            message: String::new(),
        };
        let mut site = self.sites.entry(metadata.callsite()).or_insert_with(first);
        site.lines += 1;
        if site.lines == u64::from(self.limit) + 1 {
            event.record(&mut Message(&mut site.message));
        }
        site.lines <= u64::from(self.limit)
    }

    /// Reports the suppressed lines and starts a new period.
    pub(super) fn report(&self) {
        let mut held = Vec::new();
        // Writing a line enters this map again, so no guard may be held then.
        self.sites.retain(|_, site| {
            let lines = site.lines.saturating_sub(self.limit.into());
            if lines > 0 {
                held.push((lines, site.metadata, std::mem::take(&mut site.message)));
            }
            false
        });
        for (lines, metadata, like) in held {
            tracing::warn!(
                target: "bugle::log",
                lines,
                like,
                module = metadata.target(),
                level = %metadata.level(),
                "lines were held back: more than log.repeat_limit in a minute"
            );
        }
    }

    /// Reports every minute, until cancelled.
    pub(super) async fn run(&self) {
        let mut minutes = interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            self.report();
        }
    }
}

/// Records the message of a line, truncated.
struct Message<'m>(&'m mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}").chars().take(MAX_LENGTH).collect();
        }
    }
}

/// The limit as a filter of the subscriber.
#[derive(Clone)]
pub(super) struct Limit(pub(super) Arc<Repeats>);

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Not `always`: only a filter that is asked for each line clears the per-thread state that a
        // rejected line leaves behind.
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.lets_pass(event)
    }
}
