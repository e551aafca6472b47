//! A model of one user agent and its messages. It records what the real service accepted and
//! predicts which messages a connection must, may and must not receive.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message as Frame;

use super::app_server::{Push, ask, decrypted};
use super::server::Server;
use super::user_agent::{Notification, TIMEOUT, UserAgent};

/// The channels of the user agent.
pub const CHANNELS: [&str; 3] = [
    "00000000-0000-4000-8000-000000000001",
    "00000000-0000-4000-8000-000000000002",
    "00000000-0000-4000-8000-000000000003",
];

/// An unused channel; the response to its `unregister` follows everything sent before.
const FENCE: &str = "ffffffff-ffff-4fff-8fff-ffffffffffff";

/// An accepted message. Its number is its position in time.
struct Accepted {
    channel: usize,
    topic: Option<u8>,
    url: String,
    expires_at: u64,
    /// TTL 0: only the current connection may receive it.
    fleeting: bool,
    /// Acknowledged, replaced, withdrawn, or its subscription has ended.
    settled: bool,
}

/// A connection and the messages that it may receive.
struct Connection {
    user_agent: UserAgent,
    may: BTreeSet<usize>,
    received: Vec<usize>,
}

/// The service and the state of the model.
pub struct World {
    server: Server,
    uaid: Option<String>,
    endpoints: [Option<String>; CHANNELS.len()],
    messages: Vec<Accepted>,
    connection: Option<Connection>,
    /// Notifications that were received and not acknowledged.
    unacknowledged: Vec<(usize, Notification)>,
}

impl World {
    pub fn of(server: Server) -> Self {
        Self {
            server,
            uaid: None,
            endpoints: Default::default(),
            messages: Vec::new(),
            connection: None,
            unacknowledged: Vec::new(),
        }
    }

    /// Whether the message must be delivered to the next connection.
    fn is_waiting(&self, number: usize) -> bool {
        let message = &self.messages[number];
        !message.settled && !message.fleeting && message.expires_at > self.server.now()
    }

    /// Sends `hello`. An older connection must end and receive nothing newer. A user agent
    /// without a subscription is not recognised again (WS-H-10) and gets a new uaid.
    pub async fn connect(&mut self) {
        let user_agent = match &self.uaid {
            Some(uaid) => UserAgent::reconnect(&self.server, uaid).await,
            None => UserAgent::connect(&self.server).await,
        };
        if self.endpoints.iter().any(Option::is_some) {
            assert_eq!(
                Some(&user_agent.uaid),
                self.uaid.as_ref(),
                "the uaid is known"
            );
        }
        let before = self.uaid.replace(user_agent.uaid.clone());
        let older = self.connection.take();
        if let Some(mut older) = older.filter(|_| self.uaid == before) {
            let end = heard_out(&mut older.user_agent).await;
            self.ended(older, end, 1000);
        }
        let waiting = (0..self.messages.len()).filter(|number| self.is_waiting(*number));
        self.connection = Some(Connection {
            user_agent,
            may: waiting.collect(),
            received: Vec::new(),
        });
    }

    /// Checks what a connection received before its Close frame, and the close code.
    fn ended(&mut self, mut connection: Connection, end: (Vec<Value>, u16), code: u16) {
        for message in end.0 {
            self.hears(&mut connection, message);
        }
        assert_eq!(end.1, code);
        self.is_away();
    }

    /// Settles TTL-0 messages when the user agent is not connected.
    fn is_away(&mut self) {
        for message in &mut self.messages {
            message.settled |= message.fleeting;
        }
    }

    /// Drops the connection without a Close frame.
    pub fn vanish(&mut self) {
        self.connection = None;
        self.is_away();
    }

    pub async fn register(&mut self, channel: usize) {
        if self.connection.is_none() {
            self.connect().await;
        }
        let ask = json!({ "messageType": "register", "channelID": CHANNELS[channel] });
        let answer = self.ask(ask).await;
        assert_eq!(answer["status"], 200, "{answer}");
        let endpoint = answer["pushEndpoint"].as_str().unwrap().to_owned();
        if let Some(before) = &self.endpoints[channel] {
            assert_eq!(*before, endpoint, "the subscription still exists");
        }
        self.endpoints[channel] = Some(endpoint);
    }

    pub async fn unregister(&mut self, channel: usize) {
        if self.connection.is_none() {
            return;
        }
        let ask = json!({ "messageType": "unregister", "channelID": CHANNELS[channel] });
        let answer = self.ask(ask).await;
        assert_eq!(answer["status"], 200, "{answer}");
        if let Some(endpoint) = self.endpoints[channel].take() {
            let late = Push::to(&self.server, &endpoint).text("late").send().await;
            assert_eq!(late.status, 404, "{late:?}");
        }
        for message in &mut self.messages {
            message.settled |= message.channel == channel;
        }
    }

    /// Pushes to a channel, if it is registered.
    pub async fn push(&mut self, channel: usize, ttl: u64, topic: Option<u8>) {
        let Some(endpoint) = &self.endpoints[channel] else {
            return;
        };
        let number = self.messages.len();
        let mut push = Push::to(&self.server, endpoint)
            .ttl(ttl)
            .text(&number.to_string());
        if let Some(topic) = topic {
            push = push.topic(&topic.to_string());
        }
        let url = push.accepted().await;
        for older in &mut self.messages {
            let same = older.channel == channel && older.topic == topic;
            older.settled |= topic.is_some() && same && !older.fleeting;
        }
        self.messages.push(Accepted {
            channel,
            topic,
            url,
            expires_at: self.server.now() + ttl,
            fleeting: ttl == 0,
            settled: ttl == 0 && self.connection.is_none(),
        });
        if let Some(connection) = &mut self.connection {
            connection.may.insert(number);
        }
    }

