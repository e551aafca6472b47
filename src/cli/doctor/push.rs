//! Push checks: a user agent and an application server in one, with a subscription for this run and
//! real pushes to it.

use std::time::Duration;

use bugle_client::{
    ApplicationServer, ClientError, Dialer, HttpConnection, Notification, Push, PushSubscription,
    UserAgent, new_channel_id, new_key_pair, new_user_agent_keys,
};
use bugle_protocol::encryption::UserAgentKeys;
use bugle_protocol::{ChannelId, Ttl};
use http::StatusCode;
use tokio::time::Instant;
use url::Url;

use super::http::get_version;
use super::network::{Trouble, millis, within};
use super::refusal::{RequestKind, explain};
use super::report::Finding;
use super::site::{Site, is_loopback};
use crate::random::random;
use crate::time::Clock;

/// A slower push causes a warning.
const SLOW: Duration = Duration::from_secs(2);

/// A subscription for the duration of the run.
pub(super) struct Session {
    pub(super) agent: UserAgent,
    channel: ChannelId,
    keys: UserAgentKeys,
    server: ApplicationServer,
    endpoint: String,
    is_subscribed: bool,
}

impl Session {
    /// Connects, and subscribes with a new key.
    ///
    /// # Errors
    /// The finding that describes the failure.
    pub(super) async fn open(
        site: &Site,
        dialer: &Dialer,
        limit: Duration,
    ) -> Result<Self, Finding> {
        let failed = |what: &str, trouble: Trouble| {
            let mend = match &trouble {
                Trouble::Client(ClientError::Refused { status: 429, .. }) => {
                    "limits.subscriptions or store.min_free draws the line: see the log and \
                     docs/limits.md"
                }
                _ => "see the log of the service, and of the proxy before it",
            };
            Finding::fail(format!("{what}: {trouble}"), mend)
        };
        let connected = within(limit, UserAgent::connect(dialer, &site.websocket)).await;
        let mut agent = connected.map_err(|trouble| failed("there is no WebSocket", trouble))?;
        let hello = within(limit, agent.hello(None)).await;
        hello.map_err(|trouble| failed("the service does not say hello", trouble))?;
        let (channel, vapid) = (new_channel_id(), new_key_pair());
        let key = vapid.public_key();
        let endpoint = within(limit, agent.register(channel, Some(&key))).await;
        let endpoint = endpoint.map_err(|trouble| failed("no subscription", trouble))?;
        let server = ApplicationServer {
            vapid: Some(vapid),
            subject: None,
        };
        Ok(Self {
            agent,
            channel,
            keys: new_user_agent_keys(),
            server,
            endpoint,
            is_subscribed: true,
        })
    }

    /// Checks that senders can reach the endpoint.
    pub(super) async fn endpoint(&self, site: &Site, dialer: &Dialer, limit: Duration) -> Finding {
        let asked = site.origin.origin();
        let Ok(url) = Url::parse(&self.endpoint) else {
            return Finding::fail("the endpoint is no URL", "see the log of the service");
        };
        let origin = url.origin().ascii_serialization();
        if origin == asked && site.is_guessed {
            return Finding::warn(
                format!("endpoints begin with {origin}, which leads no further than this machine"),
                "set server.public_url to the URL that others reach the service by",
            );
        }
        if origin == asked {
            return Finding::ok(format!("endpoints begin with {origin}, as was asked"));
        }
        let text = format!("endpoints begin with {origin}, and {asked} was asked");
        let mend = format!("set server.public_url = \"{asked}\", if that is what senders reach");
        if is_loopback(&url) && !site.is_loopback() {
            return Finding::fail(format!("{text}: senders elsewhere cannot reach them"), mend);
        }
        match within(limit, get_version(dialer, &origin)).await {
            Ok(answer) if answer.status() == StatusCode::OK => Finding::warn(text, mend),
            Ok(answer) => {
                let status = answer.status().as_u16();
                Finding::fail(format!("{text}, where {status} is answered"), mend)
            }
            Err(trouble) => Finding::fail(format!("{text}: {trouble}"), mend),
        }
    }

