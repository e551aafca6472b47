//! A user agent: one connection that speaks the push WebSocket protocol.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::websocket::{
    Ack, AckUpdate, ClientMessage, Hello, MessageError, NotificationHeaders, Register,
    ServerMessage, Unregister,
};
use bugle_protocol::{ChannelId, ContentCoding, PublicKey, WireUaid};
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};
use url::Url;

use crate::{ClientError, Dialer, OpenError, Stream, TIMEOUT, open_websocket};

/// How long to wait for the peer's Close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of notifications that may arrive before an awaited response.
const MAX_EARLY: usize = 1024;

/// A connection of a user agent to its push service.
pub struct UserAgent {
    socket: WebSocketStream<Stream>,
    /// Notifications that arrived before an awaited response.
    early: VecDeque<Notification>,
}

/// A push message as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The channel id; over HTTP, the push resource if the service sends it.
    pub channel: String,
    /// Identifies the message in its acknowledgement; over HTTP, the URL of the message.
    pub version: String,
    /// The body in base64url; `None` if the message has none.
    pub data: Option<String>,
    /// The encryption parameters of the body.
    pub headers: NotificationHeaders,
}

impl UserAgent {
    /// Connects to the service at `url` (`ws` or `wss`).
    ///
    /// # Errors
    /// When the connection or its WebSocket handshake fails.
    pub async fn connect(dialer: &Dialer, url: &Url) -> Result<Self, ClientError> {
        Self::on_stream(dialer.dial(url).await?, url).await
    }

    /// Opens the WebSocket on an open connection.
    ///
    /// # Errors
    /// When the service does not accept the WebSocket.
    pub async fn on_stream(stream: Stream, url: &Url) -> Result<Self, ClientError> {
        Ok(Self {
            socket: open_websocket(stream, url).await?,
            early: VecDeque::new(),
        })
    }

    /// Sends `hello`, with the uaid of an earlier connection if there is one. Returns the
    /// uaid to use from now on: if it differs from `uaid`, the service has lost this user agent
    /// and its subscriptions.
    ///
    /// # Errors
    /// When the response is an error, or none arrives.
    pub async fn hello(&mut self, uaid: Option<WireUaid>) -> Result<WireUaid, ClientError> {
        let broadcasts = BTreeMap::new();
        let hello = Hello { uaid, broadcasts };
        self.send(&ClientMessage::Hello(hello)).await?;
        let answer = self.answer("hello", |message| match message {
            ServerMessage::Hello { uaid, status, .. } => Some((uaid.clone(), *status)),
            _ => None,
        });
        let (uaid, status) = answer.await?;
        check(status, "say hello")?;
        uaid.parse()
            .map_err(|_| ClientError::Protocol("its uaid is not 32 hex digits".to_owned()))
    }

    /// Requests a subscription and returns its endpoint. With a `key`, the service accepts
    /// only pushes signed by it. Repeating the request returns the same endpoint.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses.
    pub async fn register(
        &mut self,
        channel: ChannelId,
        key: Option<&PublicKey>,
    ) -> Result<String, ClientError> {
        let channel_id = channel.to_string();
        let key = key.map(PublicKey::to_base64url);
        let register = Register { channel_id, key };
        self.send(&ClientMessage::Register(register)).await?;
        let wanted = channel.to_string();
        let answer = self.answer("register", |message| match message {
            ServerMessage::Register {
                channel_id,
                status,
                push_endpoint,
            } => (*channel_id == wanted).then(|| (*status, push_endpoint.clone())),
            _ => None,
        });
        let (status, endpoint) = answer.await?;
        check(status, "register")?;
        endpoint.ok_or_else(|| ClientError::Protocol("register without pushEndpoint".to_owned()))
    }

    /// Removes a subscription.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses.
    pub async fn unregister(&mut self, channel: ChannelId) -> Result<(), ClientError> {
        let channel_id = channel.to_string();
        let unregister = Unregister {
            channel_id,
            code: Some(200),
        };
        self.send(&ClientMessage::Unregister(unregister)).await?;
        let wanted = channel.to_string();
        let answer = self.answer("unregister", |message| match message {
            ServerMessage::Unregister { channel_id, status } => {
                (*channel_id == wanted).then_some(*status)
            }
            _ => None,
        });
        check(answer.await?, "unregister")
    }

