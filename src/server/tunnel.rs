//! The way of a Chromium through a proxy: CONNECT for the hosts that it or an application server
//! would otherwise reach elsewhere. The service itself is at the other end of the tunnel, never a
//! further connection.

use std::io;

use http::uri::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::{Config, PublicUrl};
use crate::io::Socket;

/// What a request for a tunnel begins with (RFC 9110 §9.3.6).
pub(super) const CONNECT: &[u8] = b"CONNECT ";

/// The hosts that are compiled into Chromium, for its check-in and its connection.
pub(crate) const COMPILED_IN: [&str; 2] = ["android.clients.google.com", "mtalk.google.com"];

/// The maximum length of a request in bytes. A Chromium sends about 200.
const LONGEST: usize = 2048;

/// Reads a request for a tunnel and answers it. The tunnel begins after it.
///
/// # Errors
/// If the request is malformed, asks for another host, or the peer is gone. A peer that asks for
/// another host gets a 403 first.
pub(super) async fn open(socket: &mut Socket, config: &Config) -> io::Result<()> {
    let head = head(socket).await?;
    let is_ours = host(&head).is_some_and(|host| is_ours(&host, config));
    let answer: &[u8] = match is_ours {
        true => b"HTTP/1.1 200 Connection established\r\n\r\n",
        false => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    };
    socket.write_all(answer).await?;
    match is_ours {
        true => Ok(()),
        false => Err(io::Error::other(
            "CONNECT for a host that is not of this service",
        )),
    }
}

/// Reads the head of a request byte by byte, because what follows belongs to the tunnel. The client
/// sends nothing before the answer, so this costs a few hundred reads from the socket's buffer.
async fn head(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= LONGEST {
            return Err(io::Error::other("the head of a CONNECT is too long"));
        }
        head.push(socket.read_u8().await?);
    }
    Ok(head)
}

/// The host that a request names.
fn host(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, _) = head.split_once("\r\n")?;
    let (target, version) = line.strip_prefix("CONNECT ")?.split_once(' ')?;
    let authority: Authority = target.parse().ok()?;
    let is_whole = version.starts_with("HTTP/1.") && authority.port().is_some();
    is_whole.then(|| authority.host().to_ascii_lowercase())
}

fn is_ours(host: &str, config: &Config) -> bool {
    let mut audiences = config.server.audiences.iter().map(PublicUrl::host);
    COMPILED_IN.contains(&host) || audiences.any(|audience| audience == host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_leads_only_to_the_hosts_of_this_service() {
        let mut config = Config::default();
        let asks = |target: &str, config: &Config| {
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
            host(head.as_bytes()).is_some_and(|host| is_ours(&host, config))
        };
        assert!(asks("mtalk.google.com:5228", &config));
        assert!(asks("Android.Clients.Google.com:443", &config));
        for target in [
            "jmt17.google.com:443",
            "example.org:443",
            "mtalk.google.com",
            "",
        ] {
            assert!(!asks(target, &config), "{target}");
        }
        config.server.audiences = "https://jmt17.google.com".parse().into_iter().collect();
        assert!(asks("jmt17.google.com:443", &config));
        assert!(!asks("google.com:443", &config));
    }
}
