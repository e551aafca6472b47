//! A user agent that speaks the push protocol of Chromium.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_protocol::PublicKey;
use bugle_protocol::mcs::checkin::{CheckinRequest, CheckinResponse};
use bugle_protocol::mcs::frame::{Frame, Tag, VERSION};
use bugle_protocol::mcs::message::{
    AppData, DataMessage, Extension, Heartbeat, Iq, LoginRequest, LoginResponse,
};
use bugle_protocol::websocket::NotificationHeaders;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Response, StatusCode};
use prost::Message;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use url::form_urlencoded::Serializer;
use url::{Position, Url};

use crate::{ClientError, Dialer, HttpConnection, Notification, Stream, TIMEOUT};

/// The name by which this program registers.
const APP: &str = "bugle";

/// Maximum length of a message, in bytes.
const LONGEST: usize = 1 << 20;

/// The request of an [`Iq`] that only confirms.
const CONFIRM: i32 = 13;

/// The credentials of a device. Whoever has them receives its messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct McsDevice {
    /// The id.
    pub id: u64,
    /// The security token.
    pub security_token: u64,
}

/// A registration: what a browser does for `subscribe()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McsRegistration {
    /// The origin of the site.
    pub site: String,
    /// The id of the subscription, which the user agent chooses.
    pub id: String,
    /// The application server key.
    pub key: PublicKey,
}

impl McsRegistration {
    /// The name of the registration, which its messages have as their `channel`.
    pub fn subtype(&self) -> String {
        format!("wp:{}/#{}-V2", self.site, self.id)
    }
}

impl McsDevice {
    /// Checks in at the service at `url` (`http` or `https`): as a new device, or again with the
    /// credentials that are `known`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses, with 401 if it has not issued them.
    pub async fn check_in(
        dialer: &Dialer,
        url: &Url,
        known: Option<&Self>,
    ) -> Result<Self, ClientError> {
        let request = CheckinRequest {
            id: Some(known.map_or(0, |known| known.id.cast_signed())),
            security_token: Some(known.map_or(0, |known| known.security_token)),
        };
        let body = request.encode_to_vec();
        let answer = post(
            dialer,
            url,
            "/checkin",
            ("application/x-protobuf", None),
            body,
        );
        let answer = answer.await?;
        check(&answer, "check in")?;
        let response = CheckinResponse::decode(answer.into_body())
            .map_err(|error| ClientError::Protocol(error.to_string()))?;
        let both = response.android_id.zip(response.security_token);
        let (id, security_token) = both.ok_or_else(|| {
            ClientError::Protocol("the answer to a check-in has no credentials".to_owned())
        })?;
        Ok(Self { id, security_token })
    }

    /// Registers, and returns the token of the endpoint.
    ///
    /// # Errors
    /// [`ClientError::Registration`] when the service refuses.
    pub async fn register(
        &self,
        dialer: &Dialer,
        url: &Url,
        registration: &McsRegistration,
    ) -> Result<String, ClientError> {
        let sender = registration.key.to_base64url();
        let fields = [("sender", sender.as_str()), ("scope", "GCM")];
        self.ask(dialer, url, registration, &fields).await
    }

    /// Ends a registration.
    ///
    /// # Errors
    /// [`ClientError::Registration`] when the service refuses.
    pub async fn unregister(
        &self,
        dialer: &Dialer,
        url: &Url,
        registration: &McsRegistration,
    ) -> Result<(), ClientError> {
        let fields = [("delete", "true"), ("sender", "*"), ("scope", "*")];
        let answer = self.ask(dialer, url, registration, &fields).await?;
        match answer == APP {
            true => Ok(()),
            false => Err(ClientError::Registration(answer)),
        }
    }

    async fn ask(
        &self,
        dialer: &Dialer,
        url: &Url,
        registration: &McsRegistration,
        fields: &[(&str, &str)],
    ) -> Result<String, ClientError> {
        let form = Serializer::new(String::new())
            .append_pair("app", APP)
            .append_pair("X-subtype", &registration.subtype())
            .append_pair("device", &self.id.to_string())
            .extend_pairs(fields)
            .finish();
        let credentials = format!("AidLogin {}:{}", self.id, self.security_token);
        let head = ("application/x-www-form-urlencoded", Some(credentials));
        let answer = post(dialer, url, "/c2dm/register3", head, form.into()).await?;
        check(&answer, "register")?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        match text.split_once('=') {
            Some(("token", token)) => Ok(token.to_owned()),
            Some(("Error", word)) => Err(ClientError::Registration(word.to_owned())),
            _ => Err(ClientError::Protocol(
                "neither a token nor an error".to_owned(),
            )),
        }
    }
}

