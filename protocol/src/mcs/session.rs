//! The service's side of a connection as a pure state machine: the order of messages, which
//! messages the client has confirmed, and the timeouts.
//!
//! Each side numbers the frames that it sends from 1, the login included, and tells the other the
//! number of the last frame that it has processed. That confirms all frames up to it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use prost::Message;

use crate::coding::ContentCoding;
use crate::id::MessageId;
use crate::key::PublicKey;
use crate::push::PushMessage;
use crate::session::{Bucket, SessionSettings};
use crate::time::UnixTime;

use super::close::Close;
use super::frame::{Frame, FrameError, Tag, VERSION};
use super::message::{
    AppData, Close as CloseMessage, DataMessage, ErrorInfo, Heartbeat, HeartbeatConfig, Iq,
    LoginRequest, LoginResponse,
};
use super::registration::Registration;

/// Maximum number of messages that a client has received and not confirmed. A client confirms each
/// at once, so this only bounds the memory of one that never does.
const UNCONFIRMED: usize = 4096;

/// The code of a refused login: the credentials are wrong.
const UNAUTHORIZED: i32 = 401;

/// What the service must do for a received frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Check the credentials, then send the response.
    Login(Login),
    /// Remove these messages from the log, then answer if it was a heartbeat.
    Confirmed {
        /// The messages that the client has received.
        messages: Vec<MessageId>,
        /// Whether to send a [`heartbeat_ack`](Session::heartbeat_ack).
        is_heartbeat: bool,
    },
    /// Do nothing: the type is unknown, or has no meaning for the service.
    Ignored,
}

/// A login.
#[derive(PartialEq, Eq)]
pub struct Login {
    /// The id of the device.
    pub device: u64,
    /// Its security token.
    pub security_token: u64,
    /// The persistent ids of messages that the client has received already.
    pub received: Vec<String>,
}

/// What to do when a timeout has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timeout {
    /// Send a [`heartbeat_ping`](Session::heartbeat_ping).
    Ping,
    /// Close the connection.
    Close(Close),
}

/// One connection of one device.
#[derive(Debug)]
pub struct Session {
    settings: Arc<SessionSettings>,
    is_open: bool,
    has_greeted: bool,
    pinged: bool,
    is_paused: bool,
    /// When anything was last received; before the login, when the connection was made.
    heard: Instant,
    bytes_before_login: u32,
    bucket: Bucket,
    /// Frames sent.
    sent: i32,
    /// Frames received.
    received: i32,
    /// The last of them that the client may forget.
    settled: i32,
    /// Whether messages were confirmed since.
    is_unsettled: bool,
    /// The last frame that the client has confirmed.
    confirmed: i32,
    /// The messages in flight, each with the number of its frame; oldest first.
    in_flight: VecDeque<(i32, MessageId)>,
}

