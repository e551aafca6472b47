//! The push WebSocket protocol from the service's side, as a pure state
//! machine: what a connection may say when, what it is answered, how much may
//! be in flight on it, and when it has been silent for too long.
//!
//! It performs nothing: it gives out [`Command`]s, and is told what came of
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::headers::Urgency;
use crate::id::{ChannelId, MessageId, WireUaid};
use crate::key::PublicKey;
use crate::websocket::{
    AckUpdate, ClientMessage, Hello, MessageError, Register, ServerMessage, Unregister,
    UrgencyFilter,
};

/// The times and bounds of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// For how long a new connection may say nothing (WS-T-7).
    pub hello_timeout: Duration,
    /// After how much silence a WebSocket Ping is sent (WS-T-8).
    pub ping_interval: Duration,
    /// How soon anything must come after that Ping.
    pub pong_timeout: Duration,
    /// Pings of the protocol (`{}`) that come faster are not answered (WS-P-2).
    pub min_ping_interval: Duration,
    /// Messages in flight: sent and not acknowledged (WS-N-13).
    pub window_messages: usize,
    /// Octets in flight.
    pub window_bytes: usize,
    /// After how long without an acknowledgement a full window is opened
    /// anew: some user agents never acknowledge (WS-N-18).
    pub window_patience: Duration,
}

/// What the service is to do for a message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Find or make the user agent, then answer with its name.
    Connect {
        /// What the user agent says it is.
        uaid: Option<WireUaid>,
        /// The broadcasts it wants, with the version of each that it has. The
        /// answer holds those that have another.
        broadcasts: BTreeMap<String, String>,
    },
    /// Send these broadcasts, now and whenever the version is another than
    /// the one given (WS-B-1, WS-B-2).
    FollowBroadcasts(BTreeMap<String, String>),
    /// Send only messages of this urgency or a greater one from now on, and
    /// answer (RFC 8030 §5.3, A-19).
    Filter {
        /// The least urgency that is wanted.
        min: Urgency,
    },
    /// Subscribe, then answer.
    Subscribe {
        /// The channel.
        channel: ChannelId,
        /// The application server key that the subscription is restricted to.
        key: Option<PublicKey>,
    },
    /// Unsubscribe, then answer.
    Unsubscribe {
        /// The channel.
        channel: ChannelId,
    },
    /// Remove these messages, and report each by [`Session::settle`].
    Acknowledge(Vec<AckUpdate>),
    /// Send this.
    Reply(ServerMessage),
    /// Count it: a handler failed after the ack (WS-N-16).
    Nacked,
    /// Nothing: messages of this kind are not known here.
    Ignored,
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Close {
    /// The peer closed it.
    #[error("")]
    Normal,
    /// The user agent has connected again (WS-H-12).
    #[error("superseded by a newer connection")]
    Superseded,
    /// What was read is removed (RFC 8030 §7.3).
    #[error("removed")]
    Removed,
    /// The service stops or restarts.
    #[error("going away")]
    GoingAway,
    /// A binary frame (WS-T-4).
    #[error("binary frames have no meaning here")]
    Binary,
    /// A frame or message over `limits.frame_bytes`.
    #[error("message too big")]
    TooBig,
    /// The frames break RFC 6455.
    #[error("WebSocket protocol error")]
    Framing,
    /// The first message was not `hello`.
    #[error("hello expected")]
    HelloExpected,
    /// `hello` came twice.
    #[error("second hello")]
    SecondHello,
    /// A message that cannot be read.
    #[error("{0}")]
    Message(MessageError),
    /// A `channelID` too long to be repeated in an answer.
    #[error("bad channelID")]
    ChannelId,
    /// No `hello` in time.
    #[error("no hello in time")]
    HelloTimeout,
    /// No answer to a WebSocket Ping.
    #[error("no pong in time")]
    PongTimeout,
    /// The service cannot serve this connection now.
    #[error("try again later")]
    Unavailable,
}

impl Close {
    /// The status code of the Close frame (RFC 6455 §7.4).
    pub const fn code(&self) -> u16 {
        match self {
            Self::Normal | Self::Superseded | Self::Removed => 1000,
            Self::GoingAway => 1001,
            Self::Framing => 1002,
            Self::Binary => 1003,
            Self::TooBig => 1009,
            Self::Unavailable => 1013,
            Self::HelloExpected
            | Self::SecondHello
            | Self::Message(_)
            | Self::ChannelId
            | Self::HelloTimeout
            | Self::PongTimeout => 1008,
        }
    }
}

/// What to do when a session's time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Send a WebSocket Ping.
    Ping,
    /// Nothing to send; there is room in the window again.
    Room,
    /// Close the connection.
    Close(Close),
}

/// How much may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Messages.
    pub messages: usize,
    /// Octets; a single message may go over.
    pub bytes: usize,
}

/// A `channelID` that is no UUID is repeated in the answer up to this length.
const ECHO: usize = 64;

/// One connection of one user agent.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    state: State,
    /// When anything last came; before `hello`, when the connection was made.
    heard: Instant,
    pinged: bool,
    /// When a ping of the protocol was last answered.
    answered_ping: Option<Instant>,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// When the window last moved.
    moved: Instant,
}

