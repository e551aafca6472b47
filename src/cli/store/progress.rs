//! How far a command is, for people: nothing where standard error is no
//! terminal.

use std::io::Read;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that goes when the command is done.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// So many records.
    pub(super) fn records(all: u64) -> Self {
        Self::styled(
            ProgressBar::new(all),
            "{bar:30} {human_pos} of {human_len} records, {per_sec}, {eta} left",
        )
    }

    /// So many octets, or nobody knows how many.
    pub(super) fn octets(all: Option<u64>) -> Self {
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
        // A style that cannot be read leaves the bar as it is.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn add(&self, done: u64) {
        self.0.inc(done);
    }

    /// Counts what is read.
    pub(super) fn reading(&self, from: impl Read) -> impl Read {
        self.0.wrap_read(from)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
