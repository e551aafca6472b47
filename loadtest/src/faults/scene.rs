//! State that the user agents and application servers of a fault run share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bugle::Clock;
use bugle_client::{
    ApplicationServer, ClientError, Dialer, HttpConnection, Push, PushSubscription, UserAgent,
    new_channel_id, new_user_agent_keys,
};
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::{ChannelId, Ttl, UnixTime, WireUaid};
use http::header::LOCATION;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::account::Account;
use crate::contents::{Contents, MessageName};

/// A user agent with one subscription, connected or not.
pub(super) struct Subscriber {
    /// Its number in the account.
    pub(super) number: u32,
    pub(super) uaid: WireUaid,
    pub(super) channel: ChannelId,
    pub(super) keys: UserAgentKeys,
    subscription: PushSubscription,
}

impl Subscriber {
    /// Its push resource.
    pub(super) fn endpoint(&self) -> &str {
        &self.subscription.endpoint
    }
}

/// The properties of a push to send.
pub(super) struct Plan {
    pub(super) topic: Option<String>,
    pub(super) ttl: Duration,
    /// Size of the contents in bytes.
    pub(super) size: usize,
}

/// The shared state of a fault run.
pub(super) struct Scene {
    pub(super) dialer: Dialer,
    pub(super) url: Url,
    pub(super) contents: Contents,
    account: Mutex<Account>,
    subscribers: Mutex<Vec<Arc<Subscriber>>>,
    clock: Clock,
}

/// One process of the service, from its start to the fault.
#[derive(Clone)]
pub(super) struct Life {
    pub(super) scene: Arc<Scene>,
    /// Cancelled when the service has ended.
    pub(super) over: CancellationToken,
}

impl Scene {
    pub(super) fn new(dialer: Dialer, url: Url, seed: u64) -> Self {
        Self {
            dialer,
            url,
            contents: Contents::new(seed),
            account: Mutex::default(),
            subscribers: Mutex::default(),
            clock: Clock::system(),
        }
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now()
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subscribers that the service has not lost.
    pub(super) fn subscribers(&self) -> MutexGuard<'_, Vec<Arc<Subscriber>>> {
        self.subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects and subscribes a new user agent and adds it to the account.
    ///
    /// # Errors
    /// When the service refuses or fails; it then owes nothing.
    pub(super) async fn subscribe(&self) -> Result<(), ClientError> {
        let mut user_agent = UserAgent::connect(&self.dialer, &self.url).await?;
        let uaid = user_agent.hello(None).await?;
        let channel = new_channel_id();
        let endpoint = user_agent.register(channel, None).await?;
        let keys = new_user_agent_keys();
        let subscription = PushSubscription {
            endpoint,
            keys: keys.subscription_keys(),
        };
        let number = self.account().add_user_agent();
        self.subscribers().push(Arc::new(Subscriber {
            number,
            uaid,
            channel,
            keys,
            subscription,
        }));
        Ok(())
    }

    /// Pushes a message. Returns its name, and its URL if it was accepted.
    ///
    /// # Errors
    /// When no response arrives; the account records that.
    pub(super) async fn push(
        &self,
        http: &mut HttpConnection,
        to: &Subscriber,
        plan: Plan,
    ) -> Result<(MessageName, Option<String>), ClientError> {
        let Plan { topic, ttl, size } = plan;
        let name = {
            let topic = topic.clone();
            self.account().begin_push(to.number, topic, ttl, self.now())
        };
        let push = Push {
            text: Some(self.contents.print(name, size)),
            ttl: Ttl::from_secs(ttl.as_secs()),
            urgency: None,
            topic: topic.and_then(|topic| topic.parse().ok()),
            receipt: None,
        };
        let request = ApplicationServer::default().request(&to.subscription, &push, self.now())?;
        let answer = http.send(request).await;
        if let Ok(answer) = &answer
            && answer.status() == http::StatusCode::CREATED
        {
            self.account().accepted(name, self.now());
            let location = answer.headers().get(LOCATION);
            let location = location.and_then(|url| url.to_str().ok());
            return Ok((name, location.map(str::to_owned)));
        }
        self.account().not_accepted(name, self.now());
        answer.map(|_| (name, None))
    }
}
