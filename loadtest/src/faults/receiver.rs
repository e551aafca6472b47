//! A user agent of a fault run. After a crash it receives everything stored for it; then it
//! connects and disconnects, and acknowledges most of what it receives.

use std::sync::Arc;
use std::time::Duration;

use bugle_client::{ClientError, HttpConnection, Notification, UserAgent};
use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout_at};

use super::account::Connection;
use super::scene::{Life, Plan, Scene, Subscriber};
use super::violation::Violation;
use crate::contents::MessageName;

/// Attempts to receive the stored messages.
const ATTEMPTS: usize = 3;

/// Timeout for each stored message.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// The push that marks the end of the stored messages.
const END_MARK: Plan = Plan {
    topic: None,
    ttl: Duration::from_secs(3600),
    size: 16,
};

/// Acknowledgements to send before confirming that the service has read them.
const UNCONFIRMED: usize = 8;

/// Percentage of messages to acknowledge; the service sends the others again.
const ACKNOWLEDGED: u8 = 85;

pub(super) struct Receiver {
    scene: Arc<Scene>,
    subscriber: Arc<Subscriber>,
    rng: Rng,
    open: Option<Open>,
}

/// An open connection and its state in the account.
struct Open {
    user_agent: UserAgent,
    connection: Connection,
    /// Acknowledgements that the service may not have read.
    unconfirmed: Vec<MessageName>,
}

impl Receiver {
    pub(super) fn new(scene: Arc<Scene>, subscriber: Arc<Subscriber>, rng: Rng) -> Self {
        let open = None;
        Self {
            scene,
            subscriber,
            rng,
            open,
        }
    }

    /// Receives everything stored after a crash and lets the account check it. Returns
    /// itself with the number of messages, or `None` if the service has lost this user agent.
    pub(super) async fn take_stored(mut self) -> Option<(Self, usize)> {
        for attempt in 0..ATTEMPTS {
            match self.try_to_take_stored(attempt == 0).await {
                Ok(Some(open)) => {
                    let received = open.connection.received();
                    self.open = Some(open);
                    return Some((self, received));
                }
                Ok(None) => return None,
                Err(error) if attempt + 1 == ATTEMPTS => {
                    let what = format!("user agent {}: {error}", self.subscriber.number);
                    let mut account = self.scene.account();
                    account.violations.describe(Violation::NotServing, &what);
                }
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
        Some((self, 0))
    }

    async fn try_to_take_stored(&mut self, after_crash: bool) -> Result<Option<Open>, ClientError> {
        let (scene, subscriber) = (self.scene.clone(), self.subscriber.clone());
        let Some(mut open) = self.connect(after_crash).await? else {
            scene.account().forgotten(subscriber.number, scene.now());
            return Ok(None);
        };
        // A log is read in order: once this message arrives, all earlier ones have arrived.
        let mut http = HttpConnection::open(&scene.dialer, subscriber.endpoint()).await?;
        let (last, accepted) = scene.push(&mut http, &subscriber, END_MARK).await?;
        if accepted.is_none() {
            return Err(ClientError::Protocol("it accepts no push".to_owned()));
        }
        while !open.connection.has(last) {
            let deadline = Instant::now() + MESSAGE_TIMEOUT;
            let Ok(received) = timeout_at(deadline, open.user_agent.receive()).await else {
                break;
            };
            let received = received?;
            // The last message is always acknowledged.
            let name = self.receive(&mut open, &received);
            if name.is_some() && (name == Some(last) || self.rng.u8(..100) < ACKNOWLEDGED) {
                self.acknowledge(&mut open, &received, name).await?;
            }
        }
        self.confirm_acks(&mut open).await?;
        scene.account().settle(&open.connection, scene.now());
        Ok(Some(open))
    }

    /// Connects and disconnects until the service is killed.
    pub(super) async fn run(mut self, life: Life) {
        while !life.over.is_cancelled() {
            // After any error, the account knows what is in doubt.
            let _ = self.stay().await;
            self.open = None;
            let away = Duration::from_millis(self.rng.u64(..300));
            tokio::select! {
                () = life.over.cancelled() => return,
                () = sleep(away) => {}
            }
        }
    }

    /// Uses one connection for a while.
    async fn stay(&mut self) -> Result<(), ClientError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.connect(false).await? {
                Some(open) => open,
                None => return Ok(()),
            },
        };
        let end = Instant::now() + Duration::from_millis(self.rng.u64(20..600));
        while let Ok(received) = timeout_at(end, open.user_agent.receive()).await {
            let received = received?;
            let name = self.receive(&mut open, &received);
            if self.rng.u8(..100) < ACKNOWLEDGED {
                self.acknowledge(&mut open, &received, name).await?;
            }
            if open.unconfirmed.len() >= UNCONFIRMED {
                self.confirm_acks(&mut open).await?;
            }
        }
        // Half of the connections end without a Close frame, with acknowledgements in
        // flight.
        if self.rng.bool() {
            self.confirm_acks(&mut open).await?;
            open.user_agent.close().await;
        }
        Ok(())
    }

    /// Sends `hello`; `None` if the service has lost this user agent.
    async fn connect(&mut self, after_crash: bool) -> Result<Option<Open>, ClientError> {
        let Subscriber { number, uaid, .. } = &*self.subscriber;
        let now = self.scene.now();
        let connection = self.scene.account().connect(*number, after_crash, now);
        let mut user_agent = UserAgent::connect(&self.scene.dialer, &self.scene.url).await?;
        let known = user_agent.hello(Some(*uaid)).await? == *uaid;
        Ok(known.then_some(Open {
            user_agent,
            connection,
            unconfirmed: Vec::new(),
        }))
    }

    /// Returns the message if it was sent to this user agent.
    fn receive(&self, open: &mut Open, received: &Notification) -> Option<MessageName> {
        let contents = received.decrypt(&self.subscriber.keys);
        let mut account = self.scene.account();
        let name = contents
            .map_err(|error| error.to_string())
            .and_then(|contents| {
                let read = self.scene.contents.read(&contents.unwrap_or_default());
                read.map_err(|error| error.to_string())
            });
        match name {
            Ok(name) => {
                let (now, version) = (self.scene.now(), &received.version);
                let is_ours = account.delivered(&mut open.connection, name, version, now);
                is_ours.then_some(name)
            }
            Err(error) => {
                account.violations.describe(Violation::Foreign, &error);
                None
            }
        }
    }

    async fn acknowledge(
        &mut self,
        open: &mut Open,
        received: &Notification,
        name: Option<MessageName>,
    ) -> Result<(), ClientError> {
        if let Some(name) = name {
            self.scene.account().begin_ack(name);
            open.unconfirmed.push(name);
        }
        open.user_agent.acknowledge(received, 100).await
    }

    /// Repeats its `register`. A service responds in order, so the response shows that it
    /// has read all earlier messages.
    async fn confirm_acks(&mut self, open: &mut Open) -> Result<(), ClientError> {
        let channel = self.subscriber.channel;
        open.user_agent.register(channel, None).await?;
        self.scene.account().acks_confirmed(&open.unconfirmed);
        open.unconfirmed.clear();
        Ok(())
    }
}
