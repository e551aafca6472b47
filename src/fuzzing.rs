//! What the fuzz targets call of what is nobody else's business. Nothing here
//! may panic, whatever comes; beyond that, what can be read is written and read
//! back the same.

use bugle_protocol::UnixTime;

use crate::store::export::{ExportError, ExportReader, ExportWriter, Record};
use crate::store::fuzz_record;

/// A key and a record of the store's tree: as they are, and with the checksum
/// that the record should have.
pub fn stored_record(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else {
        return;
    };
    let (key, record) = rest.split_at(rest.len().min(usize::from(*length)));
    fuzz_record(key, record);
    if let Some((version, value)) = record.split_first() {
        let checksum = crc32fast::hash(value).to_be_bytes();
        fuzz_record(key, &[&[*version], &checksum[..], value].concat());
    }
}

/// An export: as it is, and with the checksums that its lines should have.
pub fn export(data: &[u8]) {
    // Whether it can be read is not the question.
    let _ = read(data);
    let mut checksum = crc32fast::Hasher::new();
    let mut summed = Vec::new();
    for line in data.split(|octet| *octet == b'\n') {
        checksum.update(line);
        summed.extend(format!("{:08x} ", checksum.clone().finalize()).into_bytes());
        summed.extend_from_slice(line);
        summed.push(b'\n');
    }
    if let Ok(records) = read(&summed) {
        let written = write(&records);
        assert!(written.is_ok_and(|export| read(&export).is_ok_and(|again| again == records)));
    }
}

fn read(export: &[u8]) -> Result<Vec<Record>, ExportError> {
    let mut reader = ExportReader::begin(export)?;
    let mut records = Vec::new();
    while let Some(record) = reader.next()? {
        records.push(record);
    }
    Ok(records)
}

fn write(records: &[Record]) -> std::io::Result<Vec<u8>> {
    let mut writer = ExportWriter::begin(Vec::new(), UnixTime::from_millis(0))?;
    for record in records {
        writer.write(record)?;
    }
    writer.end()
}
