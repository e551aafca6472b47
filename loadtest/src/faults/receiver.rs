//! A user agent of a fault run: takes all that is stored for it after a crash,
//! then comes and goes, and acknowledges most of what it receives.

use std::sync::Arc;
use std::time::Duration;

use bugle_client::{ClientError, HttpConnection, Notification, UserAgent};
use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout_at};

use super::account::Connection;
use super::scene::{Life, Plan, Scene, Subscriber};
use super::violation::Violation;
use crate::contents::MessageName;

/// How often it tries to take what is stored for it.
const ATTEMPTS: usize = 3;

/// How long the stored messages may take to come, each.
const PATIENCE: Duration = Duration::from_secs(20);

/// For how long the message that ends the stored ones may be kept.
const LAST: Plan = Plan {
    topic: None,
    ttl: Duration::from_secs(3600),
    size: 16,
};

/// How many acknowledgements it sends before it asks whether they were heard.
const UNHEARD: usize = 8;

/// Of 100 messages, so many are acknowledged; the others come again.
const ACKNOWLEDGED: u8 = 85;

pub(super) struct Receiver {
    scene: Arc<Scene>,
    subscriber: Arc<Subscriber>,
    rng: Rng,
    open: Option<Open>,
}

/// A connection on both sides of the account.
struct Open {
    user_agent: UserAgent,
    connection: Connection,
    /// Sent acknowledgements that the service may not have heard.
    unheard: Vec<MessageName>,
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

    /// After a crash: takes all that is stored, and sees whether that is what
    /// it should be. `None` if the service does not know it any more. Returns
    /// how many messages came, too.
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
        // A log is read in order: when this one is there, all before it were.
        let mut http = HttpConnection::open(&scene.dialer, subscriber.endpoint()).await?;
        let (last, accepted) = scene.push(&mut http, &subscriber, LAST).await?;
        if accepted.is_none() {
            return Err(ClientError::Protocol("it accepts no push".to_owned()));
        }
        while !open.connection.has(last) {
            let deadline = Instant::now() + PATIENCE;
            let Ok(received) = timeout_at(deadline, open.user_agent.receive()).await else {
                break;
            };
            let received = received?;
            // The last one is always acknowledged.
            let name = self.receive(&mut open, &received);
            if name.is_some() && (name == Some(last) || self.rng.u8(..100) < ACKNOWLEDGED) {
                self.acknowledge(&mut open, &received, name).await?;
            }
        }
        self.ask_whether_heard(&mut open).await?;
        scene.account().settle(&open.connection, scene.now());
        Ok(Some(open))
    }

    /// Comes and goes until the service is gone.
    pub(super) async fn run(mut self, life: Life) {
        while !life.over.is_cancelled() {
            // However it ended, the account knows what is in doubt.
            let _ = self.stay().await;
            self.open = None;
            let away = Duration::from_millis(self.rng.u64(..300));
            tokio::select! {
                () = life.over.cancelled() => return,
                () = sleep(away) => {}
            }
        }
    }

    /// One connection, for a while.
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
            if open.unheard.len() >= UNHEARD {
                self.ask_whether_heard(&mut open).await?;
            }
        }
        // Some leave without a word, and with acknowledgements on their way.
        if self.rng.bool() {
            self.ask_whether_heard(&mut open).await?;
            open.user_agent.close().await;
        }
        Ok(())
    }

    /// Says hello; `None` if the service does not know it any more.
    async fn connect(&mut self, after_crash: bool) -> Result<Option<Open>, ClientError> {
        let Subscriber { number, uaid, .. } = &*self.subscriber;
        let now = self.scene.now();
        let connection = self.scene.account().connect(*number, after_crash, now);
        let mut user_agent = UserAgent::connect(&self.scene.dialer, &self.scene.url).await?;
        let known = user_agent.hello(Some(*uaid)).await? == *uaid;
        Ok(known.then_some(Open {
            user_agent,
            connection,
            unheard: Vec::new(),
        }))
    }

    /// Which message it is, if it is one that was sent to this user agent.
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
            open.unheard.push(name);
        }
        open.user_agent.acknowledge(received, 100).await
    }

    /// Registers what is registered: a service answers in order, so its answer
    /// means that it has heard what came before.
    async fn ask_whether_heard(&mut self, open: &mut Open) -> Result<(), ClientError> {
        let channel = self.subscriber.channel;
        open.user_agent.register(channel, None).await?;
        self.scene.account().acks_heard(&open.unheard);
        open.unheard.clear();
        Ok(())
    }
}
