//! One user agent: connects, registers, checks and acknowledges messages, and reconnects
//! when its connection breaks.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bugle_client::{ClientError, Notification, new_channel_id, new_user_agent_keys};
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::{ChannelId, WireUaid};
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::contents::{ContentsError, MessageName, mix};
use crate::ledger::Delivery;
use crate::line::{Device, Line};
use crate::meters::{Measure, count};
use crate::run::Run;
use crate::subscription::{HEADER, OVERHEAD, Subscription};

/// First pause between attempts to connect; later ones double.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Maximum pause.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One user agent of a run.
pub struct UserAgent {
    run: Arc<Run>,
    index: u32,
    channel: ChannelId,
    /// `None` if bodies are prepared.
    keys: Option<Box<UserAgentKeys>>,
    uaid: Option<WireUaid>,
    /// If it connects by MCS.
    device: Option<Device>,
    connection: Option<Line>,
}

impl UserAgent {
    /// Creates the user agent with this index, not yet connected.
    pub fn new(run: &Arc<Run>, index: u32) -> Self {
        Self {
            run: Arc::clone(run),
            index,
            channel: new_channel_id(),
            keys: (!run.setup.prepared).then(|| Box::new(new_user_agent_keys())),
            uaid: None,
            device: run.setup.mcs.then(Device::default),
            connection: None,
        }
    }

    /// Its index, counted from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Whether it has a connection.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Connects and sends `hello`. Registers the first time, and when the service has lost
    /// this user agent.
    ///
    /// # Errors
    /// When a step fails; the failure is counted.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        let wanted = self.run.now();
        self.connect_since(wanted).await
    }

    /// Like `connect`, but measures the latency from `wanted`.
    async fn connect_since(&mut self, wanted: Moment) -> Result<(), ClientError> {
        count(&self.run.meters.totals.attempts);
        let connected = self.say_hello(wanted).await;
        if let Err(error) = &connected {
            count(&self.run.meters.totals.failed);
            self.run.meters.reason(reason(error));
        }
        connected
    }

    /// Retries to connect with growing pauses. Returns false if `until` was cancelled
    /// before it succeeded.
    pub async fn connect_until(&mut self, until: &CancellationToken) -> bool {
        let wanted = self.run.now();
        let mut wait = FIRST_WAIT;
        let attempts = async {
            while self.connect_since(wanted).await.is_err() {
                // Jitter of up to 100 %, so that user agents do not reconnect at the same
                // time.
                let seed = u64::from(self.index) ^ self.run.now().as_micros();
                let share = u32::try_from(mix(seed) % 100).unwrap_or_default();
                tokio::time::sleep(wait + wait * share / 100).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        };
        until.run_until_cancelled(attempts).await.is_some()
    }

    async fn say_hello(&mut self, wanted: Moment) -> Result<(), ClientError> {
        let connection = match self.device.is_some() {
            true => self.log_in(wanted).await?,
            false => self.open_websocket(wanted).await?,
        };
        self.run.ledger.connected(self.index);
        self.run.meters.connected();
        self.connection = Some(connection);
        Ok(())
    }

    async fn open_websocket(&mut self, wanted: Moment) -> Result<Line, ClientError> {
        let run = Arc::clone(&self.run);
        let mut connection = bugle_client::UserAgent::connect(&run.dialer, &run.setup.url).await?;
        let uaid = connection.hello(self.uaid).await?;
        run.meters.record(Measure::Hello, wanted, run.now());
        if self.uaid != Some(uaid) {
            if self.uaid.is_some() {
                count(&run.meters.totals.forgotten);
            }
            self.register(&mut connection).await?;
            self.uaid = Some(uaid);
        }
        Ok(Line::WebSocket(Box::new(connection)))
    }

    /// Connects by MCS. The time of a registration does not count as that of the login.
    async fn log_in(&mut self, wanted: Moment) -> Result<Line, ClientError> {
        let (run, mut wanted) = (Arc::clone(&self.run), wanted);
        let device = self.device.get_or_insert_default();
        if !device.is_registered() {
            let began = run.now();
            let endpoint = device.register(&run, self.channel.to_string()).await?;
            run.meters.record(Measure::Register, began, run.now());
            self.has_registered(endpoint)?;
            wanted = run.now();
        }
        let device = self.device.get_or_insert_default();
        let line = device.connect(&run).await?;
        run.meters.record(Measure::Hello, wanted, run.now());
        Ok(line)
    }

    async fn register(
        &mut self,
        connection: &mut bugle_client::UserAgent,
    ) -> Result<(), ClientError> {
        let run = &self.run;
        let began = run.now();
        let key = run.pushes.key();
        let endpoint = connection.register(self.channel, key).await?;
        run.meters.record(Measure::Register, began, run.now());
        self.has_registered(endpoint)
    }

    fn has_registered(&self, endpoint: String) -> Result<(), ClientError> {
        let run = &self.run;
        let keys = self.keys.as_ref().map(|keys| keys.subscription_keys());
        let subscription = Subscription::new(&endpoint, keys)?;
        // A service may return endpoints on a host that the user did not allow.
        let guarded = run.setup.guard.check(subscription.target.url());
        guarded.map_err(|error| ClientError::Url {
            url: endpoint,
            problem: error.to_string(),
        })?;
        run.subscriptions
            .set(self.index, Some(Arc::new(subscription)));
        Ok(())
    }

    /// Removes its subscription, if it is connected. Pushes to it must have ended.
    pub async fn unregister(&mut self) {
        self.run.subscriptions.set(self.index, None);
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let unregistered = self.end_subscription(&mut connection).await;
        self.connection = Some(connection);
        match unregistered {
            Ok(()) => self.uaid = None,
            Err(error) => self.lost(&error),
        }
    }

    async fn end_subscription(&mut self, connection: &mut Line) -> Result<(), ClientError> {
        match (connection, &mut self.device) {
            (Line::WebSocket(agent), _) => agent.unregister(self.channel).await,
            (Line::Mcs(_), Some(device)) => device.unregister(&self.run).await,
            (Line::Mcs(_), None) => Ok(()),
        }
    }

    /// Subscribes over an open connection.
    async fn subscribe(&mut self, connection: &mut Line) -> Result<(), ClientError> {
        match (connection, &mut self.device) {
            (Line::WebSocket(agent), _) => self.register(agent).await,
            // A registration is for the device of the connection.
            (Line::Mcs(_), Some(device)) => {
                let endpoint = device.register(&self.run, self.channel.to_string()).await?;
                self.has_registered(endpoint)
            }
            (Line::Mcs(_), None) => Ok(()),
        }
    }

    /// Replaces its subscription by a new one, if it is connected. Messages to the old one
    /// need not arrive any more.
    pub async fn resubscribe(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let run = Arc::clone(&self.run);
        run.subscriptions.set(self.index, None);
        let unregistered = self.end_subscription(&mut connection).await;
        run.ledger.abandoned(self.index);
        self.channel = new_channel_id();
        let registered = match unregistered {
            Ok(()) => self.subscribe(&mut connection).await,
            Err(error) => Err(error),
        };
        match registered {
            Ok(()) => self.connection = Some(connection),
            // Without a subscription, the user agent is new when it reconnects.
            Err(error) => {
                self.uaid = None;
                self.connection = Some(connection);
                self.lost(&error);
            }
        }
    }

    /// Receives until `until` is cancelled, and reconnects whenever the connection breaks.
    pub async fn stay(&mut self, until: &CancellationToken) {
        loop {
            // Boxed, because few user agents connect at a time and many stay.
            if self.connection.is_none() && !Box::pin(self.connect_until(until)).await {
                return;
            }
            let received = until.run_until_cancelled(self.receive()).await;
            match received {
                None => return,
                Some(error) => self.lost(&error),
            }
        }
    }

    /// Receives until the connection ends and returns the error. Cancellation-safe.
    async fn receive(&mut self) -> ClientError {
        let Some(connection) = &mut self.connection else {
            return ClientError::Protocol("there is no connection".to_owned());
        };
        loop {
            let notification = match connection.receive().await {
                Ok(notification) => notification,
                Err(error) => return error,
            };
            let arrived = Arrival {
                run: &self.run,
                index: self.index,
                keys: self.keys.as_deref(),
            };
            let name = arrived.take(&notification);
            if let Some(device) = &mut self.device {
                device.has_received(&notification);
            }
            if let Err(error) = connection.acknowledge(&notification).await {
                return error;
            }
            if let Some(name) = name {
                self.run.ledger.acknowledged(name);
            }
        }
    }

    fn lost(&mut self, error: &ClientError) {
        count(&self.run.meters.totals.broken);
        self.run.meters.reason(reason(error));
        self.vanish();
    }

    /// Closes the connection with a Close frame.
    pub async fn leave(&mut self) {
        if let Some(connection) = self.connection.take() {
            let is_answered = connection.close().await;
            self.gone(is_answered);
        }
    }

    /// Drops the connection without a Close frame.
    pub fn vanish(&mut self) {
        if self.connection.take().is_some() {
            self.gone(false);
        }
    }

    fn gone(&self, clean: bool) {
        self.run.meters.disconnected();
        let now = self.run.now();
        self.run.ledger.disconnected(self.index, clean, now);
    }
}

