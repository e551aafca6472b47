//! HTTP/2: the h2 crate in front of [`route`](super::route).

use std::convert::Infallible;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendPushedResponse, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::body::ContentError;
use super::h2_guard::{Guarded, Seen};
use super::patient::{Patient, is_stuck};
use super::refusal::{Refusal, refuse, refuse_early};
use super::unread::Unread;
use super::{Answer, HEADER_FIELDS, Site, TakesPushes, events, handshake, pushed, route};
use crate::app::peer::Peer;
use crate::config::{Limit, Limits, UserAgentConfig};
use crate::gate::proxies::Mistake;
use crate::io::Io;
use crate::user_agent::monitor::{Monitor, Next};

/// How long a connection that is refused rests after its last request.
const REFUSED_REST: Duration = Duration::from_millis(200);

/// Serves a connection until it ends.
pub async fn serve(io: Io, peer: Peer, site: Site) {
    if let Err(error) = streams(io, &peer, site).await {
        if error.get_io().is_some_and(|error| is_stuck(error)) {
            peer.app.service.metrics().cut(Limit::BodyTimeout);
        }
        tracing::debug!(reason = reason(&error), "HTTP/2 connection ended");
    }
}

/// What a log says of an error. The debug data of a GOAWAY frame is the peer's
/// text (RFC 9113 §6.8) and is left out.
fn reason(error: &h2::Error) -> String {
    match error.reason() {
        Some(code) => format!("{code:?}"),
        None => error.to_string(),
    }
}

async fn streams(io: Io, peer: &Peer, site: Site) -> Result<(), h2::Error> {
    let limits = &peer.app.service.config().limits;
    let (io, seen) = Guarded::new(Patient::new(io, limits.body_timeout));
    let Ok(handshake) = timeout(limits.handshake_timeout, settings(limits).handshake(io)).await
    else {
        peer.app.service.metrics().cut(Limit::HandshakeTimeout);
        return Ok(());
    };
    let mut connection = handshake?;
    let exchanges = Exchanges {
        places: Arc::new(Semaphore::new(2 * limits.http2_streams as usize)),
        seen,
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
                    // Not `graceful_shutdown`, which asks for the answer to a
                    // PING after its GOAWAY: some clients take that for an
                    // error (python-h2). This GOAWAY names the last stream, so
                    // a request that crosses it may be sent again.
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                }
            }
        }
    }
}

/// What the client is told of our bounds.
fn settings(limits: &Limits) -> Builder {
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let streams = limits.http2_streams as usize;
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(limits.http2_streams)
        // A client may cancel all its requests at once, and make as many more
        // before the first are looked at. The crate's own bound is 20.
        .max_pending_accept_reset_streams(2 * streams)
        // Streams that are remembered, for a second, after they were reset. The
        // rest of a body that comes for one that is forgotten counts towards
        // the end of the connection, so the rest of a refused one is read
        // (`discard`). The crate's own bound is 50.
        .max_concurrent_reset_streams(4 * streams)
        .max_header_list_size(header_bytes);
    settings
}

/// Ends when the peer no longer answers pings: one that has vanished would have
/// its held GETs kept until their lifetime is over.
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

/// What became of a body.
enum Written {
    /// All of it was handed over.
    Whole,
    /// The peer does not want it.
    Refused,
    /// The peer made no room for it in time.
    Stuck,
}

/// The requests of one connection.
struct Exchanges<'c> {
    /// A stream that is reset makes room for another before its task has seen
    /// that; so there are twice as many places for tasks, and no more.
    places: Arc<Semaphore>,
    seen: Seen,
    peer: &'c Peer,
    site: Site,
}

