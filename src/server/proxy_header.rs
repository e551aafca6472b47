//! The PROXY protocol (HAProxy's proxy-protocol.txt): a header before the first byte of a
//! connection, in which a TCP proxy names the client.

use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Minimum length of a header, in bytes; it is enough to tell the versions apart.
pub const SIGNATURE: usize = 12;

/// The signature of version 2.
const VERSION_2: &[u8; SIGNATURE] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature of version 1.
const VERSION_1: &[u8] = b"PROXY ";

/// Maximum length of a version 1 header, in bytes.
const LONGEST_VERSION_1: usize = 107;

/// Length of the fixed part of version 2, in bytes; its last two are the length of the rest.
const FIXED_VERSION_2: usize = 16;

/// Maximum length of the variable part of version 2, in bytes. Addresses and TLS details take a few
/// hundred.
const LONGEST_REST: usize = 4096;

/// Why no client address can be read.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// The connection begins with something else.
    #[error("no PROXY header")]
    Missing,
    /// The header is malformed or too long.
    #[error("the PROXY header cannot be read")]
    Malformed,
    /// The connection was closed or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether the first bytes are those of a PROXY header.
pub fn begins(octets: &[u8]) -> bool {
    octets.starts_with(VERSION_2) || octets.starts_with(VERSION_1)
}

/// Reads the header from a connection, and not one byte more. Returns the client address, or `None`
/// if the proxy speaks for itself or does not know it.
///
/// # Errors
/// [`HeaderError`].
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<IpAddr>, HeaderError> {
    let mut header = vec![0; SIGNATURE];
    from.read_exact(&mut header).await?;
    if header.starts_with(VERSION_2) {
        header.resize(FIXED_VERSION_2, 0);
        from.read_exact(&mut header[SIGNATURE..]).await?;
        let [.., high, low] = header[..] else {
            return Err(HeaderError::Malformed);
        };
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if rest > LONGEST_REST {
            return Err(HeaderError::Malformed);
        }
        header.resize(FIXED_VERSION_2 + rest, 0);
        from.read_exact(&mut header[FIXED_VERSION_2..]).await?;
    } else if header.starts_with(VERSION_1) {
        // Byte by byte: only the line break ends the header.
        while !header.ends_with(b"\n") && header.len() < LONGEST_VERSION_1 {
            header.push(from.read_u8().await?);
        }
    } else {
        return Err(HeaderError::Missing);
    }
    source(&header)
}

fn source(header: &[u8]) -> Result<Option<IpAddr>, HeaderError> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    match ProxyHeader::parse(header, config) {
        Ok((parsed, length)) if length == header.len() => {
            let addresses = parsed.proxied_address();
            Ok(addresses.map(|addresses| addresses.source.ip().to_canonical()))
        }
        _ => Err(HeaderError::Malformed),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;
    use tokio::runtime::Builder;

    use super::*;

    /// The result of reading, and the number of bytes left.
    fn read_of(octets: &[u8]) -> (Result<Option<IpAddr>, HeaderError>, usize) {
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut rest = octets;
        let read = runtime.block_on(read(&mut rest));
        (read, rest.len())
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [VERSION_2, &[command, family][..], &length, rest].concat()
    }

    #[test]
    fn both_versions_are_read_to_their_end() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 3, 4];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(
            &"2001:db8::7"
                .parse::<std::net::Ipv6Addr>()
                .unwrap()
                .octets(),
        );
        let with_more = [&v4[..], &[0xe0, 0, 2, 1, 2]].concat();
        for (header, client) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n".to_vec(),
                Some("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n".to_vec(),
                Some("2001:db8::7"),
            ),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n".to_vec(),
                Some("192.0.2.7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN what ever\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some("192.0.2.7")),
            (version_2(0x21, 0x11, &with_more), Some("192.0.2.7")),
            (version_2(0x21, 0x21, &v6), Some("2001:db8::7")),
            (version_2(0x20, 0x00, &[]), None),
            (version_2(0x20, 0x11, &v4), None),
            (version_2(0x21, 0x31, &[0; 216]), None),
        ] {
            assert!(begins(&header));
            let (read, left) = read_of(&[&header[..], b"GET / HTTP/1.1\r\n"].concat());
            assert_eq!(read.unwrap(), client.map(|client| client.parse().unwrap()));
            assert_eq!(left, 16);
        }
    }

    #[test]
    fn malformed_proxy_headers_are_refused() {
        let endless = [b"PROXY UNKNOWN ", &[b'x'; 500][..]].concat();
        let (read, left) = read_of(&endless);
        assert!(matches!(read, Err(HeaderError::Malformed)));
        assert_eq!(left, endless.len() - LONGEST_VERSION_1);
        let huge = [VERSION_2, &[0x21, 0x11, 0xff, 0xff][..], &[0; 70_000]].concat();
        let (read, left) = read_of(&huge);
        assert!(matches!(read, Err(HeaderError::Malformed)));
        assert_eq!(left, huge.len() - FIXED_VERSION_2);
        for octets in [
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n"[..],
            b"PROXY TCP4 192.0.2.777 10.0.0.1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n",
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x31, 0x11, &[0; 12]),
        ] {
            assert!(
                matches!(read_of(octets).0, Err(HeaderError::Malformed)),
                "{octets:?}"
            );
        }
        let (read, _) = read_of(b"GET / HTTP/1.1\r\n");
        assert!(matches!(read, Err(HeaderError::Missing)));
        assert!(!begins(b"GET / HTTP/1.1\r\n") && !begins(b"PRI * HTTP/2.0"));
        assert!(matches!(
            read_of(b"PROXY TCP4 192").0,
            Err(HeaderError::Io(_))
        ));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_proxy_header_parser_panic(
            version in 0..3,
            octets in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let beginning: &[u8] = match version {
                0 => b"",
                1 => VERSION_1,
                _ => VERSION_2,
            };
            let _ = read_of(&[beginning, &octets].concat());
        }
    }
}