/// One connection of a device.
pub struct McsUserAgent {
    stream: Stream,
    buffer: Vec<u8>,
    /// Frames received, the login response included.
    received: i32,
    /// How many of our frames the service has confirmed.
    confirmed: i32,
    /// The interval of heartbeats that the service asked for, in milliseconds.
    heartbeat: Option<i32>,
}

impl McsUserAgent {
    /// Connects to the service at `url` (`http` without TLS, or `https`) and logs in. `received`
    /// names the messages of earlier connections that are not known to be confirmed.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses the login.
    pub async fn connect(
        dialer: &Dialer,
        url: &Url,
        device: &McsDevice,
        received: Vec<String>,
    ) -> Result<Self, ClientError> {
        Self::on_stream(dialer.dial_bare(url).await?, device, received).await
    }

    /// Logs in on an open connection.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the service refuses the login.
    pub async fn on_stream(
        stream: Stream,
        device: &McsDevice,
        received: Vec<String>,
    ) -> Result<Self, ClientError> {
        let mut agent = Self {
            stream,
            buffer: Vec::new(),
            received: 0,
            confirmed: 0,
            heartbeat: None,
        };
        let login = LoginRequest {
            user: Some(device.id.to_string()),
            auth_token: Some(device.security_token.to_string()),
            received_persistent_id: received,
        };
        let mut bytes = vec![VERSION];
        bytes.extend(Frame::print(Tag::LoginRequest, &login));
        agent.write(&bytes).await?;
        let answer = timeout(TIMEOUT, agent.login_response()).await;
        answer.map_err(|_| ClientError::Silence("the login"))??;
        Ok(agent)
    }

    async fn login_response(&mut self) -> Result<(), ClientError> {
        while self.buffer.is_empty() {
            self.fill().await?;
        }
        if self.buffer.remove(0) != VERSION {
            return Err(ClientError::Protocol("another version of MCS".to_owned()));
        }
        let (tag, message) = self.frame().await?;
        if tag != Tag::LoginResponse as u8 {
            return Err(closed());
        }
        let response: LoginResponse = parsed(&message)?;
        if let Some(error) = response.error {
            let status = u16::try_from(error.code.unwrap_or(0)).unwrap_or(0);
            let what = "log in";
            return Err(ClientError::Refused { what, status });
        }
        self.confirmed = response.last_stream_id_received.unwrap_or(0);
        self.heartbeat = response.heartbeat_config.and_then(|it| it.interval_ms);
        Ok(())
    }

    /// The interval of heartbeats that the service asked for, in milliseconds.
    pub fn heartbeat_interval(&self) -> Option<i32> {
        self.heartbeat
    }

    /// How many of our frames the service has confirmed, so that what they told it is durable.
    pub fn confirmed(&self) -> i32 {
        self.confirmed
    }

    /// Waits without a limit for the next message, and answers heartbeats. Its `channel` is the
    /// name of the registration, its `version` the persistent id.
    ///
    /// # Errors
    /// [`ClientError::Closed`] when the service closes the connection.
    pub async fn receive(&mut self) -> Result<Notification, ClientError> {
        loop {
            let (tag, message) = self.frame().await?;
            match Tag::of(tag) {
                Some(Tag::DataMessage) => {
                    let message: DataMessage = parsed(&message)?;
                    self.confirm(message.last_stream_id_received);
                    return Ok(notification(message));
                }
                Some(Tag::HeartbeatPing) => self.send(Tag::HeartbeatAck, &self.heartbeat()).await?,
                Some(Tag::HeartbeatAck) => {
                    self.confirm(parsed::<Heartbeat>(&message)?.last_stream_id_received);
                }
                Some(Tag::Close) => return Err(closed()),
                _ => {}
            }
        }
    }

    /// Waits for the answer to a heartbeat. A message that arrives before it is an error.
    ///
    /// # Errors
    /// When the connection ends, or no answer arrives within [`TIMEOUT`].
    pub async fn ping(&mut self) -> Result<(), ClientError> {
        self.send(Tag::HeartbeatPing, &self.heartbeat()).await?;
        let answer = timeout(TIMEOUT, self.frame()).await;
        let (tag, message) = answer.map_err(|_| ClientError::Silence("a heartbeat"))??;
        if tag != Tag::HeartbeatAck as u8 {
            return Err(ClientError::Protocol("no answer to a heartbeat".to_owned()));
        }
        self.confirm(parsed::<Heartbeat>(&message)?.last_stream_id_received);
        Ok(())
    }

