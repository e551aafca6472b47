//! The push WebSocket protocol: drives a [`Session`] over one WebSocket.

mod acks;
mod delivery;
mod end;
mod reading;

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::session::{Close, Command, RegisterError, Session, SessionSettings, Timeout};
use bugle_protocol::websocket::ServerMessage;
use bugle_protocol::window::Window;
use bugle_protocol::{ChannelId, PublicKey, Resource, Uaid, Urgency, WireUaid};
use futures_util::{FutureExt, SinkExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

use self::end::End;
use self::reading::{Counted, Reading};
use super::drain::{Drain, Next};
use crate::app::App;
use crate::config::{Config, Limit};
use crate::random::random;
use crate::service::Error;
use crate::service::registry::{Ended, Registration};
use crate::store::broadcasts::Followed;

/// The size of one read in bytes, enough for one ack. The buffer stays allocated, and grows with
/// larger messages.
const READ_BUFFER: usize = 256;

/// The bytes allowed up to the end of `hello` in addition to its own message: frame headers, and
/// what a proxy or a library sends first.
const BEFORE_HELLO: usize = 4 << 10;

/// The timeouts and limits of all sessions of a service, except those of the window.
pub fn session_settings(config: &Config) -> SessionSettings {
    let frame_bytes = config.limits.frame_bytes;
    SessionSettings {
        frame_rate: config.limits.frame_rate,
        frame_burst: config.limits.frame_burst,
        hello_bytes: u32::try_from(frame_bytes.saturating_add(BEFORE_HELLO)).unwrap_or(u32::MAX),
        hello_timeout: config.user_agent.hello_timeout,
        ping_interval: config.user_agent.ping_interval,
        pong_timeout: config.user_agent.pong_timeout,
        min_ping_interval: config.user_agent.min_ping_interval,
    }
}

/// Opens a connection after its handshake: waits for `hello` and answers it. `read` has the bytes
/// already received after the handshake; `address` is the client's. Returns `None` if the
/// connection ends before `hello`. `stop` ends the connection until then, the mailbox afterwards.
pub async fn open<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    read: Vec<u8>,
    app: Arc<App>,
    settings: Arc<SessionSettings>,
    address: IpAddr,
    stop: &CancellationToken,
) -> Option<(Connection<IO>, Owner)> {
    let frame_bytes = app.service.config().limits.frame_bytes;
    // The default buffers take 128 KiB per connection, even if it is idle.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes));
    let io = Counted::new(io, read.len());
    let socket = WebSocketStream::from_partially_read(io, read, Role::Server, Some(config)).await;
    app.service.metrics().user_agents.inc();
    let mut connection = Connection {
        socket,
        session: Session::new(settings, Instant::now().into_std()),
        app,
        followed: Followed::default(),
    };
    match connection.hello(address, stop).await {
        Ok(owner) => Some((connection, owner)),
        Err(end) => {
            connection.end(end, None).await;
            None
        }
    }
}

/// The log of a connection, opened by `hello`.
pub struct Owner {
    drain: Drain,
}

impl Owner {
    /// The user agent of the connection. A WebSocket always reads the log of one.
    fn uaid(&self) -> Result<Uaid, End> {
        let messages = self.drain.registration.reader().messages();
        messages.map(|(uaid, _)| uaid).ok_or(End::Lost)
    }
}

/// What a connection waits for after `hello`.
enum Event {
    /// The drain has something to do, or a timeout of the session has expired.
    Next(Result<Next, Error>),
    /// The peer has sent something.
    Read(Reading),
}