impl Session {
    /// Starts a session for a connection made at `now`. Of the settings of a WebSocket session, the
    /// interval of application pings does not apply.
    pub fn new(settings: Arc<SessionSettings>, now: Instant) -> Self {
        Self {
            settings,
            is_open: false,
            has_greeted: false,
            pinged: false,
            is_paused: false,
            heard: now,
            bytes_before_login: 0,
            bucket: Bucket::new(now),
            sent: 0,
            received: 0,
            settled: 0,
            is_unsettled: false,
            confirmed: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// The longest message that is read, in bytes.
    pub fn longest_frame(&self) -> usize {
        // A login names up to as many messages as an ack of the WebSocket protocol.
        usize::try_from(self.settings.hello_bytes).unwrap_or(usize::MAX)
    }

    /// Records bytes read.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if too many arrive before the login.
    pub fn read(&mut self, bytes: usize, now: Instant) -> Result<(), Close> {
        self.bucket.charge(&self.settings, 0, bytes, now);
        if self.is_open {
            return Ok(());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes_before_login = self.bytes_before_login.saturating_add(bytes);
        match self.bytes_before_login > self.settings.hello_bytes {
            true => {
                let most = usize::try_from(self.settings.hello_bytes).unwrap_or(usize::MAX);
                Err(FrameError::TooLong(most).into())
            }
            false => Ok(()),
        }
    }

    /// Processes a message of a client.
    ///
    /// # Errors
    /// If it violates the protocol; close the connection then.
    pub fn receive(&mut self, tag: u8, message: &[u8], now: Instant) -> Result<Command, Close> {
        self.bucket.charge(&self.settings, 1, 0, now);
        self.received = self.received.saturating_add(1);
        if !self.is_open {
            return match Tag::of(tag) {
                Some(Tag::LoginRequest) => login(message).map(Command::Login),
                _ => Err(Close::LoginExpected),
            };
        }
        self.heard = now;
        self.pinged = false;
        let (up_to, is_heartbeat) = match Tag::of(tag) {
            Some(Tag::HeartbeatPing) => {
                (parsed::<Heartbeat>(message)?.last_stream_id_received, true)
            }
            Some(Tag::HeartbeatAck) => {
                (parsed::<Heartbeat>(message)?.last_stream_id_received, false)
            }
            Some(Tag::Iq) => (parsed::<Iq>(message)?.last_stream_id_received, false),
            Some(Tag::DataMessage) => (
                parsed::<DataMessage>(message)?.last_stream_id_received,
                false,
            ),
            Some(Tag::Close) => return Err(Close::Normal),
            Some(Tag::LoginRequest) => return Err(Close::SecondLogin),
            Some(Tag::LoginResponse | Tag::StreamError) | None => return Ok(Command::Ignored),
        };
        let messages = self.confirm(up_to.unwrap_or(self.confirmed))?;
        Ok(match messages.is_empty() && !is_heartbeat {
            true => Command::Ignored,
            false => Command::Confirmed {
                messages,
                is_heartbeat,
            },
        })
    }

    /// Records that the client has received all frames up to `up_to`. Returns the messages in them
    /// that it had not confirmed before.
    fn confirm(&mut self, up_to: i32) -> Result<Vec<MessageId>, Close> {
        if !(self.confirmed..=self.sent).contains(&up_to) {
            return Err(Close::StreamId);
        }
        self.confirmed = up_to;
        let count = self.in_flight.partition_point(|(frame, _)| *frame <= up_to);
        let messages: Vec<_> = self.in_flight.drain(..count).map(|(_, id)| id).collect();
        if self.in_flight.is_empty() {
            // Most connections are idle.
            self.in_flight = VecDeque::new();
        }
        self.is_unsettled |= !messages.is_empty();
        Ok(messages)
    }

    /// Whether messages were confirmed since the last [`settle`](Self::settle).
    pub const fn is_unsettled(&self) -> bool {
        self.is_unsettled
    }

    /// Records that the removal of all confirmed messages is durable. Only then may the client
    /// forget that it has received them: it does not recognise one that is sent again.
    pub const fn settle(&mut self) {
        self.settled = self.received;
        self.is_unsettled = false;
    }

    /// Opens the session. Returns the bytes that answer the login.
    pub fn accept(&mut self, now: UnixTime) -> Vec<u8> {
        self.is_open = true;
        self.settle();
        let interval = i32::try_from(self.settings.ping_interval.as_millis());
        let response = LoginResponse {
            id: None,
            error: None,
            last_stream_id_received: Some(self.settled),
            heartbeat_config: Some(HeartbeatConfig {
                interval_ms: Some(interval.unwrap_or(i32::MAX)),
            }),
            server_timestamp: Some(millis(now)),
        };
        self.frame(Tag::LoginResponse, &response)
    }

    /// The bytes that refuse a login of a device that this service does not know.
    pub fn refuse(&mut self) -> Vec<u8> {
        let error = ErrorInfo {
            code: Some(UNAUTHORIZED),
            message: Some(Close::UnknownDevice.to_string()),
        };
        let response = LoginResponse {
            error: Some(error),
            ..LoginResponse::default()
        };
        self.frame(Tag::LoginResponse, &response)
    }

    /// The bytes of a message for a registration whose application server key is `key`. The client
    /// drops it in silence, and confirms it, unless all three names are those of the registration.
    ///
    /// # Errors
    /// [`Close::Unconfirmed`] if too many are in flight.
    pub fn deliver(
        &mut self,
        message: &PushMessage,
        (to, key): (&Registration, &PublicKey),
        persistent_id: String,
        now: UnixTime,
    ) -> Result<Vec<u8>, Close> {
        if self.in_flight.len() >= UNCONFIRMED {
            return Err(Close::Unconfirmed);
        }
        let left = message.expires_at.since(now).as_secs();
        let content = message.content.as_ref();
        let data = DataMessage {
            from: Some(key.to_base64url()),
            category: Some(to.names.app().to_owned()),
            app_data: app_data(to, content.and_then(|content| content.coding.as_ref())),
            persistent_id: Some(persistent_id),
            last_stream_id_received: Some(self.settled),
            ttl: Some(i32::try_from(left).unwrap_or(i32::MAX)),
            sent: Some(millis(message.accepted_at)),
            raw_data: content.map(|content| content.body.clone()),
            immediate_ack: Some(true),
        };
        let frame = self.frame(Tag::DataMessage, &data);
        self.in_flight.push_back((self.sent, message.id));
        Ok(frame)
    }

    /// The bytes that answer a heartbeat. [`settle`](Self::settle) first.
    pub fn heartbeat_ack(&mut self) -> Vec<u8> {
        let heartbeat = self.heartbeat();
        self.frame(Tag::HeartbeatAck, &heartbeat)
    }

    /// The bytes of a heartbeat of the service.
    pub fn heartbeat_ping(&mut self) -> Vec<u8> {
        let heartbeat = self.heartbeat();
        self.frame(Tag::HeartbeatPing, &heartbeat)
    }

    /// The bytes that close the connection. The client connects again at once.
    pub fn close(&mut self) -> Vec<u8> {
        self.frame(Tag::Close, &CloseMessage {})
    }

    const fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            last_stream_id_received: Some(self.settled),
        }
    }

    /// The next frame, after the version if it is the first.
    fn frame(&mut self, tag: Tag, message: &impl Message) -> Vec<u8> {
        self.sent = self.sent.saturating_add(1);
        let mut frame = Frame::print(tag, message);
        if !std::mem::replace(&mut self.has_greeted, true) {
            frame.insert(0, VERSION);
        }
        frame
    }

    /// Until when reading must pause because the client exceeds its rate; `None` if it may be read
    /// now.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.bucket.empty_until(&self.settings, now)
    }

