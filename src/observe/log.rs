//! The log on standard error: its filter, which can be changed at run time, and its format.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Metadata;
use tracing::subscriber::Subscriber;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry, fmt};

use super::repeats::{Limit, Repeats};
use crate::config::{LogConfig, LogFilter, LogFormat, NotAFilter};

/// Targets that no filter or repeat limit suppresses: the audit trail, and notes about suppressed
/// lines.
pub(super) const ABOUT_THE_LOG: [&str; 2] = ["bugle::audit", "bugle::log"];

/// The log of this process; clones share it. A default `Log` has no subscriber; setting its filter
/// has no effect.
#[derive(Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// `None` means the configured filter.
    filter: Mutex<Option<LogFilter>>,
    handle: Option<Handle<Targets, Registry>>,
    repeats: Option<Arc<Repeats>>,
}

/// Why the log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configured filter is invalid.
    #[error("log.filter: {0}")]
    Filter(#[from] NotAFilter),
    /// The process already has a log.
    #[error(transparent)]
    CheckedContent(#[from] TryInitError),
}

impl Log {
    /// Starts the log of this process, on standard error.
    ///
    /// # Errors
    /// If the filter is invalid, or the process already has a log.
    pub fn start(config: &LogConfig) -> Result<Self, StartError> {
        let (subscriber, log) = Self::of(config, io::stderr, io::stderr().is_terminal())?;
        subscriber.try_init()?;
        Ok(log)
    }

    fn of(
        config: &LogConfig,
        writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
        with_ansi: bool,
    ) -> Result<(impl Subscriber + Send + Sync, Self), NotAFilter> {
        // Log lines of libraries may contain capabilities: a URL, a frame, a header.
        let is_ours = |metadata: &Metadata<'_>| metadata.target().starts_with("bugle");
        let always = |metadata: &Metadata<'_>| ABOUT_THE_LOG.contains(&metadata.target());
        let repeats = Arc::new(Repeats::new(config.repeat_limit));
        let targets = config.filter.parse::<LogFilter>()?.targets();
        let (targets, handle) = reload::Layer::new(targets);
        let filter = targets
            .and(filter_fn(is_ours))
            .or(filter_fn(always))
            .and(Limit(Arc::clone(&repeats)));
        let layer = fmt::layer().with_ansi(with_ansi).with_writer(writer);
        let layer = match config.format {
            LogFormat::Text => layer.with_filter(filter).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        };
        let log = Self(Arc::new(Inner {
            filter: Mutex::default(),
            handle: Some(handle),
            repeats: Some(repeats),
        }));
        Ok((tracing_subscriber::registry().with(layer), log))
    }

    /// The filter set since the start; `None` if it is still the configured one.
    pub fn filter(&self) -> Option<String> {
        let filter = self.current();
        filter.as_ref().map(|filter| filter.as_str().to_owned())
    }

    /// Sets the filter until the process ends.
    pub fn set_filter(&self, filter: LogFilter) {
        if let Some(handle) = &self.0.handle
            && let Err(error) = handle.reload(filter.targets())
        {
            tracing::error!(%error, "the log filter cannot be changed");
            return;
        }
        *self.current() = Some(filter);
    }

    fn current(&self) -> MutexGuard<'_, Option<LogFilter>> {
        // No code can panic while it holds this lock.
        self.0.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports suppressed lines every minute, until cancelled.
    pub async fn count(&self) {
        match &self.0.repeats {
            Some(repeats) => repeats.run().await,
            None => std::future::pending().await,
        }
    }

    /// Reports the lines suppressed since the last report, at shutdown.
    pub fn end(&self) {
        if let Some(repeats) = &self.0.repeats {
            repeats.report();
        }
    }
}

#[cfg(test)]
mod tests;
