//! The push WebSocket protocol from the service's side, as a pure state
//! machine: what a connection may say when, what it is answered, how much may
//! be in flight on it, and when it has been silent for too long.
//!
//! It performs nothing: it gives out [`Command`]s, and is told what came of
//! them.

mod bucket;
mod close;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::headers::Urgency;
use crate::id::{ChannelId, IdError, MessageId, WireUaid};
use crate::key::{KeyError, PublicKey};
use crate::websocket::{
    AckUpdate, ClientMessage, Hello, MessageError, Register, ServerMessage, Unregister,
    UrgencyFilter,
};

use self::bucket::Bucket;
use self::window::Window;

pub use self::close::Close;
pub use self::window::{ack_frame_bytes, acks_in};

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
    /// Messages in flight over all reopened windows: as many as one `ack` frame
    /// can answer ([`acks_in`]). At least 1.
    pub unacknowledged: usize,
    /// For how long a user agent may collect acknowledgements. A message that
    /// was sent so long ago counts as in flight no more.
    pub ack_patience: Duration,
    /// Frames per second that are read; 0 for no limit. Each KiB counts as one
    /// more.
    pub frame_rate: u32,
    /// How many of them may come at once after a time without any.
    pub frame_burst: u32,
    /// Bytes that may come before the end of `hello`.
    pub hello_bytes: u32,
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
    /// Answer a `register` that cannot be read with status 400 (WS-R-2, WS-R-8).
    RefuseSubscription {
        /// The channel, as sent.
        channel_id: String,
        /// What is wrong with it.
        why: RegisterError,
    },
    /// Unsubscribe, then answer.
    Unsubscribe {
        /// The channel.
        channel: ChannelId,
    },
    /// Remove these messages, and report them by [`Session::settle`].
    Acknowledge(Vec<AckUpdate>),
    /// Send this.
    Reply(ServerMessage),
    /// Count it: a handler failed after the ack (WS-N-16).
    Nacked,
    /// Nothing: messages of this kind are not known here.
    Ignored,
}

/// Why a `register` cannot be read. Repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The `channelID` is no UUID.
    #[error(transparent)]
    ChannelId(#[from] IdError),
    /// The `key` is no application server key.
    #[error(transparent)]
    Key(#[from] KeyError),
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

/// How many control frames may come before `hello`. User agents send none.
const FRAMES_BEFORE_HELLO: u8 = 16;

/// One connection of one user agent.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    state: State,
    /// When anything last came; before `hello`, when the connection was made.
    heard: Instant,
    pinged: bool,
    is_paused: bool,
    /// What has come before `hello`: control frames, and bytes.
    frames_before_hello: u8,
    bytes_before_hello: u32,
    /// When a ping of the protocol was last answered.
    answered_ping: Option<Instant>,
    window: Window,
    bucket: Bucket,
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
            is_paused: false,
            frames_before_hello: 0,
            bytes_before_hello: 0,
            answered_ping: None,
            window: Window::default(),
            bucket: Bucket::new(now),
        }
    }

    /// Takes a text frame.
    ///
    /// # Errors
    /// When the protocol is broken, and the connection to be closed.
    pub fn receive(&mut self, text: &str, now: Instant) -> Result<Command, Close> {
        self.frame(now);
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
                self.heard = now;
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

    /// Says that a control frame came. Before `hello` it buys no time.
    ///
    /// # Errors
    /// When too many come before `hello`.
    pub fn heard(&mut self, now: Instant) -> Result<(), Close> {
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
            self.heard = now;
            self.pinged = false;
        }
    }

    /// Says that so many bytes were read, of whatever frames.
    ///
    /// # Errors
    /// When too many come before `hello`.
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

    /// Until when nothing more is to be read, because the peer sends more than
    /// it may; `None` when it may be read now.
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

    /// Whether reading has to pause and had not when this was last asked.
    pub fn pause_begins(&mut self, now: Instant) -> bool {
        let is_paused = self.paused_until(now).is_some();
        let was_paused = std::mem::replace(&mut self.is_paused, is_paused);
        is_paused && !was_paused
    }

    /// How much may be sent now; `None` before `hello`, and while too much is in
    /// flight.
    pub fn room(&self) -> Option<Room> {
        match self.state {
            State::AwaitingHello => None,
            State::Open => self.window.room(&self.settings),
        }
    }

    /// Whether a message that no log holds may be sent now: it need not fit the
    /// window, and must be one that can be acknowledged.
    pub fn may_send_live(&mut self, now: Instant) -> bool {
        self.window.forget(&self.settings, now);
        self.state == State::Open && self.window.total_room(&self.settings) > 0
    }

    /// Says that a message of `bytes` octets was sent.
    pub fn sent(&mut self, id: MessageId, bytes: usize, now: Instant) {
        self.window.sent(&self.settings, id, bytes, now);
    }

    /// Says that messages need no acknowledgement any more, and gives for how
    /// long each of them was in flight, in no order. Ids that are not in flight
    /// have no effect. Sorts `ids`.
    pub fn settle(&mut self, ids: &mut [MessageId], now: Instant) -> Vec<Duration> {
        self.window.settle(ids, now)
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
        match (self.state, self.window.reopens_at(&self.settings)) {
            (State::Open, Some(at)) => silent.min(at),
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
        if self.window.reopen(&self.settings, now) {
            return Some(Timeout::Room);
        }
        if !self.pinged && silence >= self.settings.ping_interval {
            self.pinged = true;
            self.window.forget(&self.settings, now);
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
        // A channel of that name was never there (WS-U-2).
        Err(_) => Ok(Command::Reply(ServerMessage::Unregister {
            channel_id,
            status: 200,
        })),
    }
}
