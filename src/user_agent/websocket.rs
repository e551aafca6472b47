//! The push WebSocket protocol: drives a [`Session`] over one WebSocket.

mod end;

use std::collections::BTreeMap;
use std::future::ready;
use std::net::IpAddr;
use std::sync::Arc;

use bugle_protocol::session::{Close, Command, Session, SessionSettings, Timeout};
use bugle_protocol::websocket::{AckUpdate, ServerMessage};
use bugle_protocol::{ChannelId, PublicKey, PushMessage, Uaid, UnixTime, Urgency};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::sync::CancellationToken;

use self::end::End;
use super::cursor::Cursor;
use crate::broadcasts::Followed;
use crate::clients::{Mail, Registration};
use crate::config::Config;
use crate::http::Site;
use crate::service::Handover;
use crate::store::{Batch, Filter};

/// One read of the log and the frames it becomes: what is in memory at one
/// time for a connection that has much to receive.
const BATCH: Batch = Batch {
    messages: 32,
    bytes: 64 << 10,
};

/// How much is read at one time: one ack. It stays allocated, and grows with
/// what the user agent sends.
const READ_BUFFER: usize = 256;

/// The times and bounds of the sessions of a service.
pub fn session_settings(config: &Config) -> SessionSettings {
    SessionSettings {
        hello_timeout: config.user_agent.hello_timeout,
        ping_interval: config.user_agent.ping_interval,
        pong_timeout: config.user_agent.pong_timeout,
        min_ping_interval: config.user_agent.min_ping_interval,
        window_messages: config.user_agent.window_messages,
        window_bytes: config.user_agent.window_bytes,
        window_patience: config.user_agent.window_patience,
    }
}

/// Opens a connection whose handshake is done; `read` is what came after that.
/// Waits for its hello and answers it; `None` when it has ended before. `stop`
/// ends it until then, and afterwards what its mailbox is told.
pub async fn open<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    read: Vec<u8>,
    site: Arc<Site>,
    settings: Arc<SessionSettings>,
    address: IpAddr,
    stop: &CancellationToken,
) -> Option<(Connection<IO>, Owner)> {
    let frame_bytes = site.service.config().limits.frame_bytes;
    // The defaults take 128 KiB for each connection, idle or not.
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(frame_bytes))
        .max_frame_size(Some(frame_bytes));
    site.service.metrics().user_agents.inc();
    let mut connection = Connection {
        socket: WebSocketStream::from_partially_read(io, read, Role::Server, Some(config)).await,
        session: Session::new(settings, Instant::now().into_std()),
        since: site.service.now(),
        site,
        cursor: Cursor::new(),
        accepted: None,
        followed: Followed::default(),
    };
    match connection.hello(address, stop).await {
        Ok(owner) => Some((connection, owner)),
        Err(end) => {
            connection.end(end).await;
            None
        }
    }
}

/// Whose a connection is, and what is told to it.
pub struct Owner {
    uaid: Uaid,
    /// Where its client is.
    address: IpAddr,
    registration: Registration,
}

/// What a connection waits for after `hello`.
enum Event {
    /// A frame came, or there will be none any more.
    Frame(Option<Result<Message, SocketError>>),
    /// Something is in the mailbox.
    Mail(Mail),
    /// There is something to send, and room for it.
    Room,
    /// The session's time has come.
    Timeout,
}

