//! DNS and TCP checks.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bugle_client::ClientError;
use futures_util::future::join_all;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::report::{Finding, Outcome};
use super::site::Site;

/// Maximum number of addresses tried.
const MAX_ADDRESSES: usize = 16;

/// Why a step failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It exceeded `--timeout`.
    Late(Duration),
    /// The client failed.
    Client(ClientError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "no answer within {limit:?}"),
            Self::Client(error) => error.fmt(f),
        }
    }
}

/// Runs a step with a timeout.
pub(super) async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, Trouble> {
    let ended = timeout(limit, step).await;
    ended
        .map_err(|_| Trouble::Late(limit))?
        .map_err(Trouble::Client)
}

/// Milliseconds, rounded to one decimal.
pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

/// Resolves the addresses of the host.
pub(super) async fn resolve(site: &Site, limit: Duration) -> Outcome<Vec<SocketAddr>> {
    let (host, port) = (site.host(), site.port());
    if let Ok(address) = host.parse::<IpAddr>() {
        let finding = Finding::ok(format!("{address} is an address and needs no name"));
        return Ok((finding, vec![(address, port).into()]));
    }
    let mend = format!(
        "make an A or AAAA record for {host}, or correct the name (server.public_url, or the URL \
         given)"
    );
    let missing = |why: String| Finding::fail(format!("{host} has no address: {why}"), &mend);
    let found = match timeout(limit, lookup_host((host, port))).await {
        Err(_) => return Err(missing(format!("no answer within {limit:?}"))),
        Ok(Err(error)) => return Err(missing(error.to_string())),
        Ok(Ok(found)) => found,
    };
    let mut addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(missing("its name has none".to_owned()));
    }
    let listed: Vec<_> = addresses.iter().map(|at| at.ip().to_string()).collect();
    let finding = Finding::ok(format!("{host} is {}", listed.join(", ")));
    Ok((finding.with("addresses", listed), addresses))
}

/// Checks that each address accepts connections.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Duration) -> Outcome<()> {
    let tried = join_all(addresses.iter().map(|address| reach(*address, limit))).await;
    let pairs = || addresses.iter().zip(&tried);
    let failed: Vec<String> = pairs()
        .filter_map(|(address, tried)| Some(format!("{address} ({})", tried.as_ref().err()?)))
        .collect();
    let slowest = tried.iter().flatten().max();
    let Some(slowest) = slowest else {
        let refused = pairs().any(|(_, tried)| {
            let error = tried.as_ref().err();
            error.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
        let mend = match refused {
            true => {
                "nothing listens there: start the service or the proxy before it, and check \
                 server.listen (127.0.0.1 is for this machine alone) and the port of the public URL"
            }
            false => "let the port through the firewall, and check the address in DNS",
        };
        let text = format!("no connection to {}", failed.join(", "));
        return Err(Finding::fail(text, mend));
    };
    let slowest = millis(*slowest);
    let finding = match (failed.is_empty(), addresses) {
        (true, [only]) => Finding::ok(format!("{only} answers after {slowest} ms")),
        (true, all) => Finding::ok(format!(
            "all {} addresses answer, the slowest after {slowest} ms",
            all.len()
        )),
        (false, _) => Finding::warn(
            format!("no connection to {}; the others answer", failed.join(", ")),
            "listen there too, or take that address out of DNS: clients try it first or last as \
             they like (from a machine without IPv6, an IPv6 address fails in any case)",
        ),
    };
    Ok((finding.with("connect_ms", slowest), ()))
}

async fn reach(address: SocketAddr, limit: Duration) -> io::Result<Duration> {
    let begin = Instant::now();
    match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => connected.map(|_| begin.elapsed()),
        Err(_) => Err(io::Error::new(
            ErrorKind::TimedOut,
            format!("no answer within {limit:?}"),
        )),
    }
}
