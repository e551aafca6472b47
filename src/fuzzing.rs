//! Entry points for the fuzz targets into private code. No input may make them panic. They also
//! check that data that can be read is the same after it is written and read again.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bugle_protocol::UnixTime;
use futures_util::FutureExt;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Request};

use crate::config::{Config, ForwardedHeader};
use crate::gate::admission::Admission;
use crate::server::proxy_header;
use crate::store::export::{ExportError, ExportReader, ExportWriter, Record};
use crate::store::fuzz_record;

/// Decodes a key and a record of the store's tree, first unchanged, then with a correct checksum.
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

/// Reads an export, first unchanged, then with correct checksums on its lines.
pub fn export(data: &[u8]) {
    // It may be unreadable, but must not panic.
    let _ = read(data);
    let mut checksum = crc32fast::Hasher::new();
    let mut summed = Vec::new();
    for line in data.split(|byte| *byte == b'\n') {
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

/// Checks a request (a line with its URL, then its `Authorization` field) where a path, a token and
/// a password are required. A request that is admitted must have all three.
pub fn admission(data: &[u8]) {
    const SECRETS: [(&str, &str); 3] = [
        ("BUGLE_ADMISSION__PATH", "path-of-friends-1"),
        ("BUGLE_ADMISSION__TOKEN", "token-of-friends"),
        ("BUGLE_ADMISSION__BASIC", "user:password"),
    ];
    static ADMISSION: LazyLock<Option<Admission>> = LazyLock::new(|| {
        let settings = SECRETS.map(|(name, value)| (name.into(), value.into()));
        let config = Config::load(None, settings, &[]).ok()?;
        Some(Admission::new(&config.admission))
    });
    let Some(admission) = &*ADMISSION else {
        unreachable!("the settings are valid");
    };
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (url, field) = text.split_once('\n').unwrap_or((text, ""));
    let request = Request::get(url).header(AUTHORIZATION, field).body(());
    let Ok((parts, ())) = request.map(Request::into_parts) else {
        return;
    };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if admission.check(&parts, address, "/").is_ok() {
        assert!(
            parts.uri.path().starts_with("/path-of-friends-1"),
            "admitted without the path"
        );
        let query = parts.uri.query().unwrap_or_default();
        assert!(query.contains('='), "admitted without a token");
        let shown = field.trim().rsplit(' ').next().unwrap_or_default();
        let shown = STANDARD.decode(shown).unwrap_or_default();
        assert_eq!(shown, b"user:password", "admitted without the password");
    }
}

/// Parses a header of the PROXY protocol, then the same bytes as a forwarding header field.
pub fn proxies(data: &[u8]) {
    let mut rest = data;
    // A slice is always ready.
    let read = proxy_header::read(&mut rest).now_or_never();
    match read {
        Some(Ok(_)) => assert!(data.len() - rest.len() >= proxy_header::SIGNATURE),
        Some(Err(error)) => assert!(!error.to_string().is_empty()),
        None => unreachable!("a read from a slice is pending"),
    }
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    for field in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
        let headers = HeaderMap::from_iter([(field.name(), value.clone())]);
        let commas = data.iter().filter(|byte| **byte == b',').count();
        assert!(field.hops(&headers).count() <= commas + 1);
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