/// A user agent that is connected by a WebSocket.
pub struct Connection<IO> {
    socket: WebSocketStream<IO>,
    session: Session,
    site: Arc<Site>,
    /// When the connection began.
    since: UnixTime,
    cursor: Cursor,
    /// When the first of what is after that was accepted, if it came meanwhile.
    accepted: Option<Instant>,
    followed: Followed,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Connection<IO> {
    /// Serves the connection until it ends.
    ///
    /// Boxed is what does not wait for long: a future takes as much as its
    /// largest state, and the one in which a connection is idle is the smallest
    /// of them. An `async fn` would hold its arguments twice.
    #[expect(clippy::manual_async_fn, reason = "a block takes less memory")]
    pub fn serve(&mut self, owner: Owner) -> impl Future<Output = ()> + Send
    where
        IO: Send,
    {
        async move {
            let end = loop {
                let may_send = self.cursor.behind && self.session.room().is_some();
                let event = tokio::select! {
                    biased;
                    frame = self.socket.next() => Event::Frame(frame),
                    mail = owner.registration.mail() => Event::Mail(mail),
                    () = ready(()), if may_send => Event::Room,
                    () = sleep_until(self.session.next_timeout().into()) => Event::Timeout,
                };
                if let Err(end) = Box::pin(self.handle(&owner, event)).await {
                    break end;
                }
            };
            drop(owner);
            Box::pin(self.end(end)).await;
        }
    }

    /// Waits for `hello` and answers it. The mailbox is registered before the
    /// log is first read, so that nothing falls between.
    async fn hello(&mut self, address: IpAddr, stop: &CancellationToken) -> Result<Owner, End> {
        loop {
            let command = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Close::GoingAway.into()),
                frame = self.socket.next() => self.receive(frame).await?,
                () = sleep_until(self.session.next_timeout().into()) => {
                    self.timeout().await?;
                    None
                }
            };
            if let Some(Command::Connect { uaid, broadcasts }) = command {
                let (uaid, registration) = self.site.service.connect(uaid).await?;
                let news = self.follow(&broadcasts);
                self.send(&ServerMessage::hello(uaid, news)).await?;
                let uaid = uaid.digest();
                return Ok(Owner {
                    uaid,
                    address,
                    registration,
                });
            }
        }
    }

    async fn handle(&mut self, owner: &Owner, event: Event) -> Result<(), End> {
        match event {
            Event::Frame(frame) => self.answer(owner, frame).await,
            Event::Mail(mail) => self.open(owner.uaid, mail).await,
            Event::Room => self.deliver(owner.uaid).await,
            Event::Timeout => self.timeout().await,
        }
    }

    /// Reads a frame. The answer to a Ping, which the library has made, goes
    /// out before the next frame is read: it would keep any number of them for
    /// a peer that sends pings and does not read.
    async fn receive(
        &mut self,
        frame: Option<Result<Message, SocketError>>,
    ) -> Result<Option<Command>, End> {
        let now = Instant::now().into_std();
        match frame.ok_or(End::Lost)?? {
            Message::Text(text) => Ok(Some(self.session.receive(&text, now)?)),
            Message::Binary(_) => Err(Close::Binary.into()),
            Message::Close(_) => Err(Close::Normal.into()),
            Message::Ping(_) => {
                self.session.heard(now);
                self.flush().await?;
                Ok(None)
            }
            Message::Pong(_) | Message::Frame(_) => {
                self.session.heard(now);
                Ok(None)
            }
        }
    }

    /// Does what a frame asks for.
    async fn answer(
        &mut self,
        owner: &Owner,
        frame: Option<Result<Message, SocketError>>,
    ) -> Result<(), End> {
        match self.receive(frame).await? {
            Some(Command::Subscribe { channel, key }) => self.subscribe(owner, channel, key).await,
            Some(Command::Unsubscribe { channel }) => self.unsubscribe(owner, channel).await,
            Some(Command::Acknowledge(updates)) => {
                self.acknowledge(owner.uaid, updates).await;
                Ok(())
            }
            Some(Command::Filter { min }) => self.filter(min).await,
            Some(Command::FollowBroadcasts(wanted)) => {
                let news = self.follow(&wanted);
                self.announce(news).await
            }
            Some(Command::Reply(message)) => self.send(&message).await,
            Some(Command::Nacked) => {
                self.site.service.metrics().nacks.inc();
                Ok(())
            }
            Some(Command::Ignored) => {
                self.site.service.metrics().ignored.inc();
                Ok(())
            }
            // The session lets hello through only once, and that was answered.
            Some(Command::Connect { .. }) | None => Ok(()),
        }
    }

    async fn subscribe(
        &mut self,
        owner: &Owner,
        channel: ChannelId,
        key: Option<PublicKey>,
    ) -> Result<(), End> {
        let (uaid, address) = (owner.uaid, owner.address);
        let subscribed = self.site.service.subscribe(uaid, channel, key, address);
        let (status, push_endpoint) = match subscribed.await {
            Ok(endpoint) => (200, Some(endpoint)),
            Err(error) => {
                self.site.service.metrics().refuse(error.label());
                (error.user_agent_status(), None)
            }
        };
        let channel_id = channel.to_string();
        self.send(&ServerMessage::Register {
            channel_id,
            status,
            push_endpoint,
        })
        .await
    }

    async fn unsubscribe(&mut self, owner: &Owner, channel: ChannelId) -> Result<(), End> {
        let (uaid, address) = (owner.uaid, owner.address);
        let ended = self.site.service.unsubscribe(uaid, channel, address).await;
        let status = ended.map_or_else(|error| error.user_agent_status(), |()| 200);
        self.send(&ServerMessage::Unregister {
            channel_id: channel.to_string(),
            status,
        })
        .await
    }

    async fn acknowledge(&mut self, uaid: Uaid, updates: Vec<AckUpdate>) {
        let service = &self.site.service;
        for id in service.acknowledge(uaid, &updates).await {
            let in_flight = self.session.settle(id, Instant::now().into_std());
            in_flight.inspect(|took| service.metrics().ack.record(*took));
        }
    }

    /// Sets the least urgency that is sent. What a higher one has held back is
    /// sent now.
    async fn filter(&mut self, min: Urgency) -> Result<(), End> {
        self.cursor.filter(min);
        self.send(&ServerMessage::Urgency { status: 200 }).await
    }

    /// Follows these broadcasts too, and gives what the user agent lacks of
    /// all that it follows.
    fn follow(&mut self, wanted: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let broadcasts = self.site.service.broadcasts();
        self.followed.follow(&broadcasts, wanted);
        self.followed.news(&broadcasts)
    }

    async fn announce(&mut self, broadcasts: BTreeMap<String, String>) -> Result<(), End> {
        if broadcasts.is_empty() {
            return Ok(());
        }
        self.send(&ServerMessage::Broadcast { broadcasts }).await
    }

    /// Looks at what the mailbox brought.
    async fn open(&mut self, uaid: Uaid, mail: Mail) -> Result<(), End> {
        if let Some(close) = mail.close {
            return Err(close.into());
        }
        if mail.log {
            self.cursor.behind = true;
            self.accepted = self.accepted.or(mail.since);
        }
        let handover = Handover::now(mail.since);
        for message in mail.live {
            if message.urgency >= self.cursor.min() {
                self.notify(uaid, &message, handover).await?;
            } else {
                self.site.service.pass_over(uaid, message.id).await;
            }
        }
        if mail.broadcasts {
            let news = self.followed.news(&self.site.service.broadcasts());
            self.announce(news).await?;
        }
        Ok(())
    }

    /// Sends the next messages of the log, as many as the window has room for.
    async fn deliver(&mut self, uaid: Uaid) -> Result<(), End> {
        let Some(room) = self.session.room() else {
            return Ok(());
        };
        let batch = Batch {
            messages: room.messages.min(BATCH.messages),
            bytes: room.bytes.min(BATCH.bytes),
        };
        let filter = Filter {
            min_urgency: self.cursor.min(),
            ..Filter::NONE
        };
        let after = self.cursor.after();
        let messages = match self.site.service.pending(uaid, after, filter, batch).await {
            // All are woken when the store returns.
            Err(_) if !self.site.service.store_is_well() => Vec::new(),
            read => read?,
        };
        self.cursor.behind = !messages.is_empty();
        let handover = Handover::now(self.accepted.take());
        for message in &messages {
            if self.cursor.pass(message.id, message.urgency) {
                self.notify(uaid, message, handover).await?;
            }
        }
        Ok(())
    }

    async fn notify(
        &mut self,
        uaid: Uaid,
        message: &PushMessage,
        handover: Handover,
    ) -> Result<(), End> {
        let version = self.site.service.version(uaid, message.id);
        self.send(&ServerMessage::notification(message, version))
            .await?;
        let written = Instant::now();
        self.session
            .sent(message.id, message.size(), written.into_std());
        self.site
            .service
            .delivered(message, self.since, handover, written);
        Ok(())
    }

    async fn timeout(&mut self) -> Result<(), End> {
        match self.session.on_timeout(Instant::now().into_std()) {
            Some(Timeout::Close(close)) => Err(close.into()),
            Some(Timeout::Ping) => self.write(Message::Ping(Bytes::new())).await,
            Some(Timeout::Room) | None => Ok(()),
        }
    }

    async fn send(&mut self, message: &ServerMessage) -> Result<(), End> {
        self.write(Message::text(message.print())).await
    }

    /// Writes a frame; a peer that does not read for `user_agent.write_timeout`
    /// is given up.
    async fn write(&mut self, frame: Message) -> Result<(), End> {
        let patience = self.site.service.config().user_agent.write_timeout;
        match timeout(patience, self.socket.send(frame)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(self.stuck()),
        }
    }

    /// Writes what the library has made, within the same time.
    async fn flush(&mut self) -> Result<(), End> {
        let patience = self.site.service.config().user_agent.write_timeout;
        match timeout(patience, self.socket.flush()).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(self.stuck()),
        }
    }

    fn stuck(&self) -> End {
        self.site.service.metrics().cut("user_agent.write_timeout");
        End::Lost
    }
}