    /// Withdraws a message.
    pub async fn withdraw(&mut self, nth: usize) {
        let Some(number) = nth.checked_rem(self.messages.len()) else {
            return;
        };
        if self.messages[number].fleeting {
            return;
        }
        let status = if self.is_waiting(number) { 204 } else { 404 };
        let reply = ask(&self.server, "DELETE", &self.messages[number].url).await;
        assert_eq!(reply.status, status, "withdrawing {number}");
        self.messages[number].settled = true;
    }

    /// Acknowledges one of the received messages, whether or not the acknowledgement still has
    /// an effect.
    pub async fn acknowledge(&mut self, nth: usize) {
        let Some(nth) = nth.checked_rem(self.unacknowledged.len()) else {
            return;
        };
        if let Some(connection) = &mut self.connection {
            let (number, notification) = self.unacknowledged.swap_remove(nth);
            connection.user_agent.ack(&notification).await;
            self.messages[number].settled = true;
            // Wait until the service has read the acknowledgement.
            self.listen().await;
        }
    }

    /// Advances the clock.
    pub fn advance(&mut self, secs: u64) {
        self.server.advance(Duration::from_secs(secs));
        // Messages with TTL 0 may have expired.
        self.is_away();
    }

    /// Restarts the service over the same data.
    pub async fn restart(&mut self) {
        match self.connection.take() {
            None => self.server.restart().await,
            Some(mut connection) => {
                let end = heard_out(&mut connection.user_agent);
                let ((), end) = tokio::join!(self.server.restart(), end);
                self.ended(connection, end, 1001);
            }
        }
    }

    /// Receives every message that must be delivered, and nothing else.
    pub async fn listen(&mut self) {
        if self.connection.is_some() {
            let ask = json!({ "messageType": "unregister", "channelID": FENCE });
            let answer = self.ask(ask).await;
            assert_eq!(answer["status"], 200, "{answer}");
            while let Some(number) = self.owed() {
                let mut connection = self.connection.take().unwrap();
                let message = timeout(TIMEOUT, connection.user_agent.hear()).await;
                let Ok(message) = message else {
                    panic!("message {number} is lost");
                };
                self.hears(&mut connection, message);
                self.connection = Some(connection);
            }
        }
    }

    /// A message that the connection must still receive.
    fn owed(&self) -> Option<usize> {
        let connection = self.connection.as_ref()?;
        let is_owed = |number: &usize| {
            let message = &self.messages[*number];
            let waits = self.is_waiting(*number) || message.fleeting && !message.settled;
            waits && !connection.received.contains(number)
        };
        connection.may.iter().copied().find(is_owed)
    }

    /// Sends a request and returns its response; handles messages that arrive before it.
    async fn ask(&mut self, question: Value) -> Value {
        let mut connection = self.connection.take().unwrap();
        connection.user_agent.say(question.clone()).await;
        loop {
            let message = connection.user_agent.hear().await;
            if message["messageType"] == question["messageType"] {
                assert_eq!(message["channelID"], question["channelID"]);
                self.connection = Some(connection);
                return message;
            }
            self.hears(&mut connection, message);
        }
    }

    /// Checks a notification: it was accepted before or during the connection, and it arrives
    /// once and in order.
    fn hears(&mut self, connection: &mut Connection, message: Value) {
        assert_eq!(message["messageType"], "notification", "{message}");
        let notification = Notification(message);
        let number: usize = decrypted(&notification.data()).parse().unwrap();
        assert!(connection.may.contains(&number), "{number} must not arrive");
        assert!(
            !connection.received.contains(&number),
            "{number} arrives twice"
        );
        let waits = |number: &usize| !self.messages[*number].fleeting;
        let last = connection.received.iter().copied().filter(waits).max();
        assert!(
            !waits(&number) || last < Some(number),
            "{number} arrives after {last:?}"
        );
        connection.received.push(number);
        if self.messages[number].fleeting {
            self.messages[number].settled = true;
        } else {
            self.unacknowledged.push((number, notification));
        }
    }

    /// Receives and acknowledges everything, then checks that nothing is left, even after
    /// another restart.
    pub async fn end(mut self) {
        self.connect().await;
        self.listen().await;
        while !self.unacknowledged.is_empty() {
            self.acknowledge(0).await;
        }
        self.restart().await;
        self.connect().await;
        self.listen().await;
        assert_eq!(
            self.unacknowledged.len(),
            0,
            "acknowledged messages are gone"
        );
        let stored = self.server.metric("bugle_stored_messages").await;
        assert_eq!(stored, 0.0);
    }
}

/// Reads a connection to its end; returns the messages before the Close frame and its code.
async fn heard_out(user_agent: &mut UserAgent) -> (Vec<Value>, u16) {
    let mut messages = Vec::new();
    loop {
        let frame = timeout(TIMEOUT, user_agent.socket.next()).await;
        let frame = frame
            .expect("the connection is closed")
            .expect("with a Close frame");
        match frame.unwrap() {
            Frame::Text(text) => messages.push(serde_json::from_str(&text).unwrap()),
            Frame::Close(Some(close)) => {
                // Answer the Close frame, so that the service need not wait.
                let _ = user_agent.socket.close(None).await;
                return (messages, close.code.into());
            }
            _ => {}
        }
    }
}
