//! A user agent that sends and receives WebSocket messages as JSON.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_client::open_websocket;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::secrets;
use super::server::Server;
use super::subject::authority;

/// Timeout of every wait in the tests.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Channels that tests use.
pub const CHANNEL: &str = "acf30367-0632-4cc1-adef-fa15f40ef378";
pub const CHANNEL_2: &str = "0ca2aff3-7f6b-4a2e-9526-9a0634efd79e";

/// A connection of a user agent.
#[derive(Debug)]
pub struct UserAgent {
    pub socket: WebSocketStream<TcpStream>,
    pub uaid: String,
}

impl UserAgent {
    /// Connects without sending `hello`.
    pub async fn silent(server: &Server) -> Self {
        Self::try_silent(server).await.unwrap()
    }

    /// Like `silent`; returns the HTTP status of a refusal.
    pub async fn try_silent(server: &Server) -> Result<Self, u16> {
        let url = server.websocket();
        let stream = TcpStream::connect(authority(url)).await.unwrap();
        match open_websocket(stream, &url.parse().unwrap()).await {
            Ok(socket) => Ok(Self {
                socket,
                uaid: String::new(),
            }),
            Err(error) => Err(error
                .refused()
                .expect("the service answers")
                .status()
                .as_u16()),
        }
    }

    /// Connects as a new user agent.
    pub async fn connect(server: &Server) -> Self {
        Self::hello(
            server,
            json!({ "messageType": "hello", "use_webpush": true }),
        )
        .await
    }

    /// Connects with a known uaid.
    pub async fn reconnect(server: &Server, uaid: &str) -> Self {
        Self::hello(server, json!({ "messageType": "hello", "uaid": uaid })).await
    }

    /// Connects and sends this `hello`.
    pub async fn hello(server: &Server, hello: Value) -> Self {
        let mut this = Self::silent(server).await;
        this.say(hello).await;
        let answer = this.hear().await;
        assert_eq!(answer["messageType"], "hello", "{answer}");
        assert_eq!(answer["status"], 200, "{answer}");
        this.uaid = answer["uaid"].as_str().unwrap().to_owned();
        this
    }

    pub async fn say(&mut self, message: Value) {
        secrets::see(&message.to_string());
        self.socket
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    /// Returns the next message; ignores pings and pongs.
    pub async fn hear(&mut self) -> Value {
        match self.frame().await {
            Message::Text(text) => {
                secrets::see(&text);
                serde_json::from_str(&text).unwrap()
            }
            other => panic!("a message was expected, not {other:?}"),
        }
    }

    async fn frame(&mut self) -> Message {
        loop {
            let frame = timeout(TIMEOUT, self.socket.next())
                .await
                .expect("a frame arrives");
            match frame.expect("the connection is open").unwrap() {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    /// Waits for the Close frame and for the end of TCP; returns the close code.
    pub async fn closed(&mut self) -> u16 {
        let code = match self.frame().await {
            Message::Close(Some(frame)) => frame.code.into(),
            other => panic!("Close was expected, not {other:?}"),
        };
        let end = timeout(TIMEOUT, self.socket.next())
            .await
            .expect("TCP ends");
        assert!(matches!(end, None | Some(Err(_))), "{end:?} after Close");
        code
    }

    /// Waits for the Close frame, whatever comes before it.
    pub async fn closed_at_last(&mut self) {
        while !matches!(self.frame().await, Message::Close(_)) {}
    }

    /// Asserts that the service has sent nothing: only the response to a request arrives. Uses
    /// `unregister` because pings have a rate limit.
    pub async fn receives_nothing(&mut self) {
        self.unregister("ffffffff-ffff-4fff-8fff-ffffffffffff")
            .await;
    }

    /// Closes the connection and waits until the service has closed it too. On our own service,
    /// it must be the only user agent.
    pub async fn leave(mut self, server: &Server) {
        self.socket.close(None).await.unwrap();
        let ended = timeout(TIMEOUT, async {
            while let Some(Ok(_)) = self.socket.next().await {}
        });
        ended.await.expect("the service answers Close");
        if !server.admin().is_empty() {
            server.await_metric("bugle_user_agents", 0.0).await;
        }
    }

    /// Subscribes and returns the endpoint.
    pub async fn register(&mut self, channel: &str, key: Option<&str>) -> String {
        let answer = self.try_register(channel, json!(key)).await;
        assert_eq!(answer["status"], 200, "{answer}");
        answer["pushEndpoint"].as_str().unwrap().to_owned()
    }

    /// Sends `register` and returns the response.
    pub async fn try_register(&mut self, channel: &str, key: Value) -> Value {
        self.say(json!({ "messageType": "register", "channelID": channel, "key": key }))
            .await;
        let answer = self.hear().await;
        assert_eq!(answer["messageType"], "register", "{answer}");
        assert_eq!(answer["channelID"], channel, "{answer}");
        answer
    }

    pub async fn unregister(&mut self, channel: &str) {
        self.say(json!({ "messageType": "unregister", "channelID": channel, "code": 200 }))
            .await;
        let answer = json!({ "messageType": "unregister", "channelID": channel, "status": 200 });
        assert_eq!(self.hear().await, answer);
    }

    /// Returns the next notification.
    pub async fn notification(&mut self) -> Notification {
        let message = self.hear().await;
        assert_eq!(message["messageType"], "notification", "{message}");
        Notification(message)
    }

    pub async fn ack(&mut self, notification: &Notification) {
        self.ack_with(notification, json!({ "code": 100 })).await;
    }

    /// Acknowledges with these fields besides channel and version.
    pub async fn ack_with(&mut self, notification: &Notification, update: Value) {
        self.say(notification.acknowledged(update)).await;
    }
}

/// A push as the user agent receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification(pub Value);

impl Notification {
    /// The acknowledgement with these fields besides channel and version.
    pub fn acknowledged(&self, mut update: Value) -> Value {
        update["channelID"] = self.0["channelID"].clone();
        update["version"] = self.0["version"].clone();
        json!({ "messageType": "ack", "updates": [update] })
    }

    pub fn version(&self) -> &str {
        self.0["version"].as_str().unwrap()
    }

    /// The posted body.
    pub fn data(&self) -> Vec<u8> {
        URL_SAFE_NO_PAD
            .decode(self.0["data"].as_str().unwrap())
            .unwrap()
    }
}
