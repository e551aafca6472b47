//! Hand-written frames, for clients that violate protocols.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The client's connection preface (RFC 9113 §3.4) with its SETTINGS.
pub fn http2_begin(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    octets.extend(http2(4, 0, 0, &payload));
    octets
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub fn http2(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut octets = length[1..].to_vec();
    octets.extend([kind, flags]);
    octets.extend(stream.to_be_bytes());
    octets.extend(payload);
    octets
}

/// An HTTP/2 frame received from the service.
pub struct Http2Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads the next frame.
pub async fn next_http2(from: &mut TcpStream) -> Http2Frame {
    let mut header = [0; 9];
    from.read_exact(&mut header).await.unwrap();
    let number = |octets: [u8; 4]| u32::from_be_bytes(octets);
    let length = number([0, header[0], header[1], header[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    from.read_exact(&mut payload).await.unwrap();
    Http2Frame {
        kind: header[3],
        flags: header[4],
        stream: number([header[5], header[6], header[7], header[8]]),
        payload,
    }
}

/// The header block of a request (RFC 7541): the method's index in the static table (2 GET, 3
/// POST), and literals without indexing.
pub fn http2_head(method: u8, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = vec![0x80 | method, 0x86, 4];
    let text = |text: &str, head: &mut Vec<u8>| {
        assert!(text.len() < 127, "the length fits one byte");
        head.push(u8::try_from(text.len()).unwrap());
        head.extend(text.as_bytes());
    };
    text(path, &mut head);
    for (name, value) in fields {
        head.push(0);
        text(name, &mut head);
        text(value, &mut head);
    }
    head
}

/// A frame of a WebSocket client, with a mask of zeros (RFC 6455 §5.2).
pub fn websocket(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}
