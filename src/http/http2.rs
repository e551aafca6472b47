//! HTTP/2: the h2 crate in front of [`route`](super::route).

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::Request;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::exchange::Exchange;
use super::Site;
use super::h2_guard::{ClientState, Guarded};
use super::write_timeout::{WriteTimeout, is_write_timeout};
use crate::app::peer::Peer;
use crate::config::{Limit, Limits, UserAgentConfig};
use crate::io::Io;

mod exchange;

/// The idle timeout of a refused connection, after its last request.
const REFUSED_REST: Duration = Duration::from_millis(200);

/// Serves a connection until it ends.
pub async fn serve(io: Io, peer: Peer, site: Site) {
    if let Err(error) = streams(io, &peer, site).await {
        if error.get_io().is_some_and(|error| is_write_timeout(error)) {
            peer.app.service.metrics().cut(Limit::BodyTimeout);
        }
        tracing::debug!(reason = reason(&error), "HTTP/2 connection ended");
    }
}

/// The text of an error for the log, without the debug data of a GOAWAY frame, which the peer wrote
/// (RFC 9113 §6.8).
fn reason(error: &h2::Error) -> String {
    match error.reason() {
        Some(code) => format!("{code:?}"),
        None => error.to_string(),
    }
}

async fn streams(io: Io, peer: &Peer, site: Site) -> Result<(), h2::Error> {
    let limits = &peer.app.service.config().limits;
    let (io, client) = Guarded::new(WriteTimeout::new(io, limits.body_timeout));
    let Ok(handshake) = timeout(limits.handshake_timeout, settings(limits).handshake(io)).await
    else {
        peer.app.service.metrics().cut(Limit::HandshakeTimeout);
        return Ok(());
    };
    let mut connection = handshake?;
    let exchanges = Exchanges {
        permits: Arc::new(Semaphore::new(2 * limits.http2_streams as usize)),
        client,
        peer,
        site,
    };
    let config = &peer.app.service.config().user_agent;
    let mut silence = pin!(silence(connection.ping_pong(), config));
    let rest = match peer.is_refused() {
        true => REFUSED_REST,
        false => limits.idle_timeout,
    };
    let mut idle_at = Instant::now() + limits.idle_timeout;
    let mut ending = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                idle_at = Instant::now() + rest;
                exchanges.begin(request, respond);
            }
            () = peer.close.graceful.cancelled(), if !ending => {
                ending = true;
                connection.graceful_shutdown();
            }
            () = &mut silence => {
                peer.app.service.metrics().cut(Limit::PongTimeout);
                return Ok(());
            }
            () = sleep_until(idle_at) => {
                if ending && !connection.has_streams() {
                    return Ok(());
                }
                idle_at = Instant::now() + rest.min(limits.handshake_timeout);
                if !connection.has_streams() {
                    ending = true;
                    // Not `graceful_shutdown`: it sends a PING after its GOAWAY, which
                    // some clients treat as an error (python-h2). This GOAWAY names the
                    // last stream, so the client may retry a request that crosses it.
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                }
            }
        }
    }
}

/// The limits that the client gets as SETTINGS or that h2 enforces.
fn settings(limits: &Limits) -> Builder {
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let streams = limits.http2_streams as usize;
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(limits.http2_streams)
        // A client may cancel all its requests at once, and send as many more
        // before the first are accepted. The default of h2 is 20.
        .max_pending_accept_reset_streams(2 * streams)
        // h2 remembers this many reset streams for one second. Frames for a forgotten stream count
        // as connection errors, so the rest of a refused body is read (`discard`). The default of
        // h2 is 50.
        .max_concurrent_reset_streams(4 * streams)
        .max_header_list_size(header_bytes);
    settings
}

/// Returns when the peer stops answering pings. Otherwise the held GETs of a vanished peer would
/// stay open for `user_agent.monitor_lifetime`.
async fn silence(pings: Option<PingPong>, config: &UserAgentConfig) {
    let Some(mut pings) = pings else {
        return pending().await;
    };
    loop {
        sleep(config.ping_interval).await;
        let answered = timeout(config.pong_timeout, pings.ping(Ping::opaque())).await;
        if !matches!(answered, Ok(Ok(_))) {
            return;
        }
    }
}

/// The requests of one connection.
struct Exchanges<'c> {
    /// One permit per task, twice `limits.http2_streams`: the peer may open a new stream before the
    /// task of a reset one has ended.
    permits: Arc<Semaphore>,
    client: ClientState,
    peer: &'c Peer,
    site: Site,
}

impl Exchanges<'_> {
    /// Spawns a task that answers a request.
    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            let metrics = self.peer.app.service.metrics();
            metrics.refuse("limits.http2_streams");
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        let exchange = Exchange {
            respond,
            client: self.client.clone(),
            peer: self.peer.clone(),
            site: self.site.clone(),
            _permit: permit,
        };
        self.peer.tasks.spawn(exchange.answer(request));
    }
}
