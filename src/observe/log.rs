//! The log: which lines are written to standard error, and how. The filter can
//! be changed while the service runs.

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

/// What is written whatever the filter says, and never held back: who changed
/// what, and what became of lines.
pub(super) const ABOUT_THE_LOG: [&str; 2] = ["bugle::audit", "bugle::log"];

/// The log of this process; clones are one. By [`Default`] it is nobody's: what
/// is set is shown, and changes nothing.
#[derive(Clone, Default)]
pub struct Log(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// `None`: as it is configured.
    filter: Mutex<Option<LogFilter>>,
    handle: Option<Handle<Targets, Registry>>,
    repeats: Option<Arc<Repeats>>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is configured is no filter.
    #[error("log.filter: {0}")]
    Filter(#[from] NotAFilter),
    /// There is one already.
    #[error(transparent)]
    Taken(#[from] TryInitError),
}

impl Log {
    /// Begins the log of this process, on standard error.
    ///
    /// # Errors
    /// When the filter is none, or the process has a log already.
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
        // What libraries log may hold a capability: a URL, a frame, a header.
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

    /// The filter that was set since the start; `None` when none was.
    pub fn filter(&self) -> Option<String> {
        let filter = self.current();
        filter.as_ref().map(|filter| filter.as_str().to_owned())
    }

    /// Writes by this filter from now on, until the process ends.
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
        // Nothing that holds this lock can panic half-way.
        self.0.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says every minute which lines were held back, until it is cancelled.
    pub async fn count(&self) {
        match &self.0.repeats {
            Some(repeats) => repeats.run().await,
            None => std::future::pending().await,
        }
    }

    /// Says it at the end.
    pub fn end(&self) {
        if let Some(repeats) = &self.0.repeats {
            repeats.tell();
        }
    }
}

#[cfg(test)]
mod tests;