/// A user agent connected by a WebSocket. A gauge counts it until it is dropped.
pub struct Connection<IO> {
    socket: WebSocketStream<Counted<IO>>,
    session: Session,
    app: Arc<App>,
    followed: Followed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Serves the connection until it ends.
    ///
    /// The drain, and in it the mailbox, is polled before the peer's frames. So a peer that never
    /// stops sending can be closed too, and no frame is processed after that. The window bounds
    /// what the drain sends, so frames are not starved.
    ///
    /// Futures that do not wait for long are boxed: a future is as large as its largest state, and
    /// the idle state is the smallest one. An `async fn` would store its arguments twice.
    #[expect(clippy::manual_async_fn, reason = "a block takes less memory")]
    pub fn serve(&mut self, mut owner: Owner) -> impl Future<Output = ()> + Send
    where
        IO: Send,
    {
        async move {
            let end = loop {
                let (until, may_read) = self.next_wait();
                // A block, so that the event does not outlive the `match`.
                let handled = {
                    let event = tokio::select! {
                        biased;
                        next = owner.drain.next(until) => Event::Next(next),
                        read = poll_fn(|context| self.poll_read(context)), if may_read => Event::Read(read),
                    };
                    match event {
                        Event::Next(next) => self.deliver(&mut owner.drain, next).boxed(),
                        Event::Read(read) => self.answer(&mut owner, read).boxed(),
                    }
                };
                if let Err(end) = handled.await {
                    break end;
                }
            };
            owner.drain.registration.unregister();
            Box::pin(self.end(end, Some(&mut owner.drain))).await;
        }
    }

