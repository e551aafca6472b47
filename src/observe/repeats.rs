//! Lines that repeat: of each place in the program so many are written in a
//! minute. A disk that fails, or a peer that provokes, fills no disk with them.

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

/// How long a count lasts.
const PERIOD: Duration = Duration::from_secs(60);

/// Of a message, as much as says which one it is.
const LONGEST: usize = 100;

/// How often each place has written since the minute began.
#[derive(Debug)]
pub(super) struct Repeats {
    /// 0: there is no limit.
    limit: u32,
    /// As many as there are places in the program.
    places: DashMap<Identifier, Place>,
}

#[derive(Debug)]
struct Place {
    lines: u64,
    metadata: &'static Metadata<'static>,
    /// Of the first line that was held back.
    message: String,
}

impl Repeats {
    /// So many lines a minute; 0 for no limit.
    pub(super) fn new(limit: u32) -> Self {
        let places = DashMap::new();
        Self { limit, places }
    }

    fn lets_pass(&self, event: &Event<'_>) -> bool {
        let metadata = event.metadata();
        if self.limit == 0 || ABOUT_THE_LOG.contains(&metadata.target()) {
            return true;
        }
        let first = || Place {
            lines: 0,
            metadata,
            message: String::new(),
        };
        let mut place = self.places.entry(metadata.callsite()).or_insert_with(first);
        place.lines += 1;
        if place.lines == u64::from(self.limit) + 1 {
            event.record(&mut Message(&mut place.message));
        }
        place.lines <= u64::from(self.limit)
    }

    /// Says what was held back, and begins to count anew.
    pub(super) fn tell(&self) {
        let mut held = Vec::new();
        // No guard is held while a line is written: that looks in here.
        self.places.retain(|_, place| {
            let lines = place.lines.saturating_sub(self.limit.into());
            if lines > 0 {
                held.push((lines, place.metadata, std::mem::take(&mut place.message)));
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

    /// Does so every minute, until it is cancelled.
    pub(super) async fn run(&self) {
        let mut minutes = interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            minutes.tick().await;
            self.tell();
        }
    }
}

/// Keeps the message of a line, cut short.
struct Message<'m>(&'m mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}").chars().take(LONGEST).collect();
        }
    }
}

/// As a part of a subscriber's filter.
#[derive(Clone)]
pub(super) struct Limit(pub(super) Arc<Repeats>);

impl<S: Subscriber> Filter<S> for Limit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn callsite_enabled(&self, _: &'static Metadata<'static>) -> Interest {
        // Not always: only a filter that is asked each time forgets that it let
        // the line before not pass.
        Interest::sometimes()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.lets_pass(event)
    }
}
