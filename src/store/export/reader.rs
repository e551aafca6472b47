//! Reads an export.

use std::io::{BufRead, Read};

use crc32fast::Hasher;

use super::lines::Line;
use super::{CHECKSUM, ExportError, MAX_LINE, OLDEST, Record, VERSION};

/// Reads an export, one record at a time.
pub struct ExportReader<R> {
    from: R,
    checksum: Hasher,
    lines: u64,
    records: u64,
    line: Vec<u8>,
}

impl<R: BufRead> ExportReader<R> {
    /// Starts to read an export, and checks its first line.
    ///
    /// # Errors
    /// Fails when this is not an export, or one of a newer version.
    pub fn begin(from: R) -> Result<Self, ExportError> {
        let mut reader = Self {
            from,
            checksum: Hasher::new(),
            lines: 0,
            records: 0,
            line: Vec::new(),
        };
        match reader.line() {
            Ok(line) => match line.version() {
                Some(OLDEST..=VERSION) => Ok(reader),
                Some(other) => Err(ExportError::Newer(other)),
                None => Err(ExportError::NotAnExport),
            },
            Err(ExportError::Io(error)) => Err(error.into()),
            Err(_) => Err(ExportError::NotAnExport),
        }
    }

    /// Returns the next record; `None` after a valid last line.
    ///
    /// # Errors
    /// Fails when a line is damaged, missing, or not a valid record.
    pub fn next(&mut self) -> Result<Option<Record>, ExportError> {
        let line = self.line()?;
        match line.records() {
            None => {
                self.records += 1;
                let record = Record::try_from(line);
                record.map(Some).map_err(|why| self.wrong(&why))
            }
            Some(records) if records != self.records => Err(self.wrong(&format!(
                "it says that there are {records} records, and there are {}",
                self.records
            ))),
            Some(_) if !self.from.fill_buf()?.is_empty() => {
                Err(self.wrong(&"this is to be the last line, and there are more"))
            }
            Some(_) => Ok(None),
        }
    }

    /// Returns the number of the last line read, from 1.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    fn line(&mut self) -> Result<Line, ExportError> {
        self.line.clear();
        let read = self
            .from
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Err(ExportError::Cut(self.lines));
        }
        self.lines += 1;
        let damaged = ExportError::Damaged(self.lines);
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(damaged);
        };
        let Some((checksum, [b' ', text @ ..])) = line.split_first_chunk::<CHECKSUM>() else {
            return Err(damaged);
        };
        self.checksum.update(text);
        let expected = format!("{:0CHECKSUM$x}", self.checksum.clone().finalize());
        if checksum != expected.as_bytes() {
            return Err(damaged);
        }
        serde_json::from_slice(text).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, why: &dyn ToString) -> ExportError {
        ExportError::Line(self.lines, why.to_string())
    }
}