/// A message that was sent and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    id: MessageId,
    bytes: usize,
    sent: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    AwaitingHello,
    Open,
}

impl Session {
    /// A connection that was made at `now`.
    pub fn new(settings: Arc<SessionSettings>, now: Instant) -> Self {
        Self {
            settings,
            state: State::AwaitingHello,
            heard: now,
            pinged: false,
            answered_ping: None,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            moved: now,
        }
    }

    /// Takes a text frame.
    ///
    /// # Errors
    /// When the protocol is broken, and the connection to be closed.
    pub fn receive(&mut self, text: &str, now: Instant) -> Result<Command, Close> {
        self.heard(now);
        let message = match ClientMessage::parse(text) {
            Ok(message) => message,
            // WS-T-5: clients in the field send kinds that servers do not know.
            Err(MessageError::UnknownType) if self.state == State::Open => {
                return Ok(Command::Ignored);
            }
            Err(error) => return Err(Close::Message(error)),
        };
        match (self.state, message) {
            (State::AwaitingHello, ClientMessage::Hello(hello)) => {
                self.state = State::Open;
                self.heard(now);
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

    /// Says that a frame came. Before `hello` it buys no time.
    pub fn heard(&mut self, now: Instant) {
        if self.state == State::Open {
            self.heard = now;
            self.pinged = false;
        }
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

    /// How much may be sent now; `None` before `hello`, and while the window is
    /// full.
    pub fn room(&self) -> Option<Room> {
        if self.state == State::AwaitingHello {
            return None;
        }
        let messages = self
            .settings
            .window_messages
            .saturating_sub(self.in_flight.len());
        let bytes = self
            .settings
            .window_bytes
            .saturating_sub(self.in_flight_bytes);
        (messages > 0 && bytes > 0).then_some(Room { messages, bytes })
    }

    /// Says that a message of `bytes` octets was sent.
    pub fn sent(&mut self, id: MessageId, bytes: usize, now: Instant) {
        let sent = now;
        self.in_flight.push_back(InFlight { id, bytes, sent });
        self.in_flight_bytes += bytes;
        self.moved = now;
    }

    /// Says that a message needs no acknowledgement any more, and for how long
    /// it was in flight; `None` when it was not.
    pub fn settle(&mut self, id: MessageId, now: Instant) -> Option<Duration> {
        let at = self.in_flight.iter().position(|it| it.id == id)?;
        let InFlight { bytes, sent, .. } = self.in_flight.remove(at)?;
        self.in_flight_bytes -= bytes;
        self.moved = now;
        if self.in_flight.is_empty() {
            // Idle connections are many: give the memory back.
            self.in_flight = VecDeque::new();
        }
        Some(now.duration_since(sent))
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called, unless something
    /// happens before.
    pub fn next_timeout(&self) -> Instant {
        let silence = match (self.state, self.pinged) {
            (State::AwaitingHello, _) => self.settings.hello_timeout,
            (State::Open, false) => self.settings.ping_interval,
            (State::Open, true) => self.settings.ping_interval + self.settings.pong_timeout,
        };
        let silent = self.heard + silence;
        match (self.state, self.room()) {
            (State::Open, None) => silent.min(self.moved + self.settings.window_patience),
            _ => silent,
        }
    }

    /// What has run out at `now`; `None` when nothing has.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Timeout> {
        let silence = now.duration_since(self.heard);
        if self.state != State::Open {
            let late = silence >= self.settings.hello_timeout;
            return late.then_some(Timeout::Close(Close::HelloTimeout));
        }
        if self.pinged && silence >= self.settings.ping_interval + self.settings.pong_timeout {
            return Some(Timeout::Close(Close::PongTimeout));
        }
        if self.room().is_none() && now.duration_since(self.moved) >= self.settings.window_patience
        {
            self.in_flight.clear();
            self.in_flight_bytes = 0;
            return Some(Timeout::Room);
        }
        if !self.pinged && silence >= self.settings.ping_interval {
            self.pinged = true;
            return Some(Timeout::Ping);
        }
        None
    }
}

fn subscribe(Register { channel_id, key }: Register) -> Result<Command, Close> {
    let refuse = |channel_id| {
        let status = 400;
        Command::Reply(ServerMessage::Register {
            channel_id,
            status,
            push_endpoint: None,
        })
    };
    let Ok(channel) = channel_id.parse() else {
        return if channel_id.len() <= ECHO {
            Ok(refuse(channel_id))
        } else {
            Err(Close::ChannelId)
        };
    };
    match key.as_deref().map(PublicKey::from_base64url).transpose() {
        Ok(key) => Ok(Command::Subscribe { channel, key }),
        Err(_) => Ok(refuse(channel_id)),
    }
}

fn unsubscribe(Unregister { channel_id, .. }: Unregister) -> Result<Command, Close> {
    match channel_id.parse() {
        Ok(channel) => Ok(Command::Unsubscribe { channel }),
        Err(_) if channel_id.len() > ECHO => Err(Close::ChannelId),
        // A channel of that name was never there (WS-U-2).
        Err(_) => Ok(Command::Reply(ServerMessage::Unregister {
            channel_id,
            status: 200,
        })),
    }
}
