//! Writes an export.

use std::io::{self, Write};

use bugle_protocol::UnixTime;
use crc32fast::Hasher;

use super::lines::Line;
use super::{CHECKSUM, Record, VERSION};

/// Writes an export.
pub struct ExportWriter<W> {
    to: W,
    checksum: Hasher,
    records: u64,
}

impl<W: Write> ExportWriter<W> {
    /// Starts an export, and writes its first line.
    ///
    /// # Errors
    /// The writer's error.
    pub fn begin(to: W, written_at: UnixTime) -> io::Result<Self> {
        let mut writer = Self {
            to,
            checksum: Hasher::new(),
            records: 0,
        };
        writer.line(&Line::head(VERSION, written_at))?;
        Ok(writer)
    }

    /// Writes one record.
    ///
    /// # Errors
    /// The writer's error.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        self.records += 1;
        self.line(&Line::from(record))
    }

    /// Writes the last line, and returns the writer.
    ///
    /// # Errors
    /// The writer's error.
    pub fn end(mut self) -> io::Result<W> {
        self.line(&Line::end(self.records))?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let text = serde_json::to_string(line)?;
        self.checksum.update(text.as_bytes());
        let checksum = self.checksum.clone().finalize();
        writeln!(self.to, "{checksum:0width$x} {text}", width = CHECKSUM)
    }
}