    /// Waits without a limit for the next push message. Cancellation-safe.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn receive(&mut self) -> Result<Notification, ClientError> {
        if let Some(notification) = self.early.pop_front() {
            return Ok(notification);
        }
        loop {
            if let Ok(notification) = Notification::of(self.next_message().await?) {
                return Ok(notification);
            }
        }
    }

    /// Ends the delivery of a message with code 100 (delivered), 101 (not decrypted) or 102
    /// (not delivered) (WS-N-8).
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn acknowledge(
        &mut self,
        notification: &Notification,
        code: u16,
    ) -> Result<(), ClientError> {
        let update = AckUpdate {
            channel_id: Some(notification.channel.clone()),
            version: Some(notification.version.clone()),
            code: Some(code),
        };
        let updates = vec![update];
        self.send(&ClientMessage::Ack(Ack { updates })).await
    }

    /// Sends a ping of the push protocol and waits for its response.
    ///
    /// # Errors
    /// When no response arrives.
    pub async fn ping(&mut self) -> Result<(), ClientError> {
        self.send(&ClientMessage::Ping).await?;
        self.answer("ping", |message| {
            (*message == ServerMessage::Pong).then_some(())
        })
        .await
    }

    /// Waits without a limit for the next WebSocket ping of the service. The next read
    /// sends the pong. Keeps notifications that arrive meanwhile. Cancellation-safe.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn next_ping(&mut self) -> Result<(), ClientError> {
        loop {
            match self.next_frame().await? {
                Message::Ping(_) => return Ok(()),
                Message::Text(text) => {
                    let message = ServerMessage::parse(&text).ok().map(Notification::of);
                    if let Some(Ok(notification)) = message {
                        self.keep(notification)?;
                    }
                }
                _ => {}
            }
        }
    }

    /// Sends a Close frame and waits for the peer's. Returns true if it arrived: the
    /// service has then read everything that was sent before.
    pub async fn close(mut self) -> bool {
        let closing = async {
            let mut is_answered = self.socket.close(None).await.is_ok();
            while is_answered {
                match self.socket.next().await {
                    Some(Ok(Message::Close(_))) => break,
                    // An unacknowledged message stays with the service.
                    Some(Ok(_)) => {}
                    _ => is_answered = false,
                }
            }
            is_answered
        };
        timeout(CLOSE_TIMEOUT, closing).await.unwrap_or(false)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the connection is closed, or the message cannot be sent within [`TIMEOUT`].
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let sent = self.socket.send(Message::text(message.print()));
        timeout(TIMEOUT, sent)
            .await
            .map_err(|_| ClientError::Silence("a message that fills the connection"))?
            .map_err(failed)
    }

    /// Waits for the response that `pick` recognises and keeps notifications that arrive
    /// before it.
    async fn answer<T>(
        &mut self,
        to: &'static str,
        pick: impl Fn(&ServerMessage) -> Option<T>,
    ) -> Result<T, ClientError> {
        let search = async {
            loop {
                let message = self.next_message().await?;
                if let Some(answer) = pick(&message) {
                    return Ok(answer);
                }
                if let Ok(notification) = Notification::of(message) {
                    self.keep(notification)?;
                }
            }
        };
        let answer = timeout(TIMEOUT, search).await;
        answer.unwrap_or(Err(ClientError::Silence(to)))
    }

    /// Stores a notification for a later `receive`.
    fn keep(&mut self, notification: Notification) -> Result<(), ClientError> {
        if self.early.len() >= MAX_EARLY {
            let problem = format!("{MAX_EARLY} notifications before an answer");
            return Err(ClientError::Protocol(problem));
        }
        self.early.push_back(notification);
        Ok(())
    }

    /// Returns the next frame; a Close frame is an error.
    async fn next_frame(&mut self) -> Result<Message, ClientError> {
        match self.socket.next().await {
            Some(Ok(Message::Close(frame))) => {
                let code = frame.as_ref().map(|frame| frame.code.into());
                let reason = frame.map_or_else(String::new, |frame| frame.reason.to_string());
                Err(ClientError::Closed { code, reason })
            }
            Some(Ok(message)) => Ok(message),
            Some(Err(error)) => Err(failed(error)),
            None => Err(ClientError::Closed {
                code: None,
                reason: String::new(),
            }),
        }
    }

    /// Returns the next message of a known type.
    async fn next_message(&mut self) -> Result<ServerMessage, ClientError> {
        loop {
            // The library answers pings itself; binary frames have no meaning here.
            let Message::Text(text) = self.next_frame().await? else {
                continue;
            };
            match ServerMessage::parse(&text) {
                Ok(message) => return Ok(message),
                // For example broadcasts, which other services send.
                Err(MessageError::UnknownType) => {}
                Err(error) => return Err(ClientError::Protocol(error.to_string())),
            }
        }
    }
}

impl Notification {
    /// Returns any other message as the error.
    fn of(message: ServerMessage) -> Result<Self, Box<ServerMessage>> {
        match message {
            ServerMessage::Notification {
                channel_id,
                version,
                data,
                headers,
            } => Ok(Self {
                channel: channel_id,
                version,
                data,
                headers: headers.unwrap_or_default(),
            }),
            other => Err(Box::new(other)),
        }
    }

    /// The content coding as on the wire.
    pub fn encoding(&self) -> Option<&str> {
        self.headers.encoding.as_deref()
    }

    /// Decrypts the message; `None` if it has no data.
    ///
    /// # Errors
    /// When it is not encrypted for these keys.
    pub fn decrypt(&self, keys: &UserAgentKeys) -> Result<Option<Vec<u8>>, OpenError> {
        let Some(data) = &self.data else {
            return Ok(None);
        };
        let body = URL_SAFE_NO_PAD
            .decode(data.trim_end_matches('='))
            .map_err(|_| OpenError::Encoding)?;
        let coding = match self.encoding() {
            Some("aes128gcm") => ContentCoding::Aes128gcm,
            Some("aesgcm") => ContentCoding::Aesgcm {
                encryption: self.headers.encryption.clone().unwrap_or_default(),
                crypto_key: self.headers.crypto_key.clone().unwrap_or_default(),
            },
            Some(_) => return Err(OpenError::UnknownCoding),
            None => return Err(OpenError::NotEncrypted),
        };
        Ok(Some(keys.decrypt(&coding, &body)?))
    }
}

fn check(status: u16, what: &'static str) -> Result<(), ClientError> {
    match status {
        200 => Ok(()),
        status => Err(ClientError::Refused { what, status }),
    }
}

fn failed(error: tungstenite::Error) -> ClientError {
    use tungstenite::error::ProtocolError::ResetWithoutClosingHandshake;

    let is_end = match &error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => true,
        tungstenite::Error::Protocol(error) => *error == ResetWithoutClosingHandshake,
        tungstenite::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
        ),
        _ => false,
    };
    if is_end {
        return ClientError::Closed {
            code: None,
            reason: String::new(),
        };
    }
    ClientError::WebSocket(Box::new(error))
}
