//! A request over HTTP/2 and its response.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{SendPushedResponse, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::reason;
use crate::app::peer::Peer;
use crate::config::Limit;
use crate::gate::proxies::Mistake;
use crate::http::body::ContentError;
use crate::http::h2_guard::ClientState;
use crate::http::refusal::{Refusal, refuse, refuse_early};
use crate::http::unread::Unread;
use crate::http::{Answer, HEADER_FIELDS, Site, TakesPushes, events, handshake, pushed, route};
use crate::user_agent::monitor::{Monitor, Next};

/// The outcome of sending a body.
enum Written {
    /// All of it was handed to h2.
    Whole,
    /// The peer reset the stream.
    Refused,
    /// The peer did not open the flow-control window within `limits.body_timeout`.
    TimedOut,
}

/// A request that is being answered.
pub(super) struct Exchange {
    pub(super) respond: SendResponse<Bytes>,
    pub(super) client: ClientState,
    pub(super) peer: Peer,
    pub(super) site: Site,
    pub(super) _permit: OwnedSemaphorePermit,
}

impl Exchange {
    /// Answers the request, and sends the response.
    pub(super) async fn answer(mut self, request: Request<RecvStream>) {
        let (mut parts, body) = request.into_parts();
        if self.client.takes_pushes() {
            parts.extensions.insert(TakesPushes);
        }
        let app = &self.peer.app;
        let mut body = Unread::new(Incoming(body));
        // Held until the whole response is sent.
        let _slot;
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
                    _slot = client.share;
                    answer
                }
                Err(error) => {
                    app.delay(&error).await;
                    Answer::Reply(refuse_early(app, &parts, &error.into()))
                }
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

    /// Reads and discards the rest of an unwanted body. Dropping the stream would reset it, and the
    /// frames that the client sends before it learns of the reset may count as connection errors.
    /// The stream of a body over `limits.body_bytes` or `limits.body_timeout` is reset all the
    /// same, with `NO_ERROR` (RFC 9113 §8.1).
    async fn discard(&self, mut body: Unread<Incoming>, headers: &HeaderMap) {
        let limits = &self.peer.app.service.config().limits;
        tokio::select! {
            _ = body.discard(headers, limits) => {}
            () = self.peer.close.graceful.cancelled() => {}
        }
    }

    /// Sends a response and its body, frame by frame.
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
                // No body here has trailers.
                Some(Err(_)) => {}
                None => return stream.send_data(Bytes::new(), true),
            }
        }
    }

    /// Pushes the items of the monitor, then sends its status (RFC 8030 §6).
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
                        Written::Whole if self.accepts_writes().await => {
                            monitor.confirm(&item).await;
                        }
                        // A client may reset one push (RFC 9113 §8.4) and
                        // still accept the next.
                        Written::Refused => {}
                        Written::Whole | Written::TimedOut => return Ok(()),
                    }
                }
                // HTTP/2 pings check the connection.
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

    /// Lets the connection write the queued frames. Returns `false` if the peer reads nothing for
    /// `limits.body_timeout`.
    async fn accepts_writes(&mut self) -> bool {
        let service = &self.peer.app.service;
        yield_now().await;
        let accepted = timeout(
            service.config().limits.body_timeout,
            self.client.accepts_writes(),
        )
        .await;
        if accepted.is_err() {
            service.metrics().cut(Limit::BodyTimeout);
        }
        accepted.is_ok()
    }

    /// Sends the response to a promised request.
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

    /// Sends data as the flow-control window allows. Resets the stream and returns
    /// [`Written::TimedOut`] if the window stays closed for `limits.body_timeout`.
    async fn write(&self, stream: &mut SendStream<Bytes>, mut data: Bytes, end: bool) -> Written {
        let service = &self.peer.app.service;
        let limit = service.config().limits.body_timeout;
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let Ok(capacity) = timeout(limit, capacity(stream)).await else {
                stream.send_reset(Reason::CANCEL);
                service.metrics().cut(Limit::BodyTimeout);
                return Written::TimedOut;
            };
            let Some(Ok(capacity)) = capacity else {
                return Written::Refused;
            };
            let chunk = data.split_to(capacity.min(data.len()));
            if stream.send_data(chunk, end && data.is_empty()).is_err() {
                return Written::Refused;
            }
        }
        Written::Whole
    }

    /// Sets `Date` (RFC 9110 §6.6.1); over HTTP/1.1 hyper sets it.
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

/// The body of a request. Reading it opens the flow-control window again.
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