impl Exchanges<'_> {
    /// Answers a request in a task of its own.
    fn begin(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let metrics = self.peer.app.service.metrics();
            metrics.refuse("limits.http2_streams");
            respond.send_reset(Reason::REFUSED_STREAM);
            return;
        };
        let exchange = Exchange {
            respond,
            seen: self.seen.clone(),
            peer: self.peer.clone(),
            site: self.site.clone(),
            _place: place,
        };
        self.peer.tasks.spawn(exchange.answer(request));
    }
}

/// One request that is being answered.
struct Exchange {
    respond: SendResponse<Bytes>,
    seen: Seen,
    peer: Peer,
    site: Site,
    _place: OwnedSemaphorePermit,
}

impl Exchange {
    async fn answer(mut self, request: Request<RecvStream>) {
        let (mut parts, body) = request.into_parts();
        if self.seen.takes_pushes() {
            parts.extensions.insert(TakesPushes);
        }
        let app = &self.peer.app;
        let mut body = Unread::new(Incoming(body));
        // Held until all is sent.
        let _place;
        let answer = if parts.headers.len() > HEADER_FIELDS {
            Answer::Reply(refuse_early(
                app,
                &parts,
                &Refusal::HeaderFields(HEADER_FIELDS),
            ))
        } else if let Site::Admin(admin) = &self.site {
            let remote = self.peer.remote(&parts);
            Arc::clone(admin).answer(&parts, &mut body, remote).await
        } else {
            match self.peer.admit(&parts) {
                Ok(_) if handshake::is_cut(&parts, &app.gate.admission) => {
                    self.peer.see(Mistake::NoUpgrade);
                    Answer::Reply(refuse(app, &handshake::CUT))
                }
                Ok(client) => {
                    let answer = route(app, client.address, &parts, &mut body).await;
                    _place = client.place;
                    answer
                }
                Err(error) => Answer::Reply(refuse_early(app, &parts, &error.into())),
            }
        };
        let sent = match answer {
            Answer::Reply(reply) if parts.method == Method::HEAD => {
                self.send(reply.map(|_| Empty::new())).await
            }
            Answer::Reply(reply) => self.send(reply).await,
            Answer::Events(monitor) => self.send(events::reply(monitor)).await,
            Answer::Stream(reply) => self.send(reply).await,
            Answer::Pushes(monitor) => self.push(monitor).await,
        };
        match sent {
            Ok(()) => self.discard(body, &parts.headers).await,
            Err(error) => tracing::debug!(reason = reason(&error), "HTTP/2 stream ended"),
        }
    }

    /// Reads the rest of a body that was not wanted, and drops it. Dropping the
    /// stream instead resets it, and what the client sends before it learns of
    /// that counts towards the end of the connection. A body over
    /// `limits.body_bytes` or `limits.body_timeout` is reset all the same, with
    /// `NO_ERROR` (RFC 9113 §8.1).
    async fn discard(&self, mut body: Unread<Incoming>, headers: &HeaderMap) {
        let limits = &self.peer.app.service.config().limits;
        tokio::select! {
            _ = body.discard(headers, limits) => {}
            () = self.peer.close.graceful.cancelled() => {}
        }
    }

