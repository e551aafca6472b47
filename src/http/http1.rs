//! HTTP/1.1: hyper in front of [`route`](super::route), and the upgrade of a request to a
//! WebSocket.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONNECTION, HOST, HeaderValue, TRANSFER_ENCODING};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::http::request;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::events::{self, Events};
use super::hang_up::{HangUp, Streaming};
use super::refusal::{Refusal, refuse, refuse_early};
use super::reply::Reply;
use super::unread::{Unread, linger};
use super::write_timeout::{WriteTimeout, is_write_timeout};
use super::{Answer, Site, handshake, route};
use crate::app::peer::{Admitted, Client, Peer};
use crate::config::{Limit, Limits};
use crate::gate::fairness::{Share, Slot};
use crate::gate::proxies::Mistake;
use crate::io::Io;
use crate::observe::metrics::Metrics;
use crate::user_agent::websocket;

/// The slots that a WebSocket holds while it is open: as a user agent, as a client behind a proxy,
/// and as a connection.
type Slots = (Box<Slot>, Option<Box<Share>>, Arc<Admitted>);

/// A complete body, or a stream of events.
type Body = Either<Full<Bytes>, Events>;

/// Serves a connection until it ends or becomes a WebSocket.
pub async fn serve(io: Io, peer: Peer, site: Site) {
    let limits = &peer.app.service.config().limits;
    let is_last = AtomicBool::new(peer.is_refused());
    let streaming = Streaming::default();
    let io = HangUp::new(
        WriteTimeout::new(io, limits.body_timeout),
        streaming.clone(),
    );
    let mut connection = settings(limits)
        .serve_connection(
            TokioIo::new(io),
            service_fn(|request| {
                let (peer, site) = (peer.clone(), site.clone());
                let (is_last, streaming) = (&is_last, &streaming);
                async move {
                    streaming.set(false);
                    let (mut reply, is_whole) = answer(request, peer, site).await;
                    streaming.set(matches!(reply.body(), Either::Right(_)));
                    if !is_whole || is_last.load(Ordering::Relaxed) {
                        end_with(&mut reply);
                    }
                    Ok::<_, Infallible>(reply)
                }
            }),
        )
        .with_upgrades();
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = peer.close.graceful.cancelled() => {
            is_last.store(true, Ordering::Relaxed);
            tokio::select! {
                ended = &mut connection => ended,
                () = peer.close.idle.cancelled() => {
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            }
        }
    };
    if let Err(error) = ended {
        count(&error, peer.app.service.metrics());
        tracing::debug!(%error, "HTTP/1.1 connection ended");
        if !error.is_parse() {
            // No response is in flight that a reset could destroy.
            return;
        }
    }
    if let Some(parts) = connection.into_parts() {
        close(parts.io.into_inner(), &peer).await;
    }
}

/// The limits that hyper enforces.
fn settings(limits: &Limits) -> Builder {
    let mut settings = Builder::new();
    settings
        .timer(TokioTimer::new())
        // Runs from the end of one request to the end of the next request's header.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.header_bytes)
        // A client that has shut down its write side still gets its response.
        .half_close(true);
    settings
}

/// Closes a connection in stages, so that its last response arrives (RFC 9112 §9.6). hyper has
/// already shut down the write side.
async fn close(io: HangUp<WriteTimeout<Io>>, peer: &Peer) {
    let service = &peer.app.service;
    tokio::select! {
        biased;
        is_cut = linger(io, &service.config().limits) => if is_cut {
            service.metrics().cut(Limit::DiscardBytes);
        },
        () = peer.close.idle.cancelled() => {}
    }
}

/// Makes a response the last of its connection (RFC 9112 §9.6).
fn end_with(reply: &mut Response<Body>) {
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
    }
}

/// Counts a connection that a limit ended.
fn count(error: &hyper::Error, metrics: &Metrics) {
    if is_write_timeout(error) {
        metrics.cut(Limit::BodyTimeout);
    } else if error.is_timeout() {
        metrics.cut(Limit::IdleTimeout);
    } else if error.is_parse_too_large() {
        metrics.cut(Limit::HeaderBytes);
    }
}

