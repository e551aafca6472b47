//! Hand-written HTTP/2 frames, since no library sends requests that never end.

/// Frame types and flags (RFC 9113 §6).
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The header section of a request.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) method: &'static str,
    pub(super) is_tls: bool,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) fields: Vec<(&'static str, String)>,
}

/// The client's connection preface (RFC 9113 §3.4).
pub(super) fn begin() -> Vec<u8> {
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    octets.extend(frame(SETTINGS, 0, 0, &[]));
    octets
}

impl Head {
    /// The HEADERS frame of this request on a stream. Without `whole`, a body must follow.
    pub(super) fn on(&self, stream: u32, whole: bool) -> Vec<u8> {
        let mut block = Vec::new();
        let scheme = if self.is_tls { "https" } else { "http" };
        for (name, value) in [
            (":method", self.method),
            (":scheme", scheme),
            (":authority", &self.authority),
            (":path", &self.path),
        ] {
            field(name, value, &mut block);
        }
        for (name, value) in &self.fields {
            field(name, value, &mut block);
        }
        let flags = if whole {
            END_HEADERS | END_STREAM
        } else {
            END_HEADERS
        };
        frame(HEADERS, flags, stream, &block)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Far below 2^24, the limit of the length field.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut octets = length.to_be_bytes()[1..].to_vec();
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// A literal field without indexing (RFC 7541 §6.2.2).
fn field(name: &str, value: &str, block: &mut Vec<u8>) {
    block.push(0);
    for text in [name, value] {
        length(text.len(), block);
        block.extend(text.as_bytes());
    }
}

/// An integer with a prefix of 7 bits (RFC 7541 §5.1).
fn length(mut rest: usize, block: &mut Vec<u8>) {
    const PREFIX: usize = 127;
    let low = |octets: usize| u8::try_from(octets & PREFIX).unwrap_or_default();
    if rest < PREFIX {
        return block.push(low(rest));
    }
    block.push(low(PREFIX));
    rest -= PREFIX;
    while rest > PREFIX {
        block.push(low(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_match_rfc_7541() {
        for (number, octets) in [
            (10, &[10][..]),
            (126, &[126]),
            (127, &[127, 0]),
            // Appendix C.1.2 with a prefix of 7 bits.
            (1337, &[127, 0xba, 9]),
        ] {
            let mut block = Vec::new();
            length(number, &mut block);
            assert_eq!(block, octets, "{number}");
        }
    }
}
