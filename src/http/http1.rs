//! HTTP/1.1: hyper in front of [`route`](super::route), and the way from a
//! request to a WebSocket.

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
use super::patient::{Patient, is_stuck};
use super::refusal::{Refusal, refuse, refuse_early};
use super::reply::Reply;
use super::unread::{Unread, linger};
use super::{Answer, Site, handshake, route};
use crate::app::peer::{Admitted, Client, Peer};
use crate::config::{Limit, Limits};
use crate::gate::fairness::{Share, Slot};
use crate::gate::proxies::Mistake;
use crate::io::Io;
use crate::observe::metrics::Metrics;
use crate::user_agent::websocket;

/// What a WebSocket holds for as long as it lasts: its place among user agents,
/// that of a client behind a proxy, and that of the connection.
type Slots = (Box<Slot>, Option<Box<Share>>, Arc<Admitted>);

/// A reply at once, or events as they come.
type Body = Either<Full<Bytes>, Events>;

/// Serves a connection until it ends or has become a WebSocket.
pub async fn serve(io: Io, peer: Peer, site: Site) {
    let limits = &peer.app.service.config().limits;
    let is_last = AtomicBool::new(peer.is_refused());
    let streaming = Streaming::default();
    let io = HangUp::new(Patient::new(io, limits.body_timeout), streaming.clone());
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
            // There is no answer that could be lost.
            return;
        }
    }
    if let Some(parts) = connection.into_parts() {
        close(parts.io.into_inner(), &peer).await;
    }
}

/// The bounds that hyper keeps.
fn settings(limits: &Limits) -> Builder {
    let mut settings = Builder::new();
    settings
        .timer(TokioTimer::new())
        // Runs from the end of one request to the end of the next one's header.
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(limits.header_bytes)
        // A client that has shut down its write side gets its answer.
        .half_close(true);
    settings
}

/// Closes a connection in stages, so that its last answer arrives (RFC 9112
/// §9.6); hyper has shut down the write side.
async fn close(io: HangUp<Patient<Io>>, peer: &Peer) {
    let service = &peer.app.service;
    tokio::select! {
        biased;
        is_cut = linger(io, &service.config().limits) => if is_cut {
            service.metrics().cut(Limit::DiscardBytes);
        },
        () = peer.close.idle.cancelled() => {}
    }
}

/// Makes a reply the last of its connection (RFC 9112 §9.6).
fn end_with(reply: &mut Response<Body>) {
    if reply.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
    }
}

/// Counts a connection that was cut by a limit.
fn count(error: &hyper::Error, metrics: &Metrics) {
    if is_stuck(error) {
        metrics.cut(Limit::BodyTimeout);
    } else if error.is_timeout() {
        metrics.cut(Limit::IdleTimeout);
    } else if error.is_parse_too_large() {
        metrics.cut(Limit::HeaderBytes);
    }
}

/// Answers a request. The answer comes with whether the request was read whole,
/// so that another can follow it on the connection.
async fn answer(mut request: Request<Incoming>, peer: Peer, site: Site) -> (Response<Body>, bool) {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    if let Err(doubt) = is_plain(&parts) {
        return (
            refuse_early(&peer.app, &parts, &doubt).map(Either::Left),
            false,
        );
    }
    let mut body = Unread::new(body);
    let mut place = None;
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
                place = client.place;
                answer
            }
            Err(error) => Answer::Reply(refuse_early(&peer.app, &parts, &error.into())),
        },
    };
    let reply = match answer {
        Answer::Reply(reply) => reply.map(Either::Left),
        Answer::Events(monitor) => events::reply(monitor)
            .map(|body| events::hold(body, place))
            .map(Either::Right),
        Answer::Stream(reply) => reply.map(Either::Right),
        // HTTP/1.1 has none, and says so by no `TakesPushes`.
        Answer::Pushes(_) => refuse(&peer.app, &Refusal::ServerPush).map(Either::Left),
    };
    let limits = &peer.app.service.config().limits;
    let is_whole = reply.status() == StatusCode::SWITCHING_PROTOCOLS
        || body.discard(&parts.headers, limits).await;
    (reply, is_whole)
}

/// Whether all on the way agree on whom the request is for (RFC 9112 §3.2; of
/// HTTP/1.0 there is no such rule), and on where its body ends.
///
/// # Errors
/// [`Refusal::Host`]; [`Refusal::TransferCoding`], since hyper looks only at the
/// last coding of several.
fn is_plain(parts: &request::Parts) -> Result<(), Refusal> {
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

/// Answers a WebSocket handshake, and leaves the connection to a task of its
/// own: what HTTP needed of it is given back.
fn open(
    parts: &request::Parts,
    upgrade: OnUpgrade,
    peer: &Peer,
    client: Client,
) -> Result<Reply, Refusal> {
    let admission = &peer.app.gate.admission;
    admission.check(parts, client.address, handshake::ENTRANCE)?;
    let reply = handshake::accept(&parts.headers)?;
    let places = (
        peer.app.admit_user_agent(client.address)?,
        client.place,
        peer.admitted.clone(),
    );
    if !handshake::is_for(peer.app.service.public_url(), parts) {
        peer.see(Mistake::OtherHost);
    }
    peer.tasks
        .spawn(become_websocket(upgrade, peer, client.address, places));
    Ok(reply)
}

/// Serves a WebSocket, which holds its `places` for as long as it lasts.
///
/// Not an `async fn`, which would hold its arguments twice: this future is most
/// of what an idle user agent takes.
fn become_websocket(
    upgrade: OnUpgrade,
    peer: &Peer,
    address: IpAddr,
    places: Slots,
) -> impl Future<Output = ()> + Send + use<> {
    let (app, settings) = (Arc::clone(&peer.app), Arc::clone(&peer.settings));
    let stop = peer.close.graceful.clone();
    // Of what it takes to open one, nothing is kept.
    let opening = Box::pin(async move {
        let (io, read) = upgrade.await.ok().and_then(take_over)?;
        websocket::open(io, read, app, settings, address, &stop).await
    });
    async move {
        // A pattern of `if let` would be held until the end.
        let Some((mut connection, owner)) = opening.await else {
            return;
        };
        connection.serve(owner).await;
        // Only what is closed makes room.
        drop(connection);
        drop(places);
    }
}

/// What an upgrade leaves: the connection, and what was read of it too early.
/// That is copied, since it is a slice of a buffer of 8 KiB, which would stay
/// for as long as the WebSocket does.
fn take_over(upgraded: Upgraded) -> Option<(Io, Vec<u8>)> {
    let parts = upgraded.downcast::<TokioIo<HangUp<Patient<Io>>>>().ok()?;
    let io = parts.io.into_inner().into_inner().into_inner();
    Some((io, parts.read_buf.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets of a future that a function makes, without making one.
    fn size<F>(_: impl Fn(OnUpgrade, &Peer, IpAddr, Slots) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_user_agent_takes_a_task_of_one_kib() {
        // What the runtime adds of its own is 112 octets.
        let size = size(become_websocket);
        assert!(size <= 1024 - 112, "{size} octets");
    }
}
