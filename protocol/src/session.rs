//! The service's side of the push WebSocket protocol as a pure state machine: which messages a
//! connection may send, the responses, and the timeouts. The messages in flight are bounded by a
//! [`Window`](crate::window::Window), which other transports have too.
//!
//! A session performs no effects: it returns [`Command`]s, and its caller reports their results.

mod bucket;
mod close;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::headers::Urgency;
use crate::id::{ChannelId, IdError, WireUaid};
use crate::key::{KeyError, PublicKey};
use crate::websocket::{
    AckUpdate, ClientMessage, Hello, MessageError, Register, ServerMessage, Unregister,
    UrgencyFilter,
};

pub(crate) use self::bucket::Bucket;

pub use self::close::Close;

/// The timeouts and limits of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// How long a new connection may take to send `hello` (WS-T-7).
    pub hello_timeout: Duration,
    /// Idle time before a WebSocket Ping is sent (WS-T-8).
    pub ping_interval: Duration,
    /// How long after that Ping anything must be received.
    pub pong_timeout: Duration,
    /// Minimum interval of protocol pings (`{}`); faster ones get no response (WS-P-2).
    pub min_ping_interval: Duration,
    /// Maximum rate of received frames, per second; 0 means no limit. Each KiB counts as one more
    /// frame.
    pub frame_rate: u32,
    /// Burst of received frames.
    pub frame_burst: u32,
    /// Maximum number of bytes received up to the end of `hello`.
    pub hello_bytes: u32,
}

/// What the service must do for a received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Look up or create the user agent, then send its id.
    Connect {
        /// The id that the user agent sent.
        uaid: Option<WireUaid>,
        /// The broadcasts that it wants, with the versions that it has. The response contains those
        /// whose version differs.
        broadcasts: BTreeMap<String, String>,
    },
    /// Send these broadcasts, now and whenever their version differs from the given one (WS-B-1,
    /// WS-B-2).
    FollowBroadcasts(BTreeMap<String, String>),
    /// From now on send only messages of at least this urgency, and respond (RFC 8030 §5.3, A-19).
    Filter {
        /// The minimum urgency.
        min: Urgency,
    },
    /// Subscribe, then respond.
    Subscribe {
        /// The channel.
        channel: ChannelId,
        /// The application server key to which the subscription is restricted.
        key: Option<PublicKey>,
    },
    /// Respond to a malformed `register` with status 400 (WS-R-2, WS-R-8).
    RefuseSubscription {
        /// The channel, as sent.
        channel_id: String,
        /// Why it is malformed.
        why: RegisterError,
    },
    /// Unsubscribe, then respond.
    Unsubscribe {
        /// The channel.
        channel: ChannelId,
    },
    /// Remove these messages from the log and from the [`Window`](crate::window::Window).
    Acknowledge(Vec<AckUpdate>),
    /// Send this message.
    Reply(ServerMessage),
    /// Count a failure that a page's handler reported after the ack (WS-N-16).
    Nacked,
    /// Do nothing: the message type is unknown.
    Ignored,
}

/// Why a `register` is malformed. It does not repeat the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The `channelID` is not a UUID.
    #[error(transparent)]
    ChannelId(#[from] IdError),
    /// The `key` is not an application server key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What to do when a timeout has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Send a WebSocket Ping.
    Ping,
    /// Close the connection.
    Close(Close),
}

/// Maximum length of a malformed `channelID` that is repeated in a response.
const ECHO: usize = 64;

/// Maximum number of control frames before `hello`. User agents send none.
const FRAMES_BEFORE_HELLO: u8 = 16;

/// One connection of one user agent.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    state: State,
    /// When anything was last received; before `hello`, when the connection was made.
    last_frame: Instant,
    pinged: bool,
    is_paused: bool,
    /// Control frames and bytes received before `hello`.
    frames_before_hello: u8,
    bytes_before_hello: u32,
    /// When a protocol ping last got a response.
    answered_ping: Option<Instant>,
    bucket: Bucket,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitingHello,
    Open,
}

impl Session {
    /// Starts a session for a connection made at `now`.
    pub fn new(settings: Arc<SessionSettings>, now: Instant) -> Self {
        Self {
            settings,
            state: State::AwaitingHello,
            last_frame: now,
            pinged: false,
            is_paused: false,
            frames_before_hello: 0,
            bytes_before_hello: 0,
            answered_ping: None,
            bucket: Bucket::new(now),
        }
    }

