//! Progress bars, shown only if standard error is a terminal.

use std::io::Read;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that disappears when the command is done.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Progress in records, of `all`.
    pub(super) fn records(all: u64) -> Self {
        Self::styled(
            ProgressBar::new(all),
            "{bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left",
        )
    }

    /// Progress in bytes, of `all` if the total is known.
    pub(super) fn bytes(all: Option<u64>) -> Self {
        match all {
            Some(all) => Self::styled(
                ProgressBar::new(all),
                "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            ),
            None => Self::styled(
                ProgressBar::no_length(),
                "{spinner} {bytes}, {bytes_per_sec}",
            ),
        }
    }

    fn styled(bar: ProgressBar, style: &str) -> Self {
        // An invalid style leaves the default bar.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// Counts the bytes read from `from`.
    pub(super) fn reading(&self, from: impl Read) -> impl Read {
        self.0.wrap_read(from)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