/// Answers a request. Returns the response, and whether the whole request was read, so that
/// another one can follow it on the connection.
async fn answer(mut request: Request<Incoming>, peer: Peer, site: Site) -> (Response<Body>, bool) {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Err(error) = check_framing(&parts) {
        return (
            refuse_early(&peer.app, &parts, &error).map(Either::Left),
            false,
        );
    }
    let mut body = Unread::new(body);
    let mut slot = None;
    let answer = match site {
        Site::Admin(admin) => admin.answer(&parts, &mut body, peer.remote(&parts)).await,
        Site::Public => match peer.admit(&parts) {
            Ok(_) if handshake::is_cut(&parts, &peer.app.gate.admission) => {
                peer.see(Mistake::NoUpgrade);
                Answer::Reply(refuse(&peer.app, &handshake::CUT))
            }
            Ok(client) if handshake::is_wanted(&parts, &peer.app.gate.admission) => {
                let opened = open(&parts, upgrade, &peer, client);
                Answer::Reply(opened.unwrap_or_else(|error| refuse(&peer.app, &error)))
            }
            Ok(client) => {
                let answer = route(&peer.app, client.address, &parts, &mut body).await;
                slot = client.share;
                answer
            }
            Err(error) => {
                peer.app.delay(&error).await;
                Answer::Reply(refuse_early(&peer.app, &parts, &error.into()))
            }
        },
    };
    let reply = match answer {
        Answer::Reply(reply) => reply.map(Either::Left),
        Answer::Events(monitor) => events::reply(monitor)
            .map(|body| events::hold(body, slot))
            .map(Either::Right),
        Answer::Stream(reply) => reply.map(Either::Right),
        // HTTP/1.1 has no server push: its requests do not have `TakesPushes`.
        Answer::Pushes(_) => refuse(&peer.app, &Refusal::ServerPush).map(Either::Left),
    };
    let limits = &peer.app.service.config().limits;
    let is_whole = reply.status() == StatusCode::SWITCHING_PROTOCOLS
        || body.discard(&parts.headers, limits).await;
    (reply, is_whole)
}

/// Checks that every hop agrees on the host of the request (RFC 9112 §3.2; HTTP/1.0 has no such
/// rule) and on where its body ends.
///
/// # Errors
/// [`Refusal::Host`]; [`Refusal::TransferCoding`], because hyper checks only the last of several
/// codings.
fn check_framing(parts: &request::Parts) -> Result<(), Refusal> {
    let hosts = parts.headers.get_all(HOST).iter().count();
    if hosts != 1 && (hosts, parts.version) != (0, Version::HTTP_10) {
        return Err(Refusal::Host);
    }
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::TransferCoding),
    }
}

/// Answers a WebSocket handshake, and spawns a task that serves the WebSocket. What the connection
/// needed for HTTP is freed.
fn open(
    parts: &request::Parts,
    upgrade: OnUpgrade,
    peer: &Peer,
    client: Client,
) -> Result<Reply, Refusal> {
    let admission = &peer.app.gate.admission;
    admission.check(parts, client.address, handshake::ENTRANCE)?;
    let reply = handshake::accept(&parts.headers)?;
    let slots = (
        peer.app.admit_user_agent(client.address)?,
        client.share,
        peer.admitted.clone(),
    );
    if !handshake::is_for(peer.app.service.public_url(), parts) {
        peer.see(Mistake::OtherHost);
    }
    peer.tasks
        .spawn(become_websocket(upgrade, peer, client.address, slots));
    Ok(reply)
}

/// Serves a WebSocket, and holds its `slots` until it is closed.
///
/// Not an `async fn`, which would store its arguments twice: this future is most of the memory of
/// an idle user agent.
fn become_websocket(
    upgrade: OnUpgrade,
    peer: &Peer,
    address: IpAddr,
    slots: Slots,
) -> impl Future<Output = ()> + Send + use<> {
    let (app, settings) = (Arc::clone(&peer.app), Arc::clone(&peer.settings));
    let stop = peer.close.graceful.clone();
    // Boxed, so that the state of opening is freed before the session begins.
    let opening = Box::pin(async move {
        let (io, read) = upgrade.await.ok().and_then(take_over)?;
        websocket::open(io, read, app, settings, address, &stop).await
    });
    async move {
        // `if let` would keep its temporaries until the end of the block.
        let Some((mut connection, owner)) = opening.await else {
            return;
        };
        connection.serve(owner).await;
        // The slots are free only once the socket is closed.
        drop(connection);
        drop(slots);
    }
}

/// Returns the upgraded connection and the bytes that hyper has already read after the request.
/// They are copied, because they are a slice of an 8 KiB buffer, which would otherwise live as long
/// as the WebSocket.
fn take_over(upgraded: Upgraded) -> Option<(Io, Vec<u8>)> {
    let parts = upgraded
        .downcast::<TokioIo<HangUp<WriteTimeout<Io>>>>()
        .ok()?;
    let io = parts.io.into_inner().into_inner().into_inner();
    Some((io, parts.read_buf.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size in bytes of the future that a function returns, without calling it.
    fn size<F>(_: impl Fn(OnUpgrade, &Peer, IpAddr, Slots) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_task_of_an_idle_user_agent_fits_in_one_kib() {
        // The runtime adds 112 bytes of its own.
        let size = size(become_websocket);
        assert!(size <= 1024 - 112, "{size} bytes");
    }
}