    /// Whether reading must pause now, and did not at the last call.
    pub fn pause_begins(&mut self, now: Instant) -> bool {
        let is_paused = self.paused_until(now).is_some();
        let was_paused = std::mem::replace(&mut self.is_paused, is_paused);
        is_paused && !was_paused
    }

    /// When [`on_timeout`](Self::on_timeout) must be called, unless another event comes first. The
    /// client sends a heartbeat at each interval, so the service only sends one if that is late.
    pub fn next_timeout(&self) -> Instant {
        let SessionSettings {
            ping_interval,
            pong_timeout,
            hello_timeout,
            ..
        } = *self.settings;
        self.heard
            + match (self.is_open, self.pinged) {
                (false, _) => hello_timeout,
                (true, false) => ping_interval + pong_timeout,
                (true, true) => ping_interval + 2 * pong_timeout,
            }
    }

    /// The action for a timeout that has expired at `now`, if any.
    pub fn on_timeout(&mut self, now: Instant) -> Option<Timeout> {
        if now < self.next_timeout() {
            return None;
        }
        Some(match (self.is_open, self.pinged) {
            (false, _) => Timeout::Close(Close::LoginTimeout),
            (true, true) => Timeout::Close(Close::HeartbeatTimeout),
            (true, false) => {
                self.pinged = true;
                Timeout::Ping
            }
        })
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

fn login(message: &[u8]) -> Result<Login, Close> {
    let request = parsed::<LoginRequest>(message)?;
    let number = |text: Option<String>| text.as_deref().unwrap_or_default().parse::<u64>();
    let device = number(request.user).map_err(|_| Close::UnknownDevice)?;
    let security_token = number(request.auth_token).map_err(|_| Close::UnknownDevice)?;
    Ok(Login {
        device,
        security_token,
        received: request.received_persistent_id,
    })
}

fn parsed<M: Message + Default>(message: &[u8]) -> Result<M, Close> {
    M::decode(message).map_err(|_| Close::Message)
}

/// The names of the registration and the header fields of the body, each by the name under which
/// Chromium looks for it.
fn app_data(to: &Registration, coding: Option<&ContentCoding>) -> Vec<AppData> {
    let mut data = vec![("subtype", to.names.subtype())];
    if let Some(coding) = coding {
        data.push(("content-encoding", coding.as_str()));
        if let ContentCoding::Aesgcm {
            encryption,
            crypto_key,
        } = coding
        {
            data.push(("encryption", encryption));
            data.push(("crypto-key", crypto_key));
        }
    }
    let field = |(key, value): (&str, &str)| AppData {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    data.into_iter().map(field).collect()
}

fn millis(time: UnixTime) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