    /// Sends a heartbeat without waiting for its answer.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn beat(&mut self) -> Result<(), ClientError> {
        self.send(Tag::HeartbeatPing, &self.heartbeat()).await
    }

    /// Confirms all messages that were received on this connection.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn acknowledge(&mut self) -> Result<(), ClientError> {
        self.acknowledge_up_to(self.received).await
    }

    /// Confirms the frames up to this one, whatever was received.
    ///
    /// # Errors
    /// When the connection is closed.
    pub async fn acknowledge_up_to(&mut self, frame: i32) -> Result<(), ClientError> {
        let extension = Extension {
            id: Some(CONFIRM),
            data: Some(Vec::new()),
        };
        let iq = Iq {
            r#type: Some(1),
            id: Some(String::new()),
            extension: Some(extension),
            last_stream_id_received: Some(frame),
        };
        self.send(Tag::Iq, &iq).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is closed, or it cannot be sent within [`TIMEOUT`].
    pub async fn send(&mut self, tag: Tag, message: &impl Message) -> Result<(), ClientError> {
        self.write(&Frame::print(tag, message)).await
    }

    /// Sends bytes that need not be frames.
    ///
    /// # Errors
    /// When the connection is closed, or they cannot be sent within [`TIMEOUT`].
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let written = timeout(TIMEOUT, written).await;
        let written = written.map_err(|_| ClientError::Silence("a frame"))?;
        written.map_err(|_| closed())
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            last_stream_id_received: Some(self.received),
        }
    }

    fn confirm(&mut self, up_to: Option<i32>) {
        self.confirmed = self.confirmed.max(up_to.unwrap_or(0));
    }

    /// The next frame. Cancellation-safe.
    async fn frame(&mut self) -> Result<(u8, Vec<u8>), ClientError> {
        loop {
            let first = Frame::first(&self.buffer, LONGEST);
            let first = first.map_err(|error| ClientError::Protocol(error.to_string()))?;
            if let Some(Frame { tag, message }) = first {
                let bytes = self
                    .buffer
                    .get(message.clone())
                    .unwrap_or_default()
                    .to_vec();
                self.buffer.drain(..message.end);
                self.received = self.received.saturating_add(1);
                return Ok((tag, bytes));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(closed()),
            Ok(_) => Ok(()),
        }
    }
}

fn notification(message: DataMessage) -> Notification {
    let field = |key: &str| {
        let mut fields = message.app_data.iter();
        let found = fields.find(|field: &&AppData| field.key == key);
        found.map(|field| field.value.clone())
    };
    Notification {
        channel: field("subtype").unwrap_or_default(),
        headers: NotificationHeaders {
            encoding: field("content-encoding"),
            encryption: field("encryption"),
            crypto_key: field("crypto-key"),
        },
        version: message.persistent_id.unwrap_or_default(),
        data: message.raw_data.map(|data| URL_SAFE_NO_PAD.encode(data)),
    }
}

fn parsed<M: Message + Default>(message: &[u8]) -> Result<M, ClientError> {
    M::decode(message).map_err(|error| ClientError::Protocol(error.to_string()))
}

fn closed() -> ClientError {
    ClientError::Closed {
        code: None,
        reason: String::new(),
    }
}

async fn post(
    dialer: &Dialer,
    url: &Url,
    path: &str,
    (content_type, credentials): (&str, Option<String>),
    body: Vec<u8>,
) -> Result<Response<Bytes>, ClientError> {
    let mut request = Request::post(path)
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(CONTENT_TYPE, content_type);
    if let Some(credentials) = credentials {
        request = request.header(AUTHORIZATION, credentials);
    }
    let request = request.body(Bytes::from(body).into());
    let request = request.map_err(|error| ClientError::Url {
        url: url.to_string(),
        problem: error.to_string(),
    })?;
    let mut connection = HttpConnection::open(dialer, url.as_str()).await?;
    connection.send(request).await
}

fn check(answer: &Response<Bytes>, what: &'static str) -> Result<(), ClientError> {
    match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(ClientError::Refused {
            what,
            status: status.as_u16(),
        }),
    }
}