/// A notification and the user agent that received it.
struct Arrival<'a> {
    run: &'a Run,
    index: u32,
    keys: Option<&'a UserAgentKeys>,
}

impl Arrival<'_> {
    /// Records it in the ledger. Returns the name of the message if this run sent it.
    fn take(&self, notification: &Notification) -> Option<MessageName> {
        let run = self.run;
        count(&run.meters.totals.delivered);
        let name = match self.open(notification) {
            Ok(name) if name.user_agent == self.index => name,
            Ok(_) | Err(ContentsError::Corrupted) => {
                run.ledger.corrupted();
                return None;
            }
            Err(ContentsError::Foreign) => {
                run.ledger.foreign();
                return None;
            }
        };
        let now = run.now();
        if let Delivery::First { intended } = run.ledger.delivered(name, now) {
            run.meters.record(Measure::Delivery, intended, now);
        }
        Some(name)
    }

    fn open(&self, notification: &Notification) -> Result<MessageName, ContentsError> {
        let Some(keys) = self.keys else {
            return self.open_prepared(notification);
        };
        let contents = notification.decrypt(keys);
        let contents = contents.ok().flatten().ok_or(ContentsError::Corrupted)?;
        self.run.contents.read(&contents)
    }

    fn open_prepared(&self, notification: &Notification) -> Result<MessageName, ContentsError> {
        let data = notification.data.as_deref().unwrap_or_default();
        let body = URL_SAFE_NO_PAD.decode(data);
        let body = body.map_err(|_| ContentsError::Corrupted)?;
        let length = body.len().checked_sub(OVERHEAD);
        let length = length.ok_or(ContentsError::Corrupted)?;
        self.run.contents.read(&body[HEADER..HEADER + length])
    }
}

/// Describes an error without details that differ between user agents.
fn reason(error: &ClientError) -> String {
    match error {
        ClientError::Connect { error, .. } => format!("cannot connect: {}", error.kind()),
        error => error.to_string(),
    }
}