    /// Processes a text frame.
    ///
    /// # Errors
    /// If the frame violates the protocol; close the connection then.
    pub fn receive(&mut self, text: &str, now: Instant) -> Result<Command, Close> {
        self.frame(now);
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            // WS-T-5: clients in the field send types that servers do not know.
            Err(MessageError::UnknownType) if self.state == State::Open => {
                return Ok(Command::Ignored);
            }
            Err(error) => return Err(Close::Message(error)),
        };
        match (self.state, message) {
            (State::AwaitingHello, ClientMessage::Hello(hello)) => {
                self.state = State::Open;
                self.last_frame = now;
                let Hello { uaid, broadcasts } = hello;
                Ok(Command::Connect { uaid, broadcasts })
            }
            (State::AwaitingHello, _) => Err(Close::HelloExpected),
            (_, ClientMessage::Hello(_)) => Err(Close::SecondHello),
            (_, ClientMessage::Register(register)) => subscribe(register),
            (_, ClientMessage::Unregister(unregister)) => unsubscribe(unregister),
            (_, ClientMessage::Ack(ack)) => Ok(Command::Acknowledge(ack.updates)),
            (_, ClientMessage::Ping) => Ok(self.ping(now)),
            (_, ClientMessage::Nack(_)) => Ok(Command::Nacked),
            (_, ClientMessage::BroadcastSubscribe(wanted)) => {
                Ok(Command::FollowBroadcasts(wanted.broadcasts))
            }
            (_, ClientMessage::Urgency(UrgencyFilter { min })) => Ok(match min {
                Some(min) => Command::Filter { min },
                None => Command::Reply(ServerMessage::Urgency { status: 400 }),
            }),
        }
    }

    /// Records a control frame. Before `hello` it does not extend the timeout.
    ///
    /// # Errors
    /// If too many arrive before `hello`.
    pub fn frame_received(&mut self, now: Instant) -> Result<(), Close> {
        self.frame(now);
        if self.state == State::Open {
            return Ok(());
        }
        self.frames_before_hello += 1;
        match self.frames_before_hello > FRAMES_BEFORE_HELLO {
            true => Err(Close::HelloExpected),
            false => Ok(()),
        }
    }

    fn frame(&mut self, now: Instant) {
        self.bucket.charge(&self.settings, 1, 0, now);
        if self.state == State::Open {
            self.last_frame = now;
            self.pinged = false;
        }
    }

    /// Records bytes read, of any frames.
    ///
    /// # Errors
    /// If too many arrive before `hello`.
    pub fn read(&mut self, bytes: usize, now: Instant) -> Result<(), Close> {
        self.bucket.charge(&self.settings, 0, bytes, now);
        if self.state == State::Open {
            return Ok(());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes_before_hello = self.bytes_before_hello.saturating_add(bytes);
        match self.bytes_before_hello > self.settings.hello_bytes {
            true => Err(Close::TooBig),
            false => Ok(()),
        }
    }

    /// Until when reading must pause because the peer exceeds its rate; `None` if it may be read
    /// now.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.bucket.empty_until(&self.settings, now)
    }

    fn ping(&mut self, now: Instant) -> Command {
        let least = self.settings.min_ping_interval;
        if self
            .answered_ping
            .is_some_and(|last| now.duration_since(last) < least)
        {
            return Command::Ignored;
        }
        self.answered_ping = Some(now);
        Command::Reply(ServerMessage::Pong)
    }

    /// Whether reading must pause now, and did not at the last call.
    pub fn pause_begins(&mut self, now: Instant) -> bool {
        let is_paused = self.paused_until(now).is_some();
        let was_paused = std::mem::replace(&mut self.is_paused, is_paused);
        is_paused && !was_paused
    }

    /// When [`on_timeout`](Self::on_timeout) must be called, unless another event comes first.
    pub fn next_timeout(&self) -> Instant {
        let silence = match (self.state, self.pinged) {
            (State::AwaitingHello, _) => self.settings.hello_timeout,
            (State::Open, false) => self.settings.ping_interval,
            (State::Open, true) => self.settings.ping_interval + self.settings.pong_timeout,
        };
        self.last_frame + silence
    }

    /// The action for a timeout that has expired at `now`, if any.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Timeout> {
        let silence = now.duration_since(self.last_frame);
        if self.state != State::Open {
            let late = silence >= self.settings.hello_timeout;
            return late.then_some(Timeout::Close(Close::HelloTimeout));
        }
        if self.pinged && silence >= self.settings.ping_interval + self.settings.pong_timeout {
            return Some(Timeout::Close(Close::PongTimeout));
        }
        if !self.pinged && silence >= self.settings.ping_interval {
            self.pinged = true;
            return Some(Timeout::Ping);
        }
        None
    }
}

fn subscribe(Register { channel_id, key }: Register) -> Result<Command, Close> {
    let refuse = |channel_id: String, why| match channel_id.len() {
        0..=ECHO => Ok(Command::RefuseSubscription { channel_id, why }),
        _ => Err(Close::ChannelId),
    };
    let channel = match channel_id.parse() {
        Ok(channel) => channel,
        Err(error) => return refuse(channel_id, RegisterError::ChannelId(error)),
    };
    match key.as_deref().map(PublicKey::from_base64url).transpose() {
        Ok(key) => Ok(Command::Subscribe { channel, key }),
        Err(error) => refuse(channel_id, error.into()),
    }
}

fn unsubscribe(Unregister { channel_id, .. }: Unregister) -> Result<Command, Close> {
    match channel_id.parse() {
        Ok(channel) => Ok(Command::Unsubscribe { channel }),
        Err(_) if channel_id.len() > ECHO => Err(Close::ChannelId),
        // No such channel can exist (WS-U-2).
        Err(_) => Ok(Command::Reply(ServerMessage::Unregister {
            channel_id,
            status: 200,
        })),
    }
}