    /// Sends a push to itself and waits for it; with a TTL of 0 it is never stored.
    pub(super) async fn push(&mut self, ttl: Ttl, dialer: &Dialer, limit: Duration) -> Finding {
        let pushed = self.pushed(ttl, dialer, limit).await;
        pushed.unwrap_or_else(|finding| finding)
    }

    async fn pushed(
        &mut self,
        ttl: Ttl,
        dialer: &Dialer,
        limit: Duration,
    ) -> Result<Finding, Finding> {
        let text = random::<16>().to_vec();
        let subscription = PushSubscription {
            endpoint: self.endpoint.clone(),
            keys: self.keys.subscription_keys(),
        };
        let push = Push {
            text: Some(text.clone()),
            ttl,
            urgency: None,
            topic: None,
            receipt: None,
        };
        let now = Clock::system().now();
        let request = self.server.request(&subscription, &push, now);
        let request = request.map_err(|error| {
            Finding::fail(
                format!("the push cannot be made: {error}"),
                "report this as a bug",
            )
        })?;
        let opened = within(limit, HttpConnection::open(dialer, &self.endpoint)).await;
        let mut connection = opened.map_err(|trouble| unanswered(&trouble))?;
        let begin = Instant::now();
        let sent = async {
            let answer = within(limit, connection.send(request)).await;
            let answer = answer.map_err(|trouble| unanswered(&trouble))?;
            match answer.status() {
                StatusCode::CREATED => Ok(begin.elapsed()),
                _ => Err(explain(RequestKind::Push, &answer)),
            }
        };
        let agent = &mut self.agent;
        let came = async {
            let came = within(limit, agent.receive()).await;
            let came = came.map_err(|trouble| undelivered(&trouble))?;
            Ok((came, begin.elapsed()))
        };
        let (accepted, (came, arrived)) = tokio::try_join!(sent, came)?;
        self.check(&came, &text)?;
        let acknowledged = within(limit, self.agent.acknowledge(&came, 100)).await;
        acknowledged.map_err(|trouble| undelivered(&trouble))?;
        Ok(latency(accepted, arrived))
    }

    fn check(&self, came: &Notification, text: &[u8]) -> Result<(), Finding> {
        let changed = |why: String| {
            Finding::fail(
                format!("a push arrived changed: {why}"),
                "something on the way alters bodies: let the proxy pass them as they are",
            )
        };
        match came.decrypt(&self.keys) {
            Ok(Some(came)) if came == text => Ok(()),
            Ok(_) => Err(changed("it says something else".to_owned())),
            Err(error) => Err(changed(error.to_string())),
        }
    }

    /// Removes the subscription from the service.
    ///
    /// # Errors
    /// If the connection has failed.
    pub(super) async fn unsubscribe(&mut self, limit: Duration) -> Result<(), Trouble> {
        if self.is_subscribed {
            within(limit, self.agent.unregister(self.channel)).await?;
            self.is_subscribed = false;
        }
        Ok(())
    }
}

fn unanswered(trouble: &Trouble) -> Finding {
    Finding::fail(
        format!("the push is not answered: {trouble}"),
        "let senders reach the endpoint: its host and port are those of server.public_url",
    )
}

fn undelivered(trouble: &Trouble) -> Finding {
    Finding::fail(
        format!("the push was sent, and does not arrive: {trouble}"),
        "see the log of the service and of the proxy before it; `bugle admin trace` tells what \
         became of a message",
    )
}

fn latency(accepted: Duration, arrived: Duration) -> Finding {
    let (accepted_ms, arrived_ms) = (millis(accepted), millis(arrived));
    let text =
        format!("accepted after {accepted_ms} ms, there and decrypted after {arrived_ms} ms");
    let finding = match accepted.max(arrived) > SLOW {
        true => Finding::warn(
            text,
            "look at the disk (run this without a URL on the service's machine), at the load \
             (`bugle admin overview`) and at the network",
        ),
        false => Finding::ok(text),
    };
    finding
        .with("accepted_ms", accepted_ms)
        .with("arrived_ms", arrived_ms)
}