    /// Sends a reply whose body comes by and by.
    async fn send<B>(&mut self, reply: Response<B>) -> Result<(), h2::Error>
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin,
    {
        let (mut parts, mut body) = reply.into_parts();
        self.date(&mut parts.headers);
        let head = Response::from_parts(parts, ());
        let mut stream = self.respond.send_response(head, body.is_end_stream())?;
        if body.is_end_stream() {
            return Ok(());
        }
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = poll_fn(|context| stream.poll_reset(context)) => return Ok(()),
            };
            match frame.map(|Ok(frame)| frame.into_data()) {
                Some(Ok(data)) => {
                    let end = body.is_end_stream();
                    match self.write(&mut stream, data, end).await {
                        Written::Whole if !end => {}
                        _ => return Ok(()),
                    }
                }
                // Trailers, of which there are none.
                Some(Err(_)) => {}
                None => return stream.send_data(Bytes::new(), true),
            }
        }
    }

    /// Pushes what the monitor reads, and ends with its status (RFC 8030 §6).
    async fn push(&mut self, mut monitor: Monitor) -> Result<(), h2::Error> {
        loop {
            let next = tokio::select! {
                next = monitor.next() => next,
                _ = poll_fn(|context| self.respond.poll_reset(context)) => return Ok(()),
            };
            match next {
                Next::Item(item) => {
                    let (promised, reply) = pushed::exchange(&monitor.app().service, &item);
                    let pushed = self.respond.push_request(promised)?;
                    match self.fulfil(pushed, reply).await {
                        Written::Whole if self.has_room().await => {
                            monitor.confirm(&item).await;
                        }
                        // Its own reset is the client's right (RFC 9113 §8.4),
                        // and says nothing about the next push.
                        Written::Refused => {}
                        Written::Whole | Written::Stuck => return Ok(()),
                    }
                }
                // The connection has pings of its own.
                Next::Quiet => {}
                Next::Ended(StatusCode::NOT_FOUND) => {
                    let refused = refuse(monitor.app(), &Refusal::NotFound);
                    return self.send(refused).await;
                }
                Next::Ended(status) => {
                    let mut reply = Response::new(Full::default());
                    *reply.status_mut() = status;
                    return self.send(reply).await;
                }
            }
        }
    }

    /// Lets the connection write what it was given; `false` when its peer does
    /// not read for `limits.body_timeout`.
    async fn has_room(&mut self) -> bool {
        let service = &self.peer.app.service;
        yield_now().await;
        let room = timeout(service.config().limits.body_timeout, self.seen.has_room()).await;
        if room.is_err() {
            service.metrics().cut(Limit::BodyTimeout);
        }
        room.is_ok()
    }

    /// Answers a promised request.
    async fn fulfil(
        &self,
        mut pushed: SendPushedResponse<Bytes>,
        reply: Response<Bytes>,
    ) -> Written {
        let (mut parts, body) = reply.into_parts();
        self.date(&mut parts.headers);
        let head = Response::from_parts(parts, ());
        let Ok(mut stream) = pushed.send_response(head, body.is_empty()) else {
            return Written::Refused;
        };
        self.write(&mut stream, body, true).await
    }

    /// Hands data over as the peer makes room for it; [`Written::Stuck`] when it
    /// made none for `limits.body_timeout`, and was given up.
    async fn write(&self, stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Written {
        let service = &self.peer.app.service;
        let patience = service.config().limits.body_timeout;
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let Ok(room) = timeout(patience, capacity(stream)).await else {
                stream.send_reset(Reason::CANCEL);
                service.metrics().cut(Limit::BodyTimeout);
                return Written::Stuck;
            };
            let Some(Ok(room)) = room else {
                return Written::Refused;
            };
            let chunk = data.split_to(room.min(data.len()));
            if stream.send_data(chunk, end && data.is_empty()).is_err() {
                return Written::Refused;
            }
        }
        Written::Whole
    }

    /// RFC 9110 §6.6.1; of HTTP/1.1 hyper takes care.
    fn date(&self, headers: &mut HeaderMap) {
        let now = httpdate::fmt_http_date(self.peer.app.service.wall_clock().into());
        if let Ok(date) = HeaderValue::from_str(&now) {
            headers.insert(DATE, date);
        }
    }
}

async fn capacity(stream: &mut SendStream<Bytes>) -> Option<Result<usize, h2::Error>> {
    poll_fn(|context| stream.poll_capacity(context)).await
}

/// A request's body; what was read makes room for more.
struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = ContentError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ContentError>>> {
        let Some(data) = ready!(self.0.poll_data(context)) else {
            return Poll::Ready(None);
        };
        let frame = data.and_then(|data| {
            self.0.flow_control().release_capacity(data.len())?;
            Ok(Frame::data(data))
        });
        Poll::Ready(Some(frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
