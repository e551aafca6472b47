//! HTTP/2: the h2 crate in front of [`route`](super::route).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::header::DATE;
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Reply, route, route_admin, set};
use crate::io::Io;
use crate::server::Peer;

/// Serves a connection until it ends.
pub async fn serve(io: Io, peer: Peer) {
    if let Err(error) = streams(io, &peer).await {
        tracing::debug!(%error, "HTTP/2 connection ended");
    }
}

async fn streams(io: Io, peer: &Peer) -> Result<(), h2::Error> {
    let limits = &peer.site.service.config().limits;
    let header_bytes = u32::try_from(limits.header_bytes).unwrap_or(u32::MAX);
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(header_bytes);
    let Ok(handshake) = timeout(limits.handshake_timeout, settings.handshake(io)).await else {
        return Ok(());
    };
    let mut connection = handshake?;
    let mut idle_at = Instant::now() + limits.idle_timeout;
    let mut ending = false;
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(accepted) = accepted else { return Ok(()) };
                let (request, respond) = accepted?;
                idle_at = Instant::now() + limits.idle_timeout;
                peer.tasks.spawn(stream(request, respond, peer.clone()));
            }
            () = peer.stop.cancelled(), if !ending => {
                ending = true;
                connection.graceful_shutdown();
            }
            () = sleep_until(idle_at) => {
                if ending && !connection.has_streams() {
                    return Ok(());
                }
                idle_at = Instant::now() + limits.handshake_timeout;
                if !connection.has_streams() {
                    ending = true;
                    connection.graceful_shutdown();
                }
            }
        }
    }
}

/// Answers one request.
async fn stream(request: Request<RecvStream>, respond: SendResponse<Bytes>, peer: Peer) {
    let (parts, body) = request.into_parts();
    let mut reply = if peer.is_admin {
        route_admin(&peer.site, &parts, Incoming(body)).await
    } else {
        route(&peer.site, &parts, Incoming(body)).await
    };
    // RFC 9110 §6.6.1; of HTTP/1.1 hyper takes care.
    set(
        &mut reply,
        DATE,
        httpdate::fmt_http_date(peer.site.service.now().into()),
    );
    let patience = peer.site.service.config().limits.body_timeout;
    if let Err(error) = send(respond, reply, parts.method == Method::HEAD, patience).await {
        tracing::debug!(%error, "HTTP/2 stream ended");
    }
}

/// Sends a reply. Data is handed over only as the peer makes room for it, and
/// a peer that makes none for `patience` is given up.
async fn send(
    mut respond: SendResponse<Bytes>,
    reply: Reply,
    is_head: bool,
    patience: Duration,
) -> Result<(), h2::Error> {
    let (parts, body) = reply.into_parts();
    let mut body = match body.collect().await {
        Ok(body) if !is_head => body.to_bytes(),
        _ => Bytes::new(),
    };
    let mut stream = respond.send_response(Response::from_parts(parts, ()), body.is_empty())?;
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        match timeout(patience, capacity(&mut stream)).await {
            Ok(Some(room)) => {
                let chunk = body.split_to(room?.min(body.len()));
                stream.send_data(chunk, body.is_empty())?;
            }
            Ok(None) => return Ok(()),
            Err(_) => {
                stream.send_reset(Reason::CANCEL);
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn capacity(stream: &mut SendStream<Bytes>) -> Option<Result<usize, h2::Error>> {
    std::future::poll_fn(|context| stream.poll_capacity(context)).await
}

/// A request's body; what was read makes room for more.
struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(data) = ready!(self.0.poll_data(context)) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(data.and_then(|data| {
            self.0.flow_control().release_capacity(data.len())?;
            Ok(Frame::data(data))
        })))
    }
}