    /// Waits for `hello` and answers it.
    async fn hello(&mut self, address: IpAddr, stop: &CancellationToken) -> Result<Owner, End> {
        loop {
            let (until, may_read) = self.next_wait();
            let command = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Close::GoingAway.into()),
                () = sleep_until(until) => {
                    self.timeout().await?;
                    None
                }
                read = poll_fn(|context| self.poll_read(context)), if may_read => {
                    self.receive(read).await?
                }
            };
            if let Some(Command::Connect { uaid, broadcasts }) = command {
                let (uaid, registration) = self.connect(uaid, address).await?;
                let window = Window::new(Arc::clone(&self.app.window));
                let drain = Drain::new(&self.app, registration, Some(window), Urgency::VeryLow);
                let updates = self.follow(&broadcasts);
                self.send(&ServerMessage::hello(uaid, updates)).await?;
                return Ok(Owner { drain });
            }
        }
    }

    /// Connects the user agent under the uaid that it sent if the service knows it, else a new one.
    async fn connect(
        &self,
        claimed: Option<WireUaid>,
        address: IpAddr,
    ) -> Result<(WireUaid, Registration), End> {
        let new = WireUaid::from_bytes(random());
        let known = claimed.as_ref().map(WireUaid::digest);
        let connected = self.app.service.connect(known, new.digest(), address);
        let (is_known, registration) = connected.await?;
        Ok((claimed.filter(|_| is_known).unwrap_or(new), registration))
    }

    /// Processes a frame. The library answers a Ping with a Pong, which is flushed before the next
    /// frame is read: otherwise the library would queue Pongs without a limit for a peer that does
    /// not read.
    async fn receive(&mut self, read: Reading) -> Result<Option<Command>, End> {
        let now = Instant::now().into_std();
        match read.frame()? {
            Some(Message::Text(text)) => Ok(Some(self.session.receive(&text, now)?)),
            Some(Message::Binary(_)) => Err(Close::Binary.into()),
            Some(Message::Close(_)) => Err(Close::Normal.into()),
            Some(Message::Ping(_)) => {
                self.session.frame_received(now)?;
                self.flush().await?;
                Ok(None)
            }
            Some(Message::Pong(_) | Message::Frame(_)) => {
                self.session.frame_received(now)?;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// Processes a frame after `hello` and answers it.
    async fn answer(&mut self, owner: &mut Owner, read: Reading) -> Result<(), End> {
        match self.receive(read).await? {
            Some(Command::Subscribe { channel, key }) => self.subscribe(owner, channel, key).await,
            Some(Command::RefuseSubscription { channel_id, why }) => {
                self.refuse_subscription(channel_id, why).await
            }
            Some(Command::Unsubscribe { channel }) => self.unsubscribe(owner, channel).await,
            Some(Command::Acknowledge(updates)) => {
                acks::acknowledge(&mut owner.drain, &updates).await;
                Ok(())
            }
            Some(Command::Filter { min }) => {
                owner.drain.filter(min);
                self.send(&ServerMessage::Urgency { status: 200 }).await
            }
            Some(Command::FollowBroadcasts(wanted)) => {
                let updates = self.follow(&wanted);
                self.announce(updates).await
            }
            Some(Command::Reply(message)) => self.send(&message).await,
            Some(Command::Nacked) => {
                self.app.service.metrics().nacks.inc();
                Ok(())
            }
            Some(Command::Ignored) => {
                self.app.service.metrics().ignored.inc();
                Ok(())
            }
            // The session allows one `hello`, which is already answered.
            Some(Command::Connect { .. }) | None => Ok(()),
        }
    }

    async fn subscribe(
        &mut self,
        owner: &Owner,
        channel: ChannelId,
        key: Option<PublicKey>,
    ) -> Result<(), End> {
        let connection = &owner.drain.registration;
        let (uaid, address) = (owner.uaid()?, connection.address());
        let subscribed = self.app.service.subscribe(uaid, channel, key, connection);
        let (status, push_endpoint) = match subscribed.await {
            Ok(endpoint) => {
                let url = self.app.service.url(&Resource::Push(endpoint));
                (200, Some(url))
            }
            Err(error) => {
                let status = self.status(&error);
                self.app.count_refusal(&self.app.row(&error));
                log_refusal(status, &error);
                (status, None)
            }
        };
        if connection.closing() == Some(Ended::Removed) {
            // The operator has dropped the user agent meanwhile, so the subscription must not
            // remain. The service counts and logs a failure.
            let _ = self.app.service.unsubscribe(uaid, channel, address).await;
            return Err(Close::Removed.into());
        }
        let channel_id = channel.to_string();
        self.send(&ServerMessage::Register {
            channel_id,
            status,
            push_endpoint,
        })
        .await
    }

    async fn refuse_subscription(
        &mut self,
        channel_id: String,
        why: RegisterError,
    ) -> Result<(), End> {
        let status = 400;
        self.app.service.metrics().refuse("register");
        log_refusal(status, &why);
        self.send(&ServerMessage::Register {
            channel_id,
            status,
            push_endpoint: None,
        })
        .await
    }

    /// The status in the answer to a `register` or `unregister` that the service refused.
    fn status(&self, error: &Error) -> u16 {
        match error {
            Error::Unavailable => 500,
            _ => self.app.row(error).status.as_u16(),
        }
    }

    async fn unsubscribe(&mut self, owner: &Owner, channel: ChannelId) -> Result<(), End> {
        let (uaid, address) = (owner.uaid()?, owner.drain.registration.address());
        let ended = self.app.service.unsubscribe(uaid, channel, address).await;
        let status = ended.map_or_else(|error| self.status(&error), |()| 200);
        self.send(&ServerMessage::Unregister {
            channel_id: channel.to_string(),
            status,
        })
        .await
    }

    async fn timeout(&mut self) -> Result<(), End> {
        match self.session.on_timeout(Instant::now().into_std()) {
            Some(Timeout::Close(close)) => Err(close.into()),
            Some(Timeout::Ping) => self.write(Message::Ping(Bytes::new())).await,
            None => Ok(()),
        }
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        self.write(Message::text(message.print())).await
    }

    /// Writes a frame. The connection is lost if the peer does not read for
    /// `user_agent.write_timeout`.
    async fn write(&mut self, frame: Message) -> Result<(), End> {
        let write_timeout = self.app.service.config().user_agent.write_timeout;
        match timeout(write_timeout, self.socket.send(frame)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(self.stuck()),
        }
    }

    /// Flushes the frames that the library has queued, with the same timeout.
    async fn flush(&mut self) -> Result<(), End> {
        let write_timeout = self.app.service.config().user_agent.write_timeout;
        match timeout(write_timeout, self.socket.flush()).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(self.stuck()),
        }
    }

    fn stuck(&self) -> End {
        self.app.service.metrics().cut(Limit::WriteTimeout);
        End::Lost
    }
}

/// Logs why a `register` is refused, because Firefox tells the page only that it was. The channel
/// is private and is not logged.
fn log_refusal(status: u16, why: &dyn std::error::Error) {
    tracing::info!(status, reason = %why, "a register is refused");
}
